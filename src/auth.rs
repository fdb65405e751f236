//! Who somebody is and what they may do, as decisions on values: no lookup, no socket.
//!
//! Must not know SQL, axum or the broker: whoever asks brings what is needed to decide.

pub mod attempts;
pub mod chain;
pub mod device_token;
pub mod holder;
pub mod identity;
pub mod origin;
pub mod password;
pub mod rights;
pub mod secret;
pub mod token;
pub mod turns;
