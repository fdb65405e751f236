//! A connection's place: among all, or on the doorstep, where for want of room it waits until its CONNECT says who it is.
//!
//! The doorstep is for the few who have a place of their own inside. Whoever has said nothing there for longest makes way
//! for the next, so that silent strangers do not fill it.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::front::Core;
use crate::{
    auth::{holder::Holder, identity::Identity},
    domain::pool::{Full, Share, Standing},
};

/// Those on the doorstep that have said nothing yet, in the order in which they came.
#[derive(Debug, Default)]
pub struct Doorstep(Mutex<VecDeque<Weak<Silent>>>);

#[derive(Debug)]
struct Silent {
    /// None once it has made way, or has spoken.
    place: Mutex<Option<Share<Holder>>>,
    must_go: CancellationToken,
}

/// A connection that counts until this is dropped.
pub struct Guest {
    core: Arc<Core>,
    place: Place,
}

enum Place {
    Inside(#[expect(dead_code, reason = "held")] Share<Holder>),
    Silent(Arc<Silent>),
    /// On the doorstep, with a whole CONNECT.
    Spoken(#[expect(dead_code, reason = "held")] Share<Holder>),
}

impl Doorstep {
    /// Has one make way that came before and has said nothing: of this holder, if one is given.
    fn clear_one(&self, of: Option<Holder>) {
        let mut waiting = self.0.lock();
        waiting.retain(|one| one.upgrade().is_some_and(|one| one.place.lock().is_some()));
        for one in waiting.iter().filter_map(Weak::upgrade) {
            let mut place = one.place.lock();
            if place.as_ref().is_some_and(|place| of.is_none_or(|of| *place.holder() == of)) {
                *place = None;
                one.must_go.cancel();
                return;
            }
        }
    }
}

impl Guest {
    /// Counts a connection, if there is room for it or it may wait on the doorstep.
    ///
    /// # Errors
    /// When there is room nowhere; it is counted and logged.
    pub fn arrive(core: &Arc<Core>, address: IpAddr) -> Result<Self, Full> {
        let (pools, holder) = (&core.pools, Holder::at(address));
        let place = match pools.connections.take(holder, Standing::Common, 1) {
            Ok(place) => Place::Inside(place),
            Err(full) => Self::wait(core, holder).map_err(|_| full).inspect_err(|full| {
                core.turned_away(&Identity::Anonymous, address, *full);
            })?,
        };
        core.gauges.connections.shift(1);
        Ok(Self { core: core.clone(), place })
    }

    fn wait(core: &Core, holder: Holder) -> Result<Place, Full> {
        let take = || core.pools.doorstep.take(holder, Standing::Common, 1);
        let place = take().or_else(|full| {
            core.doorstep.clear_one(matches!(full, Full::Holder(_)).then_some(holder));
            take()
        })?;
        let silent = Arc::new(Silent { place: Mutex::new(Some(place)), must_go: CancellationToken::new() });
        core.doorstep.0.lock().push_back(Arc::downgrade(&silent));
        Ok(Place::Silent(silent))
    }

    /// Done when it has to make way for others; never while it has a place inside.
    pub fn must_go(&self) -> impl Future<Output = ()> + use<> {
        let token = match &self.place {
            Place::Silent(silent) => Some(silent.must_go.clone()),
            Place::Inside(_) | Place::Spoken(_) => None,
        };
        async move {
            match token {
                Some(token) => token.cancelled().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Its CONNECT is whole. Says whether it has a place still.
    pub fn speaks(&mut self) -> bool {
        let Place::Silent(silent) = &self.place else { return true };
        let place = silent.place.lock().take();
        place.map(|place| self.place = Place::Spoken(place)).is_some()
    }

    /// Who it is has turned out. Whoever is above everybody has a place of their own, so that their address may be full.
    ///
    /// # Errors
    /// When there is no room for them; it is counted and logged.
    pub fn is(&mut self, who: &Identity, address: IpAddr) -> Result<(), Full> {
        let (standing, is_inside) = (who.standing(), matches!(self.place, Place::Inside(_)));
        if standing == Standing::Common && is_inside {
            return Ok(());
        }
        let holder = if standing == Standing::Common { Holder::at(address) } else { Holder::of(who, address) };
        match self.core.pools.connections.take(holder, standing, 1) {
            Ok(place) => self.place = Place::Inside(place),
            // It has one as somebody of its address.
            Err(_) if is_inside => {}
            Err(full) => {
                self.core.turned_away(who, address, full);
                return Err(full);
            }
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.core.gauges.connections.shift(-1);
    }
}
