//! Who somebody is and what they may do, as decisions on values: no lookup, no socket.
//!
//! Must not know SQL, axum or the broker: whoever asks brings what is needed to decide.

pub mod identity;
pub mod rights;
pub mod secret;
