//! Where a packet ends in a stream of bytes, and which packets a client may send at all.
//!
//! Must not know what is in a packet.

use bytes::{Bytes, BytesMut};

use super::packet::{Fault, Reason};

/// The type of a control packet, in the upper half of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    Unsubscribe,
    PingReq,
    Disconnect,
    /// MQTT 5.0 only, and never expected: the front offers no enhanced authentication.
    Auth,
}

/// A whole packet: its first byte and all that follows its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// The lower half of the first byte.
    pub flags: u8,
    pub body: Bytes,
}

/// Cuts the next whole packet from `buffer`; none if it has not arrived yet. `longest` bounds the whole packet, and is
/// judged as soon as the length is there, so that nobody makes the front hold more.
///
/// # Errors
/// What is wrong with the first bytes; nothing after them can be read.
pub fn next(buffer: &mut BytesMut, longest: usize) -> Result<Option<Frame>, Fault> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    let (kind, flags) = (kind(first)?, first & 0x0F);
    let Some((header, length)) = length(buffer)? else { return Ok(None) };
    let whole = header + length;
    if whole > longest {
        return Err(Fault { reason: Reason::PacketTooLarge, why: "a packet longer than packet_bytes" });
    }
    if buffer.len() < whole {
        return Ok(None);
    }
    let body = buffer.split_to(whole).freeze().slice(header..);
    Ok(Some(Frame { kind, flags, body }))
}

/// How long the packet is that has begun to arrive, with its header, as far as that is known.
#[must_use]
pub fn announced(buffer: &[u8]) -> Option<usize> {
    let (header, length) = length(buffer).ok()??;
    Some(header + length)
}

/// The type and the flags that the standard demands of it (2.1.3), before anything else is read.
fn kind(first: u8) -> Result<Kind, Fault> {
    let kind = match (first >> 4, first & 0x0F) {
        (1, 0) => Kind::Connect,
        (3, _) => Kind::Publish,
        (4, 0) => Kind::PubAck,
        (5, 0) => Kind::PubRec,
        (6, 2) => Kind::PubRel,
        (7, 0) => Kind::PubComp,
        (8, 2) => Kind::Subscribe,
        (10, 2) => Kind::Unsubscribe,
        (12, 0) => Kind::PingReq,
        (14, 0) => Kind::Disconnect,
        (15, 0) => Kind::Auth,
        (2 | 9 | 11 | 13, _) => return Err(Fault::protocol("a packet that only a server sends")),
        _ => return Err(Fault::malformed("a packet of no known type")),
    };
    Ok(kind)
}

/// The length of the fixed header and of what follows it; none if it has not arrived whole.
fn length(buffer: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut length = 0;
    for (index, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, length)));
        }
    }
    if buffer.len() > 4 { Err(Fault::malformed("a length of more than four bytes")) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], longest: usize) -> Result<Option<Frame>, Fault> {
        next(&mut BytesMut::from(bytes), longest)
    }

    #[test]
    fn a_frame_is_cut_once_it_is_whole() {
        let mut buffer = BytesMut::from(&[0xC0, 0x00, 0x40, 0x02, 0x00][..]);
        let ping = next(&mut buffer, 100).expect("no fault").expect("a frame");
        assert_eq!((ping.kind, ping.body.len()), (Kind::PingReq, 0));
        assert_eq!(next(&mut buffer, 100), Ok(None));
        buffer.extend_from_slice(&[0x07]);
        let ack = next(&mut buffer, 100).expect("no fault").expect("a frame");
        assert_eq!((ack.kind, &ack.body[..]), (Kind::PubAck, &[0, 7][..]));
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_no_client_may_send_is_a_fault_at_its_first_byte() {
        for first in [0x20, 0x90, 0xB0, 0xD0, 0x00, 0x11, 0x60, 0x80, 0xA0, 0xF1, 0xE1] {
            assert!(read(&[first], 100).is_err(), "{first:#x}");
        }
    }

    #[test]
    fn a_length_is_judged_before_its_bytes_arrive() {
        let fault = read(&[0x30, 0xFF, 0xFF, 0x7F], 1000).expect_err("too long");
        assert_eq!(fault.reason, Reason::PacketTooLarge);
        assert_eq!(read(&[0x30, 0x80, 0x80, 0x80, 0x80], 1000).expect_err("bad").reason, Reason::MalformedPacket);
        assert_eq!(read(&[0x30, 0x80, 0x80, 0x80], 1000), Ok(None));
    }

    proptest! {
        #[test]
        fn however_the_bytes_arrive_the_frames_are_the_same(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let all = |parts: &[&[u8]]| {
                let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
                for part in parts {
                    buffer.extend_from_slice(part);
                    loop {
                        match next(&mut buffer, 64) {
                            Ok(Some(frame)) => frames.push(frame),
                            Ok(None) => break,
                            Err(fault) => return (frames, Some(fault)),
                        }
                    }
                }
                (frames, None)
            };
            let cut = cut.min(bytes.len());
            prop_assert_eq!(all(&[&bytes]), all(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
