//! SUBSCRIBE and UNSUBSCRIBE: who may hear what, and the retained messages that a subscription begins with.

use std::time::Instant;

use super::{
    codec::packet::{Fault, Reason, RetainHandling, Subscribe, Wanted},
    front::Core,
    link::QoS,
    router::{Dead, NotSubscribed, message::Message},
    session::{
        Session,
        filter::{self, Parsed},
        queue::Delivery,
        shared_groups::Member,
        subscriptions::Subscriptions,
    },
};
use crate::domain::topic::Topic;

/// Why a SUBSCRIBE could not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
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

/// Subscribes to each filter, and puts the retained messages that this brings into the session's queue.
///
/// # Errors
/// When the SUBSCRIBE breaks the protocol, or the router is dead.
pub async fn subscribe(core: &Core, session: &mut Session, packet: &Subscribe) -> Result<Subscribed, Broken> {
    let mut subscribed = Subscribed::default();
    for (index, wanted) in packet.filters.iter().enumerate() {
        let shared = filter::parse(&wanted.filter).is_some_and(|parsed| parsed.group.is_some());
        if shared && wanted.no_local {
            return Err(Fault::protocol("No Local on a shared subscription").into());
        }
        // Each filter may bring every retained message, also one that is there twice: so of one packet no more count than
        // a session may have.
        if index >= core.settings.limits.subscriptions {
            subscribed.codes.push(Err(Reason::QuotaExceeded));
            continue;
        }
        let granted = one(core, session, wanted, packet.subscription_id, &mut subscribed.dropped).await?;
        subscribed.codes.push(granted.map(|()| wanted.qos));
        // Others' turn: a thousand filters take a while.
        tokio::task::yield_now().await;
    }
    Ok(subscribed)
}

async fn one(
    core: &Core,
    session: &mut Session,
    wanted: &Wanted,
    id: Option<u32>,
    dropped: &mut u64,
) -> Result<Result<(), Reason>, Dead> {
    let Some(parsed) = filter::parse(&wanted.filter) else { return Ok(Err(Reason::TopicFilterInvalid)) };
    if wanted.filter.len() > core.settings.limits.topic_bytes {
        return Ok(Err(Reason::TopicFilterInvalid));
    }
    if let Err(reason) = permit(core, session, &wanted.filter) {
        return Ok(Err(reason));
    }
    let is_new = session.subscriptions.get(&wanted.filter).is_none();
    let mut since = u64::MAX;
    if is_new {
        if session.subscriptions.len() >= core.settings.limits.subscriptions {
            return Ok(Err(Reason::QuotaExceeded));
        }
        let Ok(share) = session.account.take(Subscriptions::cost(&wanted.filter)) else {
            return Ok(Err(Reason::QuotaExceeded));
        };
        let number = session.subscriptions.new_number();
        since = match begin(core, session, parsed, number).await {
            Ok(since) => since,
            Err(NotSubscribed::Dead(dead)) => return Err(dead),
            Err(NotSubscribed::TooManyFilters | NotSubscribed::TooManyGroups) => return Ok(Err(Reason::QuotaExceeded)),
        };
        session.subscriptions.insert(wanted, id, number, since, share);
        session.hearings.insert(number, core.hearers.join(parsed.filter));
    } else {
        session.subscriptions.update(wanted, id);
    }
    let brings_retained = match wanted.retain_handling {
        RetainHandling::Always => true,
        RetainHandling::IfNew => is_new,
        RetainHandling::Never => false,
    };
    if parsed.group.is_none() && brings_retained {
        let found = core.router.retained().lock().matching(parsed.filter, since, Instant::now());
        for message in found.into_iter().filter(|message| core.rights.may_receive(&session.who, &message.topic)) {
            *dropped += session.queue.push(Delivery {
                message: Message { qos: message.qos.min(wanted.qos), retain: true, ..message },
                subscription_ids: id.into_iter().collect(),
            });
        }
    }
    Ok(Ok(()))
}

/// Subscribes in the router, or in a group. Answers the place of the last message before.
async fn begin(core: &Core, session: &mut Session, parsed: Parsed<'_>, number: usize) -> Result<u64, NotSubscribed> {
    if let Some(group) = parsed.group {
        let member = Member {
            who: session.who.clone(),
            holder: session.holder(),
            session: session.number,
            subscription: number,
            mailbox: session.mailbox.sender.clone(),
            online: session.mailbox.online.clone(),
        };
        core.shares.join(group, parsed.filter, member).await?;
        return Ok(0);
    }
    let link = match session.link.take() {
        Some(link) => link,
        None => core.router.open(session.holder(), session.who.standing()),
    };
    session.link.insert(link).subscribe(number, parsed.filter).await
}

fn permit(core: &Core, session: &Session, filter: &str) -> Result<(), Reason> {
    let right = core.rights.subscribe(&session.who, filter);
    if right.allowed {
        return Ok(());
    }
    core.gauges.refused_subscriptions.one();
    if let Some(held_back) = core.may_log(&session.who, session.address) {
        tracing::warn!(who = %session.who, filter, rule = right.rule, held_back, "refused a subscription");
    }
    Err(Reason::NotAuthorized)
}

/// Ends each subscription. Answers a code for each.
pub fn unsubscribe(core: &Core, session: &mut Session, filters: &[String]) -> Vec<Reason> {
    let mut codes = Vec::new();
    for text in filters {
        let Some(removed) = session.subscriptions.remove(text) else {
            codes.push(Reason::NoSubscriptionExisted);
            continue;
        };
        session.hearings.remove(&removed.number);
        match (&removed.group, &mut session.link) {
            (Some(group), _) => core.shares.leave(group, &removed.filter, session.number),
            (None, Some(link)) => link.unsubscribe(removed.number),
            (None, None) => {}
        }
        codes.push(Reason::Success);
    }
    codes
}

/// Ends what a session has outside itself, at its end.
pub fn leave_groups(core: &Core, session: &mut Session) {
    session.hearings.clear();
    for subscription in session.subscriptions.iter() {
        if let Some(group) = &subscription.group {
            core.shares.leave(group, &subscription.filter, session.number);
        }
    }
}

/// Takes a message that arrived for the session into its queue, if its client may hear it. `online` is whether there is
/// a connection: without one, nothing at QoS 0 and no command to the lock waits.
pub fn take_in(core: &Core, session: &mut Session, subscription: usize, message: Message, online: bool) {
    if !core.rights.may_receive(&session.who, &message.topic) {
        return;
    }
    let Some(delivery) = session.subscriptions.deliver(subscription, message, session.number) else { return };
    if !online && (delivery.message.qos == QoS::AtMostOnce || is_lock_command(&delivery.message)) {
        return;
    }
    let dropped = session.queue.push(delivery);
    if dropped > 0 {
        core.gauges.dropped.add(dropped);
        if let Some(held_back) = core.drops.pass(session.holder(), session.who.standing(), Instant::now()) {
            tracing::warn!(who = %session.who, dropped, held_back, "a subscriber's queue is full, its oldest messages are dropped");
        }
    }
}

/// A command to the lock, which is for now or not at all.
#[must_use]
pub fn is_lock_command(message: &Message) -> bool {
    Topic::parse(&message.topic) == Some(Topic::LockCommand)
}
