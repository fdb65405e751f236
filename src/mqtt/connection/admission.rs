//! How many connections there may be, and who has to go for whom.
//!
//! Must not know what is said on them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    auth::{holder::Holder, identity::Identity, origin::Origin},
    domain::{
        places::{Place, Places},
        pool::{Full, Standing},
    },
    mqtt::{log_throttle::LogThrottle, metrics::FrontMetrics, pools, settings::Limits},
};

/// The way in for connections.
#[derive(Debug)]
pub struct Admission {
    places: Places<Holder>,
    metrics: Arc<FrontMetrics>,
    /// How often refusals are logged.
    refusals: Arc<LogThrottle>,
}

impl Admission {
    #[must_use]
    pub fn new(limits: &Limits, metrics: Arc<FrontMetrics>, refusals: Arc<LogThrottle>) -> Self {
        Self { places: Places::new(pools::connections(limits)), metrics, refusals }
    }

    /// Counts a connection, if there is room for it: for a stranger, another who has waited for longer may have to go.
    #[must_use]
    pub fn admit(&self, origin: Origin) -> Option<ConnectionPermit> {
        let leave = CancellationToken::new();
        let sent_away = leave.clone();
        match self.places.enter(Some(Holder::at(origin.address())), move || leave.cancel()) {
            Ok(place) => {
                self.metrics.connections.shift(1);
                Some(ConnectionPermit { metrics: self.metrics.clone(), place, sent_away })
            }
            Err(full) => {
                self.metrics.turned_away.one();
                let address = origin.address();
                if let Some(held_back) = self.refusals.may_log(&Identity::Anonymous, address) {
                    tracing::warn!(%address, held_back, "turned an MQTT client away: too many connections: {full}");
                }
                None
            }
        }
    }

    /// The places for connections.
    #[must_use]
    pub fn places(&self) -> &Places<Holder> {
        &self.places
    }
}

/// A connection that counts until this is dropped.
pub struct ConnectionPermit {
    metrics: Arc<FrontMetrics>,
    place: Place<Holder>,
    sent_away: CancellationToken,
}

impl std::fmt::Debug for ConnectionPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionPermit").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ConnectionPermit {
    /// Waits until it has to go for another.
    pub async fn sent_away(&self) {
        self.sent_away.cancelled().await;
    }

    /// Its CONNECT is there: others have to go first.
    pub fn has_spoken(&self) {
        self.place.busy();
    }

    /// It has shown who it is, and never has to go for another.
    ///
    /// # Errors
    /// When all connections that are open to people of its standing are taken.
    pub fn known(&self, standing: Standing) -> Result<(), Full> {
        self.place.known(standing)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.metrics.connections.shift(-1);
    }
}
