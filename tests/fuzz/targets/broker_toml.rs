//! broker.toml. What is wrong is a fault with its line, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::mqtt::Settings;

fuzz_target!(|text: &str| {
    let _ = toml::from_str::<Settings>(text);
});
