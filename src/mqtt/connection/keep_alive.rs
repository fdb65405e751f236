//! How long a client may be silent (3.1.2.10).

use std::time::Duration;

use crate::mqtt::{
    codec::packet::{Connect, ProtocolVersion},
    settings::Limits,
};

/// How long the client may be silent: one and a half times its keep-alive. A 5.0 client's keep-alive is capped, and it
/// is told; a 3.1.1 client that asked for none has none.
#[must_use]
pub fn allowed_silence(connect: &Connect, limits: &Limits) -> Duration {
    let seconds = server_keep_alive(connect, limits).unwrap_or(connect.keep_alive);
    Duration::from_millis(u64::from(seconds) * 1500)
}

/// The keep-alive that a 5.0 client has to use in place of its own.
#[must_use]
pub fn server_keep_alive(connect: &Connect, limits: &Limits) -> Option<u16> {
    let most = limits.keep_alive_seconds;
    let too_long = connect.keep_alive == 0 || connect.keep_alive > most;
    (connect.version == ProtocolVersion::V5 && too_long).then_some(most)
}
