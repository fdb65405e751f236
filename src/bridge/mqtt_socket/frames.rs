//! A WebSocket's bytes as a stream: what frames carry goes through as it comes. A packet may lie across frames and
//! messages, and one may hold many packets (MQTT 5.0, 6.0), so nothing has to wait for the end of any.
//!
//! Must not know what the bytes mean.

use std::{
    io::{self, Cursor, ErrorKind::InvalidData},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// How much is read at once.
const READ: usize = 4 * 1024;
/// The longest message that is written; longer ones are several.
const WRITE: usize = 32 * 1024;
/// The longest payload of a control frame (RFC 6455, 5.5).
const CONTROL: u64 = 125;

/// The socket of a server, after its handshake.
#[derive(Debug)]
pub struct Frames<S> {
    socket: S,
    /// What has come and was not looked at.
    arrived: BytesMut,
    inside: Option<Inside>,
    /// Whether a message has begun that is not over.
    is_fragmented: bool,
    /// The payload of a control frame, as far as it is there.
    control: Vec<u8>,
    /// Whole frames to be written.
    out: BytesMut,
    /// The newest ping, to be answered.
    pong: Option<Vec<u8>>,
    is_over: bool,
    has_said_goodbye: bool,
}

/// A frame of which a part is still to come.
#[derive(Debug, Clone, Copy)]
struct Inside {
    opcode: OpCode,
    mask: [u8; 4],
    /// How much of the payload was read.
    at: u64,
    left: u64,
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(InvalidData, why)
}

impl<S> Frames<S> {
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            arrived: BytesMut::new(),
            inside: None,
            is_fragmented: false,
            control: Vec::new(),
            out: BytesMut::new(),
            pong: None,
            is_over: false,
            has_said_goodbye: false,
        }
    }

    /// The next frame's head, if it has arrived whole.
    fn head(&mut self) -> io::Result<Option<Inside>> {
        let mut cursor = Cursor::new(&self.arrived[..]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| wrong("a frame of no known kind"))?;
        let Some((head, left)) = parsed else { return Ok(None) };
        let read = usize::try_from(cursor.position()).map_err(io::Error::other)?;
        self.arrived.advance(read);
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(wrong("a frame with an extension that nobody agreed on"));
        }
        let mask = head.mask.ok_or_else(|| wrong("a frame of a client without a mask"))?;
        match head.opcode {
            OpCode::Data(Data::Binary) if !self.is_fragmented => self.is_fragmented = !head.is_final,
            OpCode::Data(Data::Continue) if self.is_fragmented => self.is_fragmented = !head.is_final,
            OpCode::Data(Data::Text) => return Err(wrong("MQTT is no text")),
            OpCode::Data(_) => return Err(wrong("a frame that continues another message")),
            OpCode::Control(_) if left > CONTROL || !head.is_final => {
                return Err(wrong("a control frame that is too long"));
            }
            OpCode::Control(_) => {}
        }
        Ok(Some(Inside { opcode: head.opcode, mask, at: 0, left }))
    }

    /// Takes what is there of the frame, unmasked, up to `most` bytes.
    fn payload(&mut self, mut inside: Inside, most: usize) -> BytesMut {
        let left = usize::try_from(inside.left).unwrap_or(usize::MAX);
        let mut part = self.arrived.split_to(left.min(most).min(self.arrived.len()));
        for (byte, place) in part.iter_mut().zip(inside.at..) {
            *byte ^= inside.mask[usize::try_from(place % 4).unwrap_or(0)];
        }
        let length = part.len() as u64;
        inside.at += length;
        inside.left -= length;
        self.inside = Some(inside);
        part
    }

    /// Acts on a control frame, which is there whole.
    fn act(&mut self, control: Control) {
        let payload = std::mem::take(&mut self.control);
        match control {
            Control::Ping => self.pong = Some(payload),
            Control::Close => {
                self.is_over = true;
                // The same code back.
                self.goodbye(payload.get(..2).unwrap_or_default());
            }
            Control::Pong | Control::Reserved(_) => {}
        }
    }

    fn goodbye(&mut self, code: &[u8]) {
        if !std::mem::replace(&mut self.has_said_goodbye, true) {
            self.frame(OpCode::Control(Control::Close), code);
        }
    }

    fn frame(&mut self, opcode: OpCode, payload: &[u8]) {
        let head = FrameHeader { opcode, ..FrameHeader::default() };
        let mut bytes = Vec::with_capacity(10);
        // Writing into memory does not fail.
        let _ = head.format(payload.len() as u64, &mut bytes);
        self.out.extend_from_slice(&bytes);
        self.out.extend_from_slice(payload);
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// Writes what waits, and the newest pong after it.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.out.is_empty() {
                let count = ready!(Pin::new(&mut self.socket).poll_write(context, &self.out))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.out.advance(count);
            }
            // What a burst has needed is not kept.
            self.out = BytesMut::new();
            let Some(pong) = self.pong.take().filter(|_| !self.has_said_goodbye) else { return Poll::Ready(Ok(())) };
            self.frame(OpCode::Control(Control::Pong), &pong);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.is_over && into.remaining() > 0 {
            match this.inside {
                Some(Inside { opcode: OpCode::Control(control), left: 0, .. }) => {
                    this.inside = None;
                    this.act(control);
                    // Whoever writes next goes on with what does not go out now.
                    if let Poll::Ready(done) = this.drain(context) {
                        done?;
                    }
                    continue;
                }
                Some(Inside { left: 0, .. }) => {
                    this.inside = None;
                    continue;
                }
                Some(inside @ Inside { opcode: OpCode::Control(_), .. }) if !this.arrived.is_empty() => {
                    let part = this.payload(inside, usize::MAX);
                    this.control.extend_from_slice(&part);
                    continue;
                }
                Some(inside) if !this.arrived.is_empty() => {
                    let part = this.payload(inside, into.remaining());
                    into.put_slice(&part);
                    return Poll::Ready(Ok(()));
                }
                Some(_) => {}
                None => {
                    this.inside = this.head()?;
                    if this.inside.is_some() {
                        continue;
                    }
                }
            }
            let mut bytes = [0; READ];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                this.is_over = true;
            }
            this.arrived.extend_from_slice(buffer.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.drain(context))?;
        if self.has_said_goodbye {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let part = &bytes[..bytes.len().min(WRITE)];
        self.frame(OpCode::Data(Data::Binary), part);
        // What does not go out now goes before the next.
        if let Poll::Ready(done) = self.drain(context) {
            done?;
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // 1000: all that was to be done is done.
        self.goodbye(&1000_u16.to_be_bytes());
        ready!(self.drain(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
