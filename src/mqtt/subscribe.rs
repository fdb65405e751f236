//! SUBSCRIBE and UNSUBSCRIBE: who may hear what, and the retained messages that a subscription begins with.
//!
//! Must not know packets' bytes or connections: it changes a session, whose queue the connection writes.

use std::{sync::Arc, time::Instant};

use super::{
    codec::packet::{Fault, Reason, RetainHandling, Subscribe, SubscriptionRequest},
    link::QoS,
    log_throttle::LogThrottle,
    metrics::FrontMetrics,
    router::{Dead, NotSubscribed, Router, message::Message},
    session::{
        Session,
        filter::{self, Parsed},
        queue::Delivery,
        shared_groups::{Member, SharedGroups},
        subscriptions::Subscriptions,
    },
};
use crate::auth::rights::Rights;

/// Why a SUBSCRIBE could not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Dead(#[from] Dead),
}

/// What a SUBSCRIBE came to.
#[derive(Debug, Default)]
pub struct Subscribed {
    /// A code for each filter.
    pub codes: Vec<Result<QoS, Reason>>,
    /// How many messages the session's queue had to drop for the retained ones.
    pub dropped: u64,
}

/// All that subscribing and delivering may touch.
#[derive(Debug)]
pub struct Subscribing {
    pub rights: Rights,
    pub router: Router,
    pub groups: SharedGroups,
    /// The most subscriptions of a session.
    pub subscriptions: usize,
    /// The longest filter, in bytes.
    pub topic_bytes: usize,
    pub metrics: Arc<FrontMetrics>,
    /// How often refusals are logged.
    pub refusals: Arc<LogThrottle>,
    /// How often full queues are logged.
    pub drops: LogThrottle,
}

impl Subscribing {
    /// Subscribes to each filter, and puts the retained messages that this brings into the session's queue.
    ///
    /// # Errors
    /// When the SUBSCRIBE breaks the protocol, or the router is dead.
    pub async fn subscribe(&self, session: &mut Session, packet: &Subscribe) -> Result<Subscribed, SubscribeError> {
        let mut subscribed = Subscribed::default();
        for (index, wanted) in packet.filters.iter().enumerate() {
            let shared = filter::parse(&wanted.filter).is_some_and(|parsed| parsed.group.is_some());
            if shared && wanted.no_local {
                return Err(Fault::protocol("No Local on a shared subscription").into());
            }
            // Each filter may bring every retained message, also one that is there twice: so of one packet no more
            // count than a session may have.
            if index >= self.subscriptions {
                subscribed.codes.push(Err(Reason::QuotaExceeded));
                continue;
            }
            let granted = self.subscribe_one(session, wanted, packet.subscription_id, &mut subscribed.dropped).await?;
            subscribed.codes.push(granted.map(|()| wanted.qos));
            // Others' turn: a thousand filters take a while.
            tokio::task::yield_now().await;
        }
        Ok(subscribed)
    }

    async fn subscribe_one(
        &self,
        session: &mut Session,
        wanted: &SubscriptionRequest,
        id: Option<u32>,
        dropped: &mut u64,
    ) -> Result<Result<(), Reason>, Dead> {
        let Some(parsed) = filter::parse(&wanted.filter) else { return Ok(Err(Reason::TopicFilterInvalid)) };
        if wanted.filter.len() > self.topic_bytes {
            return Ok(Err(Reason::TopicFilterInvalid));
        }
        if let Err(reason) = self.permit(session, &wanted.filter) {
            return Ok(Err(reason));
        }
        let is_new = session.subscriptions.get(&wanted.filter).is_none();
        let mut since = u64::MAX;
        if is_new {
            if session.subscriptions.len() >= self.subscriptions {
                return Ok(Err(Reason::QuotaExceeded));
            }
            let Ok(share) = session.account.take(Subscriptions::cost(&wanted.filter)) else {
                return Ok(Err(Reason::QuotaExceeded));
            };
            let number = session.subscriptions.new_number();
            since = match self.begin(session, parsed, number).await {
                Ok(since) => since,
                Err(NotSubscribed::Dead(dead)) => return Err(dead),
                Err(NotSubscribed::TooManyFilters | NotSubscribed::TooManyGroups) => {
                    return Ok(Err(Reason::QuotaExceeded));
                }
            };
            session.subscriptions.insert(wanted, id, number, since, share);
        } else {
            session.subscriptions.update(wanted, id);
        }
        let brings_retained = match wanted.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if parsed.group.is_none() && brings_retained {
            let found = self.router.retained().lock().matching(parsed.filter, since, Instant::now());
            for message in found.into_iter().filter(|message| self.rights.may_receive(&session.who, &message.topic)) {
                *dropped += session.queue.push(Delivery {
                    message: Message { qos: message.qos.min(wanted.qos), retain: true, ..message },
                    subscription_ids: id.into_iter().collect(),
                });
            }
        }
        Ok(Ok(()))
    }

    /// Subscribes in the router, or in a group. Answers the sequence number of the last message before.
    async fn begin(&self, session: &mut Session, parsed: Parsed<'_>, number: usize) -> Result<u64, NotSubscribed> {
        if let Some(group) = parsed.group {
            let member = Member {
                who: session.who.clone(),
                holder: session.holder(),
                session: session.number,
                subscription: number,
                mailbox: session.mailbox.sender.clone(),
                online: session.mailbox.online.clone(),
            };
            self.groups.join(group, parsed.filter, member).await?;
            return Ok(0);
        }
        let link = match session.link.take() {
            Some(link) => link,
            None => self.router.open(session.holder(), session.who.standing()),
        };
        session.link.insert(link).subscribe(number, parsed.filter).await
    }

    fn permit(&self, session: &Session, filter: &str) -> Result<(), Reason> {
        let right = self.rights.subscribe(&session.who, filter);
        if right.allowed {
            return Ok(());
        }
        self.metrics.refused_subscriptions.one();
        if let Some(held_back) = self.refusals.may_log(&session.who, session.address) {
            tracing::warn!(who = %session.who, filter, rule = right.rule, held_back, "refused a subscription");
        }
        Err(Reason::NotAuthorized)
    }

    /// Ends each subscription. Answers a code for each.
    pub fn unsubscribe(&self, session: &mut Session, filters: &[String]) -> Vec<Reason> {
        let mut codes = Vec::new();
        for text in filters {
            let Some(removed) = session.subscriptions.remove(text) else {
                codes.push(Reason::NoSubscriptionExisted);
                continue;
            };
            match (&removed.group, &mut session.link) {
                (Some(group), _) => self.groups.leave(group, &removed.filter, session.number),
                (None, Some(link)) => link.unsubscribe(removed.number),
                (None, None) => {}
            }
            codes.push(Reason::Success);
        }
        codes
    }

    /// Ends what a session is subscribed to, at its end: nobody hears by it any more.
    pub fn end_subscriptions(&self, session: &mut Session) {
        session.link = None;
        for subscription in session.subscriptions.iter() {
            if let Some(group) = &subscription.group {
                self.groups.leave(group, &subscription.filter, session.number);
            }
        }
    }

    /// Takes a message that arrived for the session into its queue, if its client may hear it. `online` is whether
    /// there is a connection: without one, nothing at QoS 0 and no command to the lock waits.
    pub fn deliver(&self, session: &mut Session, subscription: usize, message: Message, online: bool) {
        if !self.rights.may_receive(&session.who, &message.topic) {
            return;
        }
        let Some(delivery) = session.subscriptions.deliver(subscription, message, session.number) else { return };
        if !online && (delivery.message.qos == QoS::AtMostOnce || delivery.message.is_lock_command()) {
            return;
        }
        let dropped = session.queue.push(delivery);
        if dropped > 0 {
            self.metrics.dropped.add(dropped);
            if let Some(held_back) = self.drops.pass(session.holder(), session.who.standing(), Instant::now()) {
                tracing::warn!(who = %session.who, dropped, held_back, "a subscriber's queue is full, its oldest messages are dropped");
            }
        }
    }
}
