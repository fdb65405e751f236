//! A lean dashboard: Socket.io over a WebSocket, frames read by hand, each `event:detected` found by its detection id.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    ANSWER_TIME,
    answers::Answers,
    detections::{self, Ledger},
};

/// What stands before a detection id.
const KEY: &[u8] = br#""detectionId":""#;
/// From a packet's end, where its detection id begins at the earliest: two times, their names and the key stand behind.
const TAIL: usize = 220;

/// A connected dashboard.
#[derive(Debug)]
pub struct Dashboard {
    address: SocketAddr,
    token: Arc<str>,
    stream: TcpStream,
    input: BytesMut,
}

impl Dashboard {
    /// Connects and waits until the hub has greeted it.
    ///
    /// # Errors
    /// When it does not.
    pub async fn connect(address: SocketAddr, token: Arc<str>) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await.context("cannot connect a dashboard")?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut dashboard = Self { address, token, stream, input: BytesMut::with_capacity(256 * 1024) };
        timeout(ANSWER_TIME, dashboard.greet()).await.context("no greeting in time")??;
        Ok(dashboard)
    }

    async fn greet(&mut self) -> anyhow::Result<()> {
        let end = loop {
            if let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            self.read().await?;
        };
        ensure!(self.input.starts_with(b"HTTP/1.1 101"), "no WebSocket: {}", self.input.escape_ascii());
        self.input.advance(end + 4);
        // Engine.io opens, Socket.io connects, the hub greets.
        ensure!(self.text().await?.starts_with(b"0{"), "no Engine.io");
        self.say(b"40").await?;
        loop {
            let text = self.text().await?;
            ensure!(!text.starts_with(b"44"), "the hub refuses the dashboard");
            // The last thing said to a new socket, after which it hears of events.
            if text.starts_with(br#"42["lock:status""#) {
                return Ok(());
            }
        }
    }

    /// Notes when each detection of the ledger is heard of, until `stop`.
    ///
    /// # Errors
    /// When the hub is gone. A connection that it cuts is made again, as dashboards do.
    pub async fn run(
        mut self,
        ledger: Arc<Ledger>,
        heard: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> anyhow::Result<Answers> {
        let mut answers = Answers::default();
        loop {
            while let Some(frame) = self.frame()? {
                if frame.as_ref() == b"2" {
                    self.say(b"3").await?;
                } else if let Some(latency) = detected(&frame).and_then(|number| ledger.since(number, Instant::now())) {
                    answers.latencies.push(latency);
                    heard.fetch_add(1, Relaxed);
                }
            }
            let read = tokio::select! {
                () = stop.cancelled() => return Ok(answers),
                read = self.read() => read,
            };
            if read.is_err() {
                answers.reconnects += 1;
                self = Self::connect(self.address, self.token).await?;
            }
        }
    }

    async fn text(&mut self) -> anyhow::Result<BytesMut> {
        loop {
            if let Some(frame) = self.frame()? {
                return Ok(frame);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the hub closed a dashboard's connection");
        Ok(())
    }

    /// The text of the next whole frame (RFC 6455, 5.2); a server's are not masked.
    fn frame(&mut self) -> anyhow::Result<Option<BytesMut>> {
        let input = &self.input;
        let (Some(first), Some(second)) = (input.first().copied(), input.get(1).copied()) else { return Ok(None) };
        let (head, length) = match second {
            126 => match input.get(2..4) {
                Some(bytes) => (4, usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
                None => return Ok(None),
            },
            0..126 => (2, usize::from(second)),
            _ => bail!("a frame longer than any event"),
        };
        if input.len() < head + length {
            self.input.reserve(head + length);
            return Ok(None);
        }
        ensure!(first == 0x81, "a frame that is no text: {first:#x}");
        self.input.advance(head);
        Ok(Some(self.input.split_to(length)))
    }

    async fn say(&mut self, text: &[u8]) -> anyhow::Result<()> {
        // A client's frames are masked; by zero the text stays as it is.
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len())?, 0, 0, 0, 0];
        frame.extend_from_slice(text);
        Ok(self.stream.write_all(&frame).await?)
    }
}

/// The number of the detection that a packet tells of, if it tells of one.
fn detected(packet: &[u8]) -> Option<u64> {
    if !packet.starts_with(br#"42["event:detected""#) {
        return None;
    }
    let tail = &packet[packet.len().saturating_sub(TAIL)..];
    let begin = tail.windows(KEY.len()).position(|bytes| bytes == KEY)? + KEY.len();
    let id = Uuid::try_parse_ascii(tail.get(begin..begin + 36)?).ok()?;
    Some(detections::number_of(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_tells_its_number() {
        let id = detections::id_of(77);
        let packet = format!(
            r#"42["event:detected",{{"id":1,"camera":{{"id":1}},"detectionId":"{id}","detectedAt":"2026-11-22T09:30:00.000Z","broadcastedAt":"2026-11-22T09:30:00.000Z"}}]"#
        );
        assert_eq!(detected(packet.as_bytes()), Some(77));
        assert_eq!(detected(b"42[\"lock:status\",{}]"), None);
    }
}
