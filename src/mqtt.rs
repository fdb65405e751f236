//! MQTT: the front that devices talk to, rumqttd's router behind it, and the client of a remote lock worker.
//!
//! Must not know SQL, HTTP or GPIO. rumqttd and rumqttc appear nowhere else.

pub mod client;
pub mod link;
