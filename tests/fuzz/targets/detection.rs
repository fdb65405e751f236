//! A detection's JSON, as it comes by MQTT and by HTTP. Where both ways read it, they read the same; what is wrong is said
//! in bounded words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{domain::camera::CameraId, wire::detection};

/// All faults of one body together, in bytes.
const WORDS: usize = 4096;

fuzz_target!(|body: &[u8]| {
    if let Err(faults) = detection::decode(CameraId(1), body) {
        let words: usize = faults.into_sentences().iter().map(String::len).sum();
        assert!(words <= WORDS, "{words} bytes of faults");
    }
    let _ = detection::decode_with_camera(body);
});
