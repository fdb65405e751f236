//! Sessions inside the process: the hub's own workers speak by a [`Link`] and do not know that there is no wire.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    auth::{identity::Identity, origin::Origin, rights::Rights},
    domain::topic::{self, Topic},
    lifecycle::Lifecycle,
    mqtt::{
        link::{self, Incoming, Link, LinkPeer},
        metrics::FrontMetrics,
        pools::Pools,
        publish::Publishing,
        router::{Router, RouterLink, message::Message},
        session::{
            agent_slot::{LockAgentSlot, SlotGuard, SlotOwner},
            publication::{Publication, Publisher},
            registry::SessionRegistry,
        },
    },
};

/// Messages that wait for a worker that is behind, besides those in its link. Above it the oldest is dropped and
/// counted: a worker that far behind is stuck, and commands to the lock expire long before.
const WAITING: usize = 10_000;

/// All that sessions inside the process may touch.
#[derive(Debug)]
pub struct InProcess {
    pub lifecycle: Lifecycle,
    pub rights: Rights,
    pub router: Router,
    pub publishing: Arc<Publishing>,
    pub agent_slot: LockAgentSlot,
    pub sessions: Arc<SessionRegistry>,
    pub pools: Pools,
    pub metrics: Arc<FrontMetrics>,
}

impl InProcess {
    /// Starts a session of `who`, subscribed to `filters`.
    pub fn start(self: &Arc<Self>, who: Identity, will: Option<link::Message>, filters: &[&str]) -> Link {
        let (link, peer) = link::pair();
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let publisher = Publisher::new(who, Origin::inside(), self.sessions.new_number(), &self.pools);
        let session = InProcessSession { parts: self.clone(), publisher, will, filters, waiting: VecDeque::new() };
        self.lifecycle.track(session.run(peer));
        link
    }
}

struct InProcessSession {
    parts: Arc<InProcess>,
    publisher: Publisher,
    will: Option<link::Message>,
    filters: Vec<String>,
    waiting: VecDeque<Incoming>,
}

impl InProcessSession {
    async fn run(mut self, mut peer: LinkPeer) {
        let mut slot = None;
        let router = match self.begin(&mut slot).await {
            Ok(router) => router,
            Err(why) => {
                tracing::error!(who = %self.publisher.who, "a session inside the hub could not begin: {why}");
                let _ = peer.incoming.send(Incoming::Disconnected(why)).await;
                return;
            }
        };
        let died = self.serve(&mut peer, router).await;
        drop(slot);
        if let (true, Some(will)) = (died, self.will.take()) {
            tracing::warn!(who = %self.publisher.who, topic = will.topic, "a worker inside the hub is gone, its will is published");
            self.forward(will).await;
        }
    }

    /// Subscribes to everything, and puts what is retained into the queue.
    async fn begin(&mut self, slot: &mut Option<SlotGuard>) -> Result<RouterLink, String> {
        if self.filters.iter().any(|filter| Topic::parse(filter) == Some(Topic::LockCommand)) {
            let held = self.parts.agent_slot.take(SlotOwner::Embedded);
            *slot = Some(held.ok_or("there is another lock worker")?);
        }
        let (holder, standing) = (*self.publisher.bytes.holder(), self.publisher.bytes.standing());
        let mut router = self.parts.router.open(holder, standing);
        self.waiting.push_back(Incoming::Connected);
        for (number, filter) in (0..).zip(&std::mem::take(&mut self.filters)) {
            let right = self.parts.rights.subscribe(&self.publisher.who, filter);
            if !topic::valid_filter(filter) || !right.allowed {
                return Err(format!("no right to subscribe to {filter}: {}", right.rule));
            }
            let since = router.subscribe(number, filter).await.map_err(|error| error.to_string())?;
            let retained = self.parts.router.retained().lock().matching(filter, since, std::time::Instant::now());
            for message in retained {
                self.enqueue(message, true);
            }
        }
        Ok(router)
    }

    /// Carries messages until the worker is gone, and says whether it went while the hub runs.
    async fn serve(&mut self, peer: &mut LinkPeer, mut router: RouterLink) -> bool {
        let stop = self.parts.lifecycle.hard.clone();
        loop {
            tokio::select! {
                outgoing = peer.outgoing.recv() => match outgoing {
                    Some(message) => self.forward(message).await,
                    None => return !self.parts.lifecycle.soft.is_cancelled(),
                },
                arrival = router.receive() => self.enqueue(arrival.message, false),
                room = peer.incoming.reserve(), if !self.waiting.is_empty() => match (room, self.waiting.pop_front()) {
                    (Ok(room), Some(next)) => room.send(next),
                    // It hears nothing any more, and may still have something to say.
                    (Err(_), _) => self.waiting.clear(),
                    (Ok(_), None) => {}
                },
                () = stop.cancelled() => return false,
            }
        }
    }

    fn enqueue(&mut self, message: Message, retained: bool) {
        if !self.parts.rights.may_receive(&self.publisher.who, &message.topic) {
            return;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.parts.metrics.dropped.one();
            tracing::warn!(who = %self.publisher.who, "a worker inside the hub is far behind, its oldest message is dropped");
        }
        self.waiting.push_back(Incoming::Message(link::Message {
            topic: message.topic.to_string(),
            payload: message.payload,
            qos: message.qos,
            retain: retained,
        }));
    }

    async fn forward(&self, message: link::Message) {
        let message = Message::plain(message, self.publisher.number);
        self.parts.publishing.publish(&self.publisher, Publication { message, dup: false, is_will: false }).await;
    }
}
