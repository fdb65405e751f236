//! What a client has sent and the front has not cut into packets yet.
//!
//! The beginning of a long packet waits here for its end, so how much all of them may hold together is bounded here.
//! Must not know what is in a packet.

use bytes::{BufMut as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::Instant,
};

use super::{
    frame::{self, Frame},
    packet::Fault,
};
use crate::{
    auth::holder::Holder,
    domain::pool::{Account, Share},
};

/// How much a read may bring: little at first, since most clients say little, and up to the second for who fills it.
/// A packet longer than the second is a long one.
const READ: (usize, usize) = (1024, 16 * 1024);

/// The bytes of one connection.
#[derive(Debug)]
pub struct ReadBuffer {
    buffer: BytesMut,
    room: usize,
    /// The most that the next read may bring.
    most: usize,
    /// What a long packet has of the pool of such, and since when.
    held: Option<(Share<Holder>, Instant)>,
}

impl ReadBuffer {
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self { buffer: BytesMut::from(bytes), room: READ.0, most: READ.0, held: None }
    }

    /// With what has arrived behind the CONNECT, without the room that this took.
    #[must_use]
    pub fn behind_connect(self) -> Self {
        Self::new(&self.buffer)
    }

    /// What has arrived and is no whole packet yet.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Cuts the next whole packet, as [`frame::next`] does.
    ///
    /// # Errors
    /// Those of [`frame::next`].
    pub fn next(&mut self, longest: usize) -> Result<Option<Frame>, Fault> {
        let next = frame::next(&mut self.buffer, longest)?;
        if next.is_some() && self.held.take().is_some() {
            // What is left of a long packet's room would be taken for the next reads, whole.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(next)
    }

    /// Makes room for what is read next: a long packet gets what it needs and no more, and what it had is given back
    /// after it. False if it has to wait, since other long packets have all the room.
    pub fn prepare(&mut self, longest: usize, arriving: &Account<Holder>) -> bool {
        let whole = frame::announced(&self.buffer).unwrap_or(0).min(longest);
        self.most = self.room.max(whole.saturating_sub(self.buffer.len()));
        if whole <= READ.1 {
            self.buffer.reserve(self.room);
            return true;
        }
        if self.held.is_none() {
            if !arriving.has_room_for(1) {
                return false;
            }
            self.held = Some((arriving.hold(whole as u64), Instant::now()));
        }
        if whole > self.buffer.capacity() {
            // Growing would double it.
            let mut larger = BytesMut::with_capacity(whole);
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
        true
    }

    /// Since when a long packet has been arriving, if one is.
    #[must_use]
    pub fn long_since(&self) -> Option<Instant> {
        self.held.as_ref().map(|(_, since)| *since)
    }

    /// Reads what is there, as far as there was made room. May be cancelled at any time.
    ///
    /// # Errors
    /// The stream's own.
    pub async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> std::io::Result<usize> {
        let count = reader.read_buf(&mut (&mut self.buffer).limit(self.most)).await?;
        if count >= self.room {
            self.room = (self.room * 2).min(READ.1);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pool::{Bounds, Pool, Standing};

    const LONGEST: usize = 256 * 1024;

    /// The beginning of a PUBLISH of so many bytes.
    fn publish(length: usize) -> Vec<u8> {
        let seven = |shift: usize| u8::try_from(length >> shift & 0x7F).expect("seven bits");
        vec![0x30, seven(0) | 0x80, seven(7) | 0x80, seven(14)]
    }

    async fn read(input: &mut ReadBuffer, mut bytes: &[u8], arriving: &Account<Holder>) {
        while !bytes.is_empty() {
            assert!(input.prepare(LONGEST, arriving));
            assert!(input.read(&mut bytes).await.expect("no error") > 0);
        }
    }

    #[tokio::test]
    async fn long_packets_wait_for_room_and_short_ones_do_not() {
        let pool = Pool::new(Bounds { in_all: 400_000, each: 1_000_000, reserve: 100_000 });
        let arriving = pool.account(Holder::Hub, Standing::Common);
        let mut inputs: Vec<_> = (0..4).map(|_| ReadBuffer::new(&[])).collect();
        for input in &mut inputs {
            read(input, &publish(200_000), &arriving).await;
        }
        let may_go_on: Vec<_> = inputs.iter_mut().map(|input| input.prepare(LONGEST, &arriving)).collect();
        assert_eq!(may_go_on, [true, true, false, false], "the second is the one that fills it");
        assert_eq!(inputs.iter().filter(|input| input.long_since().is_some()).count(), 2);
        assert!(inputs[2].buffer.capacity() <= 2 * READ.1);
        let mut short = ReadBuffer::new(&[]);
        read(&mut short, &[0xC0, 0], &arriving).await;
        assert!(short.next(LONGEST).expect("a packet").is_some());
        // The first arrives whole, the second's connection ends.
        read(&mut inputs[0], &vec![b'x'; 200_000], &arriving).await;
        assert_eq!(inputs[0].next(LONGEST).expect("a packet").map(|frame| frame.body.len()), Some(200_000));
        assert!(inputs[0].long_since().is_none() && inputs[0].prepare(LONGEST, &arriving));
        assert!(inputs[0].buffer.capacity() <= 2 * READ.1, "given back");
        inputs.remove(1);
        assert!(inputs[1].prepare(LONGEST, &arriving) && inputs[2].prepare(LONGEST, &arriving));
    }
}
