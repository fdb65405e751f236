//! A session after its connection: it goes on collecting messages until its client returns or it expires, and
//! finishes what the client had begun. The will is published when its time has come.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use super::{
    connection::{End, Goodbye},
    delivery,
    front::Core,
    link::QoS,
    publish::{Answer, Sender},
    session::{self, Decided, Phase, Session},
    sessions::{Order, Seat},
    subscribe,
    will::Will,
};
use crate::domain::topic::Topic;

/// A session without a connection, and the right to it.
pub struct Afterlife {
    pub core: Arc<Core>,
    pub session: Box<Session>,
    pub seat: Seat,
    pub sender: Sender,
    pub will: Option<Will>,
}

/// Why the wait for the client's return ended.
enum Turn {
    Order(Order),
    Expired,
    Stopping,
}

impl Afterlife {
    /// Does what the connection's end demands, until the session is handed over or over.
    pub async fn begin(mut self, end: End) {
        match end {
            End::Clean(goodbye) => self.heed(goodbye),
            End::Lost(_) | End::Faulty(_) | End::Silent(_) => {}
            End::TakenOver { order, goodbye } => {
                if let Some(goodbye) = goodbye {
                    self.heed(goodbye);
                }
                return self.obey(order).await;
            }
            End::Ended(_) => return self.over().await,
            End::Revoked(_) => return self.revoked().await,
            End::Stopping => return self.finish().await,
        }
        let mut expiry = self.session.expiry;
        if let Some(left) = delivery::end_of(&self.sender.who) {
            expiry = expiry.min(left);
        }
        if expiry.is_zero() {
            return self.over().await;
        }
        let is_left_out =
            |message: &super::message::Message| message.qos == QoS::AtMostOnce || subscribe::is_lock_command(message);
        self.session.queue.purge(is_left_out);
        match self.wait(expiry).await {
            Turn::Order(order) => self.obey(order).await,
            Turn::Expired => self.over().await,
            Turn::Stopping => self.finish().await,
        }
    }

    /// The client's own word makes its will void, unless it asked for it.
    fn heed(&mut self, Goodbye { with_will }: Goodbye) {
        self.will = self.will.take().filter(|_| with_will);
    }

    async fn wait(&mut self, expiry: Duration) -> Turn {
        let began = Instant::now();
        let expires_at = began + expiry;
        loop {
            let will_at = self.will.as_ref().map_or(expires_at, |will| (began + will.delay).min(expires_at));
            let stop = self.core.lifecycle.soft.clone();
            tokio::select! {
                order = self.seat.orders.recv() => return order.map_or(Turn::Expired, Turn::Order),
                Some(decided) = self.session.pending.next(), if !self.session.pending.is_empty() => {
                    self.settle(decided).await;
                }
                arrival = session::arrival(&mut self.session.link) => {
                    subscribe::take_in(&self.core, &mut self.session, arrival.subscription, arrival.message, false);
                }
                Some(shared) = self.session.mailbox.receiver.recv() => {
                    subscribe::take_in(&self.core, &mut self.session, shared.subscription, shared.message, false);
                }
                () = sleep_until(will_at), if self.will.is_some() && will_at < expires_at => {
                    self.publish_will().await;
                }
                () = sleep_until(expires_at) => return Turn::Expired,
                () = stop.cancelled() => return Turn::Stopping,
            }
        }
    }

    async fn obey(mut self, order: Order) {
        match order {
            Order::End { .. } => self.revoked().await,
            // A session that is to live no longer than its connection ends with it (3.1.2.4 of 3.1.1, 3.1.2.11.2 of 5.0),
            // whatever the newer connection asks for.
            Order::HandOver { clean, reply } if clean || self.session.expiry.is_zero() => {
                // So does the wait for its will.
                self.publish_will().await;
                subscribe::leave_groups(&self.core, &mut self.session);
                let _ = reply.send(None);
                self.session.abandoned.cancel();
                self.finish().await;
            }
            Order::HandOver { reply, .. } => {
                // The session goes on: a will that was to wait is void, one that was not is published now.
                if self.will.as_ref().is_some_and(|will| will.delay.is_zero()) {
                    self.publish_will().await;
                }
                // What came before the client's return came while it was away.
                while let Some(arrival) = session::arrived(&mut self.session.link) {
                    subscribe::take_in(&self.core, &mut self.session, arrival.subscription, arrival.message, false);
                }
                // A command to the lock is for now: the worker that returns does not get it again.
                self.session.queue.purge(subscribe::is_lock_command);
                let Self { session, seat, .. } = self;
                // Whoever asked is gone: then the session goes with it.
                let _ = reply.send(Some(session));
                drop(seat);
            }
        }
    }

    /// Whoever had the session may say nothing any more, by its will neither; but for the lock worker's, which says that the
    /// lock has none.
    async fn revoked(mut self) {
        self.will = self.will.filter(|will| Topic::parse(will.topic()) == Some(Topic::LockStatus));
        self.over().await;
    }

    /// The session is over: its place is free at once, its will goes out, its last messages are finished.
    async fn over(mut self) {
        self.publish_will().await;
        subscribe::leave_groups(&self.core, &mut self.session);
        let Self { core, mut session, seat, .. } = self;
        drop(seat);
        session.link = None;
        session.abandoned.cancel();
        finish(&core, &mut session).await;
    }

    async fn finish(mut self) {
        finish(&self.core, &mut self.session).await;
    }

    async fn publish_will(&mut self) {
        if let Some(will) = self.will.take() {
            will.publish(&self.core).await;
        }
    }

    async fn settle(&mut self, decided: Decided) {
        if decided.twice {
            let refused = !matches!(decided.settled.answer, Answer::Done);
            match self.session.received.get_mut(&decided.id) {
                Some(_) if refused => drop(self.session.received.remove(&decided.id)),
                Some(phase) => *phase = Phase::Received,
                None => {}
            }
        }
        route(&self.core, decided).await;
    }
}

/// Waits for the fate of everything that was begun, so that what is committed also reaches its subscribers. The hard
/// stop ends the wait.
async fn finish(core: &Core, session: &mut Session) {
    let all = async {
        while let Some(decided) = session.pending.next().await {
            route(core, decided).await;
        }
    };
    tokio::select! {
        () = all => {}
        () = core.lifecycle.hard.cancelled() => {}
    }
}

async fn route(core: &Core, decided: Decided) {
    if let Some(message) = decided.settled.route {
        // A dead router stops the hub by itself.
        let _ = core.router.publish(message).await;
    }
}
