//! The JSON bodies of REST. The first byte chooses which; the rest is the body. None panics, and faults are bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::wire::{
    account::{CreateUser, Login, Register, UpdateUser},
    camera::{CreateCamera, UpdateCamera},
    device::AddDevice,
    rest::Hold,
    validation::read,
};

fuzz_target!(|input: &[u8]| {
    let Some((choice, body)) = input.split_first() else { return };
    match choice % 8 {
        0 => drop(read::<Register>(body)),
        1 => drop(read::<CreateUser>(body)),
        2 => drop(read::<UpdateUser>(body)),
        3 => drop(read::<Login>(body)),
        4 => drop(read::<CreateCamera>(body)),
        5 => drop(read::<UpdateCamera>(body)),
        6 => drop(read::<AddDevice>(body)),
        _ => drop(read::<Hold>(body)),
    }
});
