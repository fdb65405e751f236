//! Shared subscriptions (`$share/group/filter`): each message goes to one member of the group.
//!
//! A group is one link of the router, whose messages its members get in turn.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::SharedDelivery;
use crate::{
    auth::{holder::Holder, identity::Identity, rights::Rights},
    domain::{
        pool::{Pool, Share},
        topic::Topic,
    },
    lifecycle::Lifecycle,
    mqtt::router::{
        NotSubscribed, Router, RouterLink, SubscriptionGuard,
        message::{Message, SessionNumber},
    },
};

/// A member of a group.
#[derive(Debug, Clone)]
pub struct Member {
    /// Whose session it is: a message goes only to a member that may receive it.
    pub who: Identity,
    pub holder: Holder,
    pub session: SessionNumber,
    /// The member's number for its subscription.
    pub subscription: usize,
    pub mailbox: mpsc::Sender<Box<SharedDelivery>>,
    pub online: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    next: usize,
}

#[derive(Debug)]
struct Group {
    members: Arc<Mutex<Members>>,
    stop: CancellationToken,
    /// Nobody subscribes by the group any more once its last member has left, though its link ends a moment later.
    _subscription: Option<SubscriptionGuard>,
    /// On the account of whoever made it, until its last member leaves.
    _place: Share<Holder>,
}

type Name = (String, String);

/// All groups.
#[derive(Debug)]
pub struct SharedGroups {
    groups: Mutex<HashMap<Name, Group>>,
    places: Pool<Holder>,
    router: Router,
    rights: Rights,
    lifecycle: Lifecycle,
}

impl SharedGroups {
    #[must_use]
    pub fn new(router: Router, rights: Rights, places: Pool<Holder>, lifecycle: Lifecycle) -> Self {
        Self { groups: Mutex::default(), places, router, rights, lifecycle }
    }

    /// Makes the member one of the group.
    ///
    /// # Errors
    /// When the group is new and cannot subscribe.
    pub async fn join(&self, group: &str, filter: &str, member: Member) -> Result<(), NotSubscribed> {
        let name = (group.to_owned(), filter.to_owned());
        if self.join_existing(&name, &member) {
            return Ok(());
        }
        let place = self.places.take(member.holder, member.who.standing(), 1);
        let place = place.map_err(|_| NotSubscribed::TooManyGroups)?;
        let mut link = self.router.open(member.holder, member.who.standing());
        link.subscribe(1, filter).await?;
        let subscription = link.guard(1);
        let stop = self.lifecycle.soft.child_token();
        let members = {
            let mut groups = self.groups.lock();
            // Somebody may have made it meanwhile.
            if let Some(group) = groups.get(&name) {
                group.members.lock().list.push(member);
                return Ok(());
            }
            let members = Arc::new(Mutex::new(Members { list: vec![member], next: 0 }));
            let group =
                Group { members: members.clone(), stop: stop.clone(), _subscription: subscription, _place: place };
            groups.insert(name, group);
            members
        };
        let rights = self.rights.clone();
        self.lifecycle.track(async move {
            tokio::select! {
                () = distribute(link, &members, &rights) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(())
    }

    fn join_existing(&self, name: &Name, member: &Member) -> bool {
        let groups = self.groups.lock();
        let Some(group) = groups.get(name) else { return false };
        group.members.lock().list.push(member.clone());
        true
    }

    /// Takes a session out of the group; the last one ends it.
    pub fn leave(&self, group: &str, filter: &str, session: SessionNumber) {
        let mut groups = self.groups.lock();
        let name = (group.to_owned(), filter.to_owned());
        let Some(group) = groups.get(&name) else { return };
        let mut members = group.members.lock();
        members.list.retain(|member| member.session != session);
        let is_empty = members.list.is_empty();
        drop(members);
        if is_empty && let Some(group) = groups.remove(&name) {
            group.stop.cancel();
        }
    }
}

/// Gives each message to one member.
async fn distribute(mut link: RouterLink, members: &Mutex<Members>, rights: &Rights) {
    loop {
        let arrival = link.receive().await;
        if Topic::parse(&arrival.message.topic) == Some(Topic::LockCommand) {
            continue;
        }
        let mut message = arrival.message;
        // All are behind: the group waits for the first of them, and the router's log for the group.
        loop {
            let offered = offer(&mut members.lock(), message, rights);
            let Offer::Full(back, mailbox) = offered else { break };
            message = back;
            let _ = mailbox.reserve().await;
        }
    }
}

/// What came of offering a message to a group.
enum Offer {
    Taken,
    /// There is no member left that may have it, so it is nobody's.
    Nobody,
    /// Nobody has room; the first that will.
    Full(Message, mpsc::Sender<Box<SharedDelivery>>),
}

/// Gives the message to the next member with room, those with a connection first.
fn offer(members: &mut Members, mut message: Message, rights: &Rights) -> Offer {
    let count = members.list.len();
    let mut full = None;
    for online in [true, false] {
        for step in 0..count {
            let index = (members.next + step) % count;
            let member = &members.list[index];
            if member.online.load(Relaxed) != online || !rights.may_receive(&member.who, &message.topic) {
                continue;
            }
            match member.mailbox.try_send(Box::new(SharedDelivery { subscription: member.subscription, message })) {
                Ok(()) => {
                    members.next = index + 1;
                    return Offer::Taken;
                }
                Err(mpsc::error::TrySendError::Full(back)) => {
                    full.get_or_insert_with(|| member.mailbox.clone());
                    message = back.message;
                }
                Err(mpsc::error::TrySendError::Closed(back)) => message = back.message,
            }
        }
    }
    full.map_or(Offer::Nobody, |mailbox| Offer::Full(message, mailbox))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::link::{self, QoS};

    fn member(session: u64, online: bool, room: usize) -> (Member, mpsc::Receiver<Box<SharedDelivery>>) {
        let (mailbox, receiver) = mpsc::channel(room);
        (
            Member {
                who: Identity::Hub,
                holder: Holder::Hub,
                session,
                subscription: 1,
                mailbox,
                online: Arc::new(AtomicBool::new(online)),
            },
            receiver,
        )
    }

    fn message() -> Message {
        let plain =
            link::Message { topic: "a".to_owned(), payload: Bytes::new(), qos: QoS::AtLeastOnce, retain: false };
        Message::plain(plain, 0)
    }

    #[test]
    fn members_take_turns_and_the_connected_go_first() {
        let (one, mut first) = member(1, true, 9);
        let (two, mut second) = member(2, true, 9);
        let (three, mut absent) = member(3, false, 9);
        let mut members = Members { list: vec![one, three, two], next: 0 };
        for _ in 0..6 {
            assert!(matches!(offer(&mut members, message(), &Rights::default()), Offer::Taken));
        }
        let count = |receiver: &mut mpsc::Receiver<Box<SharedDelivery>>| {
            std::iter::from_fn(|| receiver.try_recv().ok()).count()
        };
        assert_eq!((count(&mut first), count(&mut second), count(&mut absent)), (3, 3, 0));
    }

    #[test]
    fn a_member_that_may_not_receive_it_is_passed_over() {
        let (mut stranger, mut nothing) = member(1, true, 9);
        stranger.who = Identity::Anonymous;
        let (friend, mut all) = member(2, true, 9);
        let mut members = Members { list: vec![stranger, friend], next: 0 };
        for _ in 0..3 {
            assert!(matches!(offer(&mut members, message(), &Rights::default()), Offer::Taken));
        }
        assert!(nothing.try_recv().is_err());
        assert_eq!(std::iter::from_fn(|| all.try_recv().ok()).count(), 3);
    }

    #[test]
    fn a_member_without_room_is_passed_over() {
        let (one, _first) = member(1, true, 1);
        let (two, _second) = member(2, true, 1);
        let mut members = Members { list: vec![one, two], next: 0 };
        assert!(matches!(offer(&mut members, message(), &Rights::default()), Offer::Taken));
        assert!(matches!(offer(&mut members, message(), &Rights::default()), Offer::Taken));
        assert!(matches!(offer(&mut members, message(), &Rights::default()), Offer::Full(..)));
    }
}
