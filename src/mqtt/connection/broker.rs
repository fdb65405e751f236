//! What a connection, and a session without one, may touch of the rest.

use std::sync::{Arc, atomic::AtomicUsize};

use crate::{
    auth::holder::Holder,
    domain::pool::Pool,
    lifecycle::Lifecycle,
    mqtt::{metrics::FrontMetrics, publish::Publishing, settings::Limits, subscribe::Subscribing},
};

/// What all connections share.
#[derive(Debug)]
pub struct Broker {
    pub limits: Limits,
    pub lifecycle: Lifecycle,
    pub publishing: Arc<Publishing>,
    pub subscribing: Subscribing,
    /// As in [`crate::mqtt::pools::ARRIVING`].
    pub arriving: Pool<Holder>,
    /// How many subscribers read and fall behind all the same: publishers slow down for them.
    pub pressure: AtomicUsize,
    pub metrics: Arc<FrontMetrics>,
}
