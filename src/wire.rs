//! What goes over the wire: topics, and the JSON of MQTT, REST and Socket.io. Parsed here, once, into domain values.
//!
//! Must not know SQL, sockets, axum or the broker.

pub mod account;
pub mod camera;
pub mod detection;
pub mod device;
pub mod event;
pub mod lock;
pub mod lock_audit;
pub mod log_level;
pub mod presence;
pub mod rest;
pub mod time;
pub mod validation;
