//! MQTT: the front that devices talk to, rumqttd's router behind it, and the client of a remote lock agent.
//!
//! Must not know SQL, HTTP or GPIO. rumqttd and rumqttc appear nowhere else. Its rooms, lowest first, are in
//! docs/architecture.md.

pub mod client;
mod codec;
mod connection;
mod front;
pub mod link;
mod log_throttle;
mod metrics;
pub mod pools;
mod publish;
mod router;
mod session;
pub mod settings;
mod subscribe;
pub mod tls;

pub use connection::{
    admission::ConnectionPermit,
    credentials::{Authenticate, BoxFuture, Credentials, Refusal},
};
pub use front::{Front, Hooks};
pub use router::RouterHeartbeat;
pub use settings::Settings;
