//! One binary for all integration tests, so that the crate is linked once.

mod lock_desk;
mod ranks;
mod recorder;
mod rest_contract;
mod rest_hub;
mod server;
