//! MQTT: the front that devices talk to, rumqttd's router behind it, and the client of a remote lock worker.
//!
//! Must not know SQL, HTTP or GPIO. rumqttd and rumqttc appear nowhere else.

mod afterlife;
pub mod client;
mod connect;
mod connection;
pub mod decode;
mod delivery;
mod detection;
mod encode;
pub mod filter;
pub mod frame;
mod front;
pub mod gauges;
mod guest;
mod inbound;
mod input;
pub mod link;
mod local;
mod lock;
mod message;
pub mod packet;
pub mod pools;
mod property;
mod publish;
mod queue;
mod retained;
mod router;
mod session;
mod sessions;
pub mod settings;
mod shares;
mod subscribe;
mod subscriptions;
pub mod tls;
mod will;
mod worker;

pub use front::{Authenticate, BoxFuture, Credentials, Front, Hooks, Refusal};
pub use router::Pulse;
pub use settings::Settings;
