//! A session after its connection: it goes on collecting messages until its client returns or it expires, and
//! finishes what the client had begun. The will is published when its time has come.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use super::{ClientDisconnect, DisconnectCause, broker::Broker};
use crate::{
    domain::topic::Topic,
    mqtt::{
        link::QoS,
        publish::will::Will,
        router::message::Message,
        session::{
            self, CompletedPublish, InboundQos2, Session,
            publication::{AckResult, Publisher},
            registry::{SessionControl, SessionLease},
        },
    },
};

/// A session without a connection, and the right to it.
pub struct DetachedSession {
    pub broker: Arc<Broker>,
    pub session: Box<Session>,
    pub lease: SessionLease,
    pub publisher: Publisher,
    pub will: Option<Will>,
}

/// Why the wait for the client's return ended.
enum WaitOutcome {
    Control(SessionControl),
    Expired,
    Stopping,
}

impl DetachedSession {
    /// Does what the connection's end demands, until the session is handed over or over.
    pub async fn begin(mut self, end: DisconnectCause) {
        match end {
            DisconnectCause::Clean(disconnect) => self.heed(disconnect),
            DisconnectCause::Lost(_) | DisconnectCause::Faulty(_) | DisconnectCause::Silent(_) => {}
            DisconnectCause::TakenOver { control, disconnect } => {
                if let Some(disconnect) = disconnect {
                    self.heed(disconnect);
                }
                return self.obey(control).await;
            }
            DisconnectCause::Ended(_) => return self.over().await,
            DisconnectCause::Revoked(_) => return self.revoked().await,
            DisconnectCause::Stopping => return self.finish().await,
        }
        let mut expiry = self.session.expiry;
        if let Some(left) = self.publisher.who.remaining(Utc::now()) {
            expiry = expiry.min(left);
        }
        if expiry.is_zero() {
            return self.over().await;
        }
        self.session.queue.purge(|message| message.qos == QoS::AtMostOnce || message.is_lock_command());
        match self.wait(expiry).await {
            WaitOutcome::Control(control) => self.obey(control).await,
            WaitOutcome::Expired => self.over().await,
            WaitOutcome::Stopping => self.finish().await,
        }
    }

    /// The client's own word makes its will void, unless it asked for it.
    fn heed(&mut self, ClientDisconnect { with_will }: ClientDisconnect) {
        self.will = self.will.take().filter(|_| with_will);
    }

    async fn wait(&mut self, expiry: Duration) -> WaitOutcome {
        let began = Instant::now();
        let expires_at = began + expiry;
        loop {
            let will_at = self.will.as_ref().map_or(expires_at, |will| (began + will.delay).min(expires_at));
            let stop = self.broker.lifecycle.soft.clone();
            tokio::select! {
                control = self.lease.control.recv() => return control.map_or(WaitOutcome::Expired, WaitOutcome::Control),
                Some(completed) = self.session.pending.next(), if !self.session.pending.is_empty() => {
                    self.complete(completed).await;
                }
                arrival = session::arrival(&mut self.session.link) => {
                    self.broker.subscribing.deliver(&mut self.session, arrival.subscription, arrival.message, false);
                }
                Some(shared) = self.session.mailbox.receiver.recv() => {
                    self.broker.subscribing.deliver(&mut self.session, shared.subscription, shared.message, false);
                }
                () = sleep_until(will_at), if self.will.is_some() && will_at < expires_at => {
                    self.publish_will().await;
                }
                () = sleep_until(expires_at) => return WaitOutcome::Expired,
                () = stop.cancelled() => return WaitOutcome::Stopping,
            }
        }
    }

    async fn obey(mut self, control: SessionControl) {
        match control {
            SessionControl::End { .. } => self.revoked().await,
            // A session that is to live no longer than its connection ends with it (3.1.2.4 of 3.1.1, 3.1.2.11.2 of
            // 5.0), whatever the newer connection asks for.
            SessionControl::HandOver { clean, reply } if clean || self.session.expiry.is_zero() => {
                // So does the wait for its will.
                self.publish_will().await;
                self.broker.subscribing.end_subscriptions(&mut self.session);
                let _ = reply.send(None);
                self.session.abandoned.cancel();
                self.finish().await;
            }
            SessionControl::HandOver { reply, .. } => {
                // The session goes on: a will that was to wait is void, one that was not is published now.
                if self.will.as_ref().is_some_and(|will| will.delay.is_zero()) {
                    self.publish_will().await;
                }
                // What came before the client's return came while it was away.
                while let Some(arrival) = session::arrived(&mut self.session.link) {
                    self.broker.subscribing.deliver(&mut self.session, arrival.subscription, arrival.message, false);
                }
                // A command to the lock is for now: the worker that returns does not get it again.
                self.session.queue.purge(Message::is_lock_command);
                let Self { session, lease, .. } = self;
                // Whoever asked is gone: then the session goes with it.
                let _ = reply.send(Some(session));
                drop(lease);
            }
        }
    }

    /// Whoever had the session may say nothing any more, by its will neither; but for the lock agent's, which says that
    /// the lock has none.
    async fn revoked(mut self) {
        self.will = self.will.filter(|will| Topic::parse(will.topic()) == Some(Topic::LockStatus));
        self.over().await;
    }

    /// The session is over: its place is free at once, its will goes out, its last messages are finished.
    async fn over(mut self) {
        self.publish_will().await;
        self.broker.subscribing.end_subscriptions(&mut self.session);
        let Self { broker, mut session, lease, .. } = self;
        drop(lease);
        session.abandoned.cancel();
        finish(&broker, &mut session).await;
    }

    async fn finish(mut self) {
        finish(&self.broker, &mut self.session).await;
    }

    async fn publish_will(&mut self) {
        if let Some(will) = self.will.take() {
            will.publish(&self.broker.publishing).await;
        }
    }

    async fn complete(&mut self, completed: CompletedPublish) {
        if completed.is_qos2 {
            let refused = !matches!(completed.outcome.ack, AckResult::Done);
            match self.session.received.get_mut(&completed.id) {
                Some(_) if refused => drop(self.session.received.remove(&completed.id)),
                Some(phase) => *phase = InboundQos2::Received,
                None => {}
            }
        }
        let _ = self.broker.publishing.route(completed.outcome).await;
    }
}

/// Waits for the outcome of everything that was begun, so that what is committed also reaches its subscribers. The hard
/// stop ends the wait.
async fn finish(broker: &Broker, session: &mut Session) {
    let all = async {
        while let Some(completed) = session.pending.next().await {
            let _ = broker.publishing.route(completed.outcome).await;
        }
    };
    tokio::select! {
        () = all => {}
        () = broker.lifecycle.hard.cancelled() => {}
    }
}
