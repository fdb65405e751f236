//! A payload on `lock/command`. What is read says an action of the lock; what is not says why, in bounded words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::wire::lock::Command;

fuzz_target!(|payload: &[u8]| {
    let _ = Command::read(payload);
});
