//! MQTT 3.1.1 and 5.0 as bytes: what a client sends, from a stream to values that obey the standard, and what the front
//! sends, from values to bytes.
//!
//! Must not know sockets (but for bytes that a reader gives), sessions, rights or topics' meaning: only what the
//! standard says of a packet by itself.

pub mod decode;
pub mod encode;
pub mod frame;
pub mod packet;
mod property;
pub mod read_buffer;
mod reader;
