//! A `.env` file. What is wrong is a fault with its line, never a panic, and a name has one value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::config::dot_env;

fuzz_target!(|text: &str| {
    let _ = dot_env::parse(text);
});
