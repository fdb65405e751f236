//! Sessions inside the process: the hub's own workers speak by a [`Link`] and do not know that there is no wire.

use std::{collections::VecDeque, sync::Arc};

use super::{
    front::Core,
    link::{self, Carrier, Incoming, Link},
    message::Message,
    publish::{self, Offered, Sender},
    router::RouterLink,
    worker::{Held, Holder},
};
use crate::{
    auth::{identity::Identity, origin::Origin},
    domain::topic::{self, Topic},
};

/// Messages that wait for a worker that is behind, besides those in its link. Above it the oldest is dropped and
/// counted: a worker that far behind is stuck, and commands to the lock expire long before.
const WAITING: usize = 10_000;

/// Starts a session of `who`, subscribed to `filters`.
pub fn start(core: &Arc<Core>, who: Identity, will: Option<link::Message>, filters: &[&str]) -> Link {
    let (link, carrier) = link::pair();
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let sender = Sender::new(core, who, Origin::inside());
    let session = Local { core: core.clone(), sender, will, filters, waiting: VecDeque::new() };
    core.lifecycle.track(session.run(carrier));
    link
}

struct Local {
    core: Arc<Core>,
    sender: Sender,
    will: Option<link::Message>,
    filters: Vec<String>,
    waiting: VecDeque<Incoming>,
}

impl Local {
    async fn run(mut self, mut carrier: Carrier) {
        let mut place = None;
        let router = match self.begin(&mut place).await {
            Ok(router) => router,
            Err(why) => {
                tracing::error!(who = %self.sender.who, "a session inside the hub could not begin: {why}");
                let _ = carrier.incoming.send(Incoming::Disconnected(why)).await;
                return;
            }
        };
        let died = self.serve(&mut carrier, router).await;
        drop(place);
        if let (true, Some(will)) = (died, self.will.take()) {
            tracing::warn!(who = %self.sender.who, topic = will.topic, "a worker inside the hub is gone, its will is published");
            self.publish(will).await;
        }
    }

    /// Subscribes to everything, and puts what is retained into the queue.
    async fn begin(&mut self, place: &mut Option<Held>) -> Result<RouterLink, String> {
        if self.filters.iter().any(|filter| Topic::parse(filter) == Some(Topic::LockCommand)) {
            let held = self.core.worker.take(Holder::Embedded);
            *place = Some(held.ok_or("there is another lock worker")?);
        }
        let (holder, standing) = (*self.sender.bytes.holder(), self.sender.bytes.standing());
        let mut router = self.core.router.open(holder, standing);
        self.waiting.push_back(Incoming::Connected);
        for (number, filter) in (0..).zip(&std::mem::take(&mut self.filters)) {
            let right = self.core.rights.subscribe(&self.sender.who, filter);
            if !topic::valid_filter(filter) || !right.allowed {
                return Err(format!("no right to subscribe to {filter}: {}", right.rule));
            }
            let since = router.subscribe(number, filter).await.map_err(|error| error.to_string())?;
            let retained = self.core.router.retained().lock().matching(filter, since, std::time::Instant::now());
            for message in retained {
                self.take_in(message, true);
            }
        }
        Ok(router)
    }

    /// Carries messages until the worker is gone, and says whether it went while the hub runs.
    async fn serve(&mut self, carrier: &mut Carrier, mut router: RouterLink) -> bool {
        let stop = self.core.lifecycle.hard.clone();
        loop {
            tokio::select! {
                outgoing = carrier.outgoing.recv() => match outgoing {
                    Some(message) => self.publish(message).await,
                    None => return !self.core.lifecycle.soft.is_cancelled(),
                },
                arrival = router.receive() => self.take_in(arrival.message, false),
                room = carrier.incoming.reserve(), if !self.waiting.is_empty() => match (room, self.waiting.pop_front()) {
                    (Ok(room), Some(next)) => room.send(next),
                    // It hears nothing any more, and may still have something to say.
                    (Err(_), _) => self.waiting.clear(),
                    (Ok(_), None) => {}
                },
                () = stop.cancelled() => return false,
            }
        }
    }

    fn take_in(&mut self, message: Message, retained: bool) {
        if !self.core.rights.may_receive(&self.sender.who, &message.topic) {
            return;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.core.gauges.dropped.one();
            tracing::warn!(who = %self.sender.who, "a worker inside the hub is far behind, its oldest message is dropped");
        }
        self.waiting.push_back(Incoming::Message(link::Message {
            topic: message.topic.to_string(),
            payload: message.payload,
            qos: message.qos,
            retain: retained,
        }));
    }

    async fn publish(&self, message: link::Message) {
        let message = Message::plain(message, self.sender.number);
        publish::publish(&self.core, &self.sender, Offered { message, dup: false, is_will: false }).await;
    }
}
