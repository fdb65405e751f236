use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

const BINARY: OpCode = OpCode::Data(Data::Binary);
const MORE: OpCode = OpCode::Data(Data::Continue);

/// A client's frame.
fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 250];
    let head = FrameHeader { opcode, is_final, mask: Some(mask), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    head.format(payload.len() as u64, &mut bytes).expect("written");
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What a server reads of these bytes before the end, and what it answers.
async fn read(bytes: &[u8]) -> (io::Result<Vec<u8>>, Vec<u8>) {
    let (mut near, far) = duplex(1 << 20);
    near.write_all(bytes).await.expect("written");
    near.shutdown().await.expect("shut");
    let mut frames = Frames::new(far);
    let mut found = Vec::new();
    let result = frames.read_to_end(&mut found).await.map(|_| found);
    drop(frames);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.expect("read");
    (result, answer)
}

#[tokio::test]
async fn control_frames_are_answered_in_between() {
    let (ping, close) = (OpCode::Control(Control::Ping), OpCode::Control(Control::Close));
    let bytes = [
        frame(BINARY, false, b"ab"),
        frame(ping, true, b"there?"),
        frame(MORE, true, b"cd"),
        frame(BINARY, true, b""),
        frame(close, true, &[0x03, 0xE8, b'x']),
        frame(BINARY, true, b"too late"),
    ];
    let (found, answer) = read(&bytes.concat()).await;
    assert_eq!(found.expect("read"), b"abcd");
    assert_eq!(answer, b"\x8a\x06there?\x88\x02\x03\xe8");
}

#[tokio::test]
async fn what_no_client_of_ours_may_send_is_an_error() {
    let unmasked = vec![0x82, 1, b'x'];
    let with_extension = vec![0xC2, 0x81, 0, 0, 0, 0, b'x'];
    for bytes in [
        frame(OpCode::Data(Data::Text), true, b"text"),
        frame(MORE, true, b"of nothing"),
        [frame(BINARY, false, b"a"), frame(BINARY, true, b"b")].concat(),
        frame(OpCode::Control(Control::Ping), true, &[0; 126]),
        frame(OpCode::Control(Control::Ping), false, b"x"),
        vec![0x83, 0x80, 0, 0, 0, 0],
        unmasked,
        with_extension,
    ] {
        let (found, _) = read(&bytes).await;
        assert_eq!(found.expect_err("an error").kind(), InvalidData, "{bytes:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_long_frame_is_kept() {
    let (mut near, far) = duplex(64 * 1024);
    let mut frames = Frames::new(far);
    let length = 16 << 20;
    let writing = tokio::spawn(async move {
        near.write_all(&frame(BINARY, false, &vec![7; length])).await.expect("written");
        near
    });
    let (mut read, mut most, mut bytes) = (0, 0, [0; 1000]);
    while read < length {
        let count = frames.read(&mut bytes).await.expect("read");
        assert!(bytes[..count].iter().all(|byte| *byte == 7));
        read += count;
        most = most.max(frames.arrived.capacity());
    }
    assert!(most <= 4 * READ, "{most}");
    writing.await.expect("written");
}

#[tokio::test]
async fn what_is_written_are_frames_of_a_server() {
    let (mut near, far) = duplex(1 << 20);
    let mut frames = Frames::new(far);
    frames.write_all(b"hello").await.expect("written");
    frames.write_all(&vec![1; WRITE + 1]).await.expect("written");
    frames.shutdown().await.expect("shut");
    assert!(frames.write_all(b"x").await.is_err());
    drop(frames);
    let mut written = Vec::new();
    near.read_to_end(&mut written).await.expect("read");
    assert_eq!(&written[..7], b"\x82\x05hello");
    assert_eq!(&written[7..11], [0x82, 126, 0x80, 0x00]);
    assert_eq!(&written[written.len() - 7..], b"\x82\x01\x01\x88\x02\x03\xe8");
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_the_frames(parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>(), any::<bool>()), 0..20)) {
        let (mut bytes, mut expected, mut is_open) = (Vec::new(), Vec::new(), false);
        for (payload, is_final, ping) in parts {
            bytes.extend(frame(if is_open { MORE } else { BINARY }, is_final, &payload));
            is_open = !is_final;
            expected.extend(payload);
            if ping {
                bytes.extend(frame(OpCode::Control(Control::Ping), true, b"p"));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (found, _) = runtime.block_on(read(&bytes));
        prop_assert_eq!(found.expect("read"), expected);
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _ = runtime.block_on(read(&bytes));
    }
}
