//! What the hub is about, as values that can't be wrong, and decisions as pure functions with time as an argument.
//!
//! Must not know tokio, sqlx, axum, rumqttd, rumqttc or gpio-cdev.

pub mod attendance;
pub mod bolt;
pub mod camera;
pub mod condition;
pub mod detection;
pub mod device;
pub mod event;
pub mod lock;
pub mod name;
pub mod occupancy;
pub mod places;
pub mod pool;
pub mod stream_url;
pub mod text;
pub mod topic;
pub mod trusted_clock;
pub mod user;
pub mod window;

/// A text that does not name what it should, with the words that tell a person what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct Invalid(pub String, pub &'static str);
