//! A lean HTTP client: one kept-alive connection, requests written by hand, answers read no further than needed.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, sleep_until, timeout},
};

use super::{
    ANSWER_TIME,
    answers::Answers,
    detections::{self, Ledger, Schedule},
};
use crate::{domain::camera::CameraId, wire::time};

/// Shorter than the hub asks for by Retry-After: whoever is turned away comes back soon, and in numbers.
const AFTER_BUSY: Duration = Duration::from_millis(50);

/// A connection to the hub.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    output: Vec<u8>,
}

impl Client {
    /// # Errors
    /// When the hub does not take the connection.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect by HTTP")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: BytesMut::with_capacity(4096), output: Vec::new() })
    }

    /// Posts JSON; the answer's status and body.
    ///
    /// # Errors
    /// When the connection breaks, or what comes back is no HTTP/1.1 with a length.
    pub async fn post(&mut self, path: &str, token: &str, body: &str) -> anyhow::Result<(u16, BytesMut)> {
        self.output.clear();
        let authorization = if token.is_empty() { "" } else { "Authorization: Bearer " };
        let end = if token.is_empty() { "" } else { "\r\n" };
        write!(
            self.output,
            "POST {path} HTTP/1.1\r\nHost: hub\r\n{authorization}{token}{end}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        self.stream.write_all(&self.output).await?;
        timeout(ANSWER_TIME, self.answer()).await.context("no answer in time")?
    }

    async fn answer(&mut self) -> anyhow::Result<(u16, BytesMut)> {
        loop {
            if let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.input[..end])?;
                let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.context("an answer without a length")?.parse()?;
                let whole = end + 4 + length;
                while self.input.len() < whole {
                    self.read().await?;
                }
                self.input.advance(end + 4);
                return Ok((status, self.input.split_to(length)));
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the hub closed an HTTP connection");
        Ok(())
    }

    /// Reports detections by the schedule, one after the other.
    ///
    /// # Errors
    /// When the connection breaks, or an answer is neither 201 nor 503.
    pub async fn run(
        mut self,
        token: Arc<str>,
        camera: CameraId,
        mut schedule: Schedule,
        ledger: Arc<Ledger>,
    ) -> anyhow::Result<Answers> {
        let (mut answers, mut body) = (Answers::default(), String::new());
        loop {
            let now = Instant::now();
            let Some(number) = schedule.take(now).and_then(|begin| ledger.send(begin)) else {
                if schedule.is_over(now) {
                    return Ok(answers);
                }
                sleep_until(schedule.wake_at().into()).await;
                continue;
            };
            detections::write_json(&mut body, camera, true, number, &time::text(chrono::Utc::now()));
            match self.post("/api/events", &token, &body).await? {
                (201, _) => answers.latencies.extend(ledger.since(number, Instant::now())),
                (503, _) => {
                    answers.busy += 1;
                    sleep(AFTER_BUSY).await;
                }
                (status, body) => bail!("POST /api/events: {status} {}", String::from_utf8_lossy(&body)),
            }
        }
    }
}
