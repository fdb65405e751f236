//! A lean MQTT publisher: packets written by hand, many on the way at once, acknowledgements checked to come in order.
//! It shares the machine with the hub, so it does no more than a measurement needs.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep_until, timeout},
};

use super::{
    ANSWER_TIME,
    answers::Answers,
    detections::{self, Ledger, Schedule},
};
use crate::{domain::camera::CameraId, wire::time};

/// How many are on the way unacknowledged: the hub's default `inflight`.
const WINDOW: usize = 100;

/// Who publishes, and for which camera.
#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    camera: CameraId,
    topic: String,
}

impl Publisher {
    /// Connects with MQTT 3.1.1 and waits until the hub lets it in.
    ///
    /// # Errors
    /// When it does not.
    pub async fn connect(
        address: SocketAddr,
        client_id: &str,
        (name, secret): (&str, &str),
        camera: CameraId,
    ) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await.context("cannot connect by MQTT")?;
        stream.set_nodelay(true)?;
        let (mut body, mut packet) = (BytesMut::new(), BytesMut::new());
        text(&mut body, "MQTT")?;
        // Level 4; user name, password, clean session; no keep-alive.
        body.put_slice(&[4, 0b1100_0010, 0, 0]);
        for part in [client_id, name, secret] {
            text(&mut body, part)?;
        }
        head(&mut packet, 0x10, body.len());
        packet.extend_from_slice(&body);
        stream.write_all(&packet).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.context("no CONNACK")?;
        ensure!(answer == [0x20, 2, 0, 0], "the hub refuses the publisher: {answer:?}");
        Ok(Self { stream, camera, topic: format!("camera/{camera}/detections") })
    }

    /// Publishes by the schedule, and waits for every acknowledgement.
    ///
    /// # Errors
    /// When the connection breaks, or an acknowledgement is missing or out of order.
    pub async fn run(mut self, mut schedule: Schedule, ledger: Arc<Ledger>) -> anyhow::Result<Answers> {
        let (mut input, mut output) = (BytesMut::with_capacity(4096), BytesMut::with_capacity(32 * 1024));
        let (mut open, mut answers, mut body, mut last_id) = (VecDeque::new(), Answers::default(), String::new(), 0);
        loop {
            let (now, at) = (Instant::now(), time::text(chrono::Utc::now()));
            while open.len() < WINDOW
                && let Some(number) = schedule.take(now).and_then(|begin| ledger.send(begin))
            {
                last_id = if last_id == u16::MAX { 1 } else { last_id + 1 };
                detections::write_json(&mut body, self.camera, false, number, &at);
                self.write_publish(&mut output, last_id, &body)?;
                open.push_back((last_id, number));
            }
            if !output.is_empty() {
                self.stream.write_all(&output).await?;
                output.clear();
            }
            if open.is_empty() && schedule.is_over(now) {
                return Ok(answers);
            }
            let may_send = open.len() < WINDOW && !schedule.is_over(now);
            tokio::select! {
                read = timeout(ANSWER_TIME, self.stream.read_buf(&mut input)), if !open.is_empty() => {
                    ensure!(read.context("no PUBACK in time")?? > 0, "the hub closed an MQTT connection");
                    take_acks(&mut input, &mut open, &ledger, &mut answers)?;
                }
                () = sleep_until(schedule.wake_at().into()), if may_send => {}
            }
        }
    }

    fn write_publish(&self, out: &mut BytesMut, id: u16, body: &str) -> anyhow::Result<()> {
        // QoS 1.
        head(out, 0x32, 2 + self.topic.len() + 2 + body.len());
        text(out, &self.topic)?;
        out.put_u16(id);
        out.put_slice(body.as_bytes());
        Ok(())
    }
}

fn take_acks(
    input: &mut BytesMut,
    open: &mut VecDeque<(u16, u64)>,
    ledger: &Ledger,
    answers: &mut Answers,
) -> anyhow::Result<()> {
    let now = Instant::now();
    while input.len() >= 4 {
        let (kind, id) = (input.get_u16(), input.get_u16());
        ensure!(kind == 0x4002, "a packet of type {kind:#06x} where a PUBACK was expected");
        let (expected, number) = open.pop_front().context("a PUBACK for nothing")?;
        ensure!(id == expected, "PUBACK {id} where {expected} was next");
        answers.latencies.extend(ledger.since(number, now));
    }
    Ok(())
}

fn head(out: &mut BytesMut, first: u8, mut length: usize) {
    out.put_u8(first);
    while length > 0x7F {
        out.put_u8(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.put_u8(length.to_le_bytes()[0]);
}

fn text(out: &mut BytesMut, text: &str) -> anyhow::Result<()> {
    out.put_u16(u16::try_from(text.len())?);
    out.put_slice(text.as_bytes());
    Ok(())
}
