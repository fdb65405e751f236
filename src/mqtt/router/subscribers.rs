//! Who is subscribed to what, and which subscriptions a message reaches: kept here and not in rumqttd's router, which
//! forgets no filter and no name, and has 40 kB for each link.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{Arrival, LinkNumber, NotSubscribed, message::Message};
use crate::{
    auth::holder::Holder,
    domain::{
        pool::{Account, Pool, Share, Standing},
        topic,
    },
    mqtt::{metrics::Counter, pools, settings::Limits},
    telemetry::rate::Rate,
};

/// For how many topics, and for how many filters of them, the wildcard filters that match are kept; when there are
/// more, all are found out again.
const TOPICS: usize = 10_000;
const MATCHES: usize = 100_000;
/// How much a link's session may be behind, in bytes. It takes what comes into its own queue at once, so this is for a
/// machine that stands still.
const MAILBOX: usize = 2 * 1024 * 1024;
/// For how many messages an empty mailbox keeps room.
const KEPT: usize = 32;

/// All subscriptions.
#[derive(Debug)]
pub(super) struct Subscribers {
    table: RwLock<Table>,
    /// Different filters of each identity.
    places: Pool<Holder>,
    last_link: AtomicU64,
    /// How often it is logged that a link is too far behind.
    lines: Rate,
}

#[derive(Debug, Default)]
struct Table {
    filters: HashMap<Arc<str>, FilterEntry>,
    /// Those of the filters that have wildcards.
    wild: Vec<Arc<str>>,
    /// Which of these match a topic.
    topics: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// How many there are in `topics` in all.
    matches: usize,
}

/// Who is subscribed to one filter.
#[derive(Debug, Default)]
struct FilterEntry {
    list: Vec<Subscriber>,
    holders: Vec<HolderShare>,
}

#[derive(Debug)]
struct Subscriber {
    link: LinkNumber,
    /// The link's number for the subscription.
    number: usize,
    /// The sequence number of the last message before the subscription.
    since: u64,
    holder: Holder,
    mailbox: Mailbox,
}

/// What one identity has of all filters by this one, in however many sessions.
#[derive(Debug)]
struct HolderShare {
    subscriptions: usize,
    share: Share<Holder>,
}

/// Where a link's messages go.
#[derive(Debug, Clone)]
pub(super) struct Mailbox(Arc<Waiting>);

/// The other end.
#[derive(Debug)]
pub(super) struct Inbox(Arc<Waiting>);

/// What waits for a link's session. A channel would hold room for 32 messages from the start, which thousands of
/// sessions that are away never need.
#[derive(Debug, Default)]
struct Waiting {
    content: Mutex<Content>,
    /// Told when there is something after there was nothing.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Content {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
    is_closed: bool,
}

pub(super) fn mailbox() -> (Mailbox, Inbox) {
    let waiting = Arc::<Waiting>::default();
    (Mailbox(waiting.clone()), Inbox(waiting))
}

/// What became of a message for a mailbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    Well,
    /// Taken, by one that is half full.
    Behind,
    Missed,
}

impl Mailbox {
    /// Takes the message, if there is room. Whoever is gone misses nothing.
    fn put(&self, arrival: Arrival) -> Put {
        let mut content = self.0.content.lock();
        if content.is_closed {
            return Put::Well;
        }
        let waiting = content.bytes;
        if waiting > MAILBOX {
            return Put::Missed;
        }
        content.bytes += arrival.message.cost();
        content.arrivals.push_back(arrival);
        let was_empty = content.arrivals.len() == 1;
        drop(content);
        if was_empty {
            self.0.filled.notify_one();
        }
        if waiting > MAILBOX / 2 { Put::Behind } else { Put::Well }
    }

    fn is_closed(&self) -> bool {
        self.0.content.lock().is_closed
    }
}

impl Inbox {
    /// Takes nothing more.
    pub(super) fn close(&mut self) {
        self.0.content.lock().is_closed = true;
    }

    /// The next message. May be cancelled at any time.
    pub(super) async fn next(&mut self) -> Arrival {
        loop {
            if let Some(arrival) = self.try_next() {
                return arrival;
            }
            self.0.filled.notified().await;
        }
    }

    pub(super) fn try_next(&mut self) -> Option<Arrival> {
        let mut content = self.0.content.lock();
        let arrival = content.arrivals.pop_front()?;
        content.bytes -= arrival.message.cost();
        if content.arrivals.is_empty() && content.arrivals.capacity() > KEPT {
            content.arrivals = VecDeque::new();
        }
        Some(arrival)
    }
}

impl Subscribers {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            table: RwLock::default(),
            places: Pool::new(pools::filters(limits)),
            last_link: AtomicU64::new(0),
            lines: Rate::new(1, Duration::from_secs(10)),
        }
    }

    /// A number that no other link has.
    pub(super) fn new_link(&self) -> LinkNumber {
        self.last_link.fetch_add(1, Relaxed) + 1
    }

    /// A holder's account of different filters.
    pub(super) fn account(&self, holder: Holder, standing: Standing) -> Account<Holder> {
        self.places.account(holder, standing)
    }

    /// Subscribes a link to what is published after `since`.
    pub(super) fn add(
        &self,
        (link, number): (LinkNumber, usize),
        filter: &Arc<str>,
        since: u64,
        account: &Account<Holder>,
        mailbox: Mailbox,
    ) -> Result<(), NotSubscribed> {
        let mut table = self.table.write();
        // A link that is gone has taken itself out, or does so after this.
        if mailbox.is_closed() {
            return Ok(());
        }
        let holder = *account.holder();
        let own = |one: &&mut HolderShare| *one.share.holder() == holder;
        let own = table.filters.get_mut(filter).and_then(|entry| entry.holders.iter_mut().find(own));
        if let Some(own) = own {
            own.subscriptions += 1;
        } else {
            let share = account.take(1).map_err(|_| NotSubscribed::TooManyFilters)?;
            if !table.filters.contains_key(filter) {
                table.begin(filter);
            }
            let entry = table.filters.entry(filter.clone()).or_default();
            entry.holders.push(HolderShare { subscriptions: 1, share });
        }
        if let Some(entry) = table.filters.get_mut(filter) {
            entry.list.push(Subscriber { link, number, since, holder, mailbox });
        }
        Ok(())
    }

    /// Ends subscriptions of a link. A filter that nobody has any more is forgotten.
    pub(super) fn remove<'a>(&self, link: LinkNumber, filters: impl Iterator<Item = (usize, &'a Arc<str>)>) {
        let mut table = self.table.write();
        for (number, filter) in filters {
            table.remove(link, number, filter);
        }
    }

    /// Whether a message of this topic has a subscriber now. One that is on its way while its first subscriber
    /// subscribes may be missed, as one that came just before.
    pub(super) fn has(&self, name: &Arc<str>) -> bool {
        {
            let table = self.table.read();
            if table.filters.contains_key(name) {
                return true;
            }
            if let Some(matching) = table.topics.get(name) {
                return !matching.is_empty();
            }
        }
        let mut table = self.table.write();
        table.find(name);
        table.topics.get(name).is_some_and(|matching| !matching.is_empty())
    }

    /// Gives a message to each subscription that it reaches, and counts those that were too far behind. Says whether
    /// somebody is behind.
    pub(super) fn deliver(&self, message: &Message, overwritten: &Counter) -> bool {
        let mut table = self.table.read();
        if !table.topics.contains_key(&message.topic) {
            drop(table);
            self.table.write().find(&message.topic);
            table = self.table.read();
        }
        let wild = table.topics.get(&message.topic).into_iter().flatten();
        let (mut missed, mut is_behind) = (0, false);
        for filter in wild.chain([&message.topic]) {
            let subscribers = table.filters.get(filter).into_iter().flat_map(|entry| &entry.list);
            for subscriber in subscribers.filter(|subscriber| subscriber.since < message.sequence) {
                let put = subscriber.mailbox.put(Arrival { subscription: subscriber.number, message: message.clone() });
                is_behind |= put != Put::Well;
                missed += u64::from(put == Put::Missed);
            }
        }
        drop(table);
        if missed > 0 {
            overwritten.add(missed);
            if self.lines.pass(Instant::now()).is_some() {
                tracing::warn!(missed, "a subscriber's session is so far behind that it misses messages");
            }
        }
        is_behind
    }
}

impl Table {
    /// Takes note of a filter that nobody had.
    fn begin(&mut self, filter: &Arc<str>) {
        if !is_wild(filter) {
            return;
        }
        self.wild.push(filter.clone());
        for (name, matching) in &mut self.topics {
            if topic::matches(filter, name) {
                matching.push(filter.clone());
                self.matches += 1;
            }
        }
        self.shrink();
    }

    fn remove(&mut self, link: LinkNumber, number: usize, filter: &Arc<str>) {
        let Some(entry) = self.filters.get_mut(filter) else { return };
        let at = entry.list.iter().position(|subscriber| subscriber.link == link && subscriber.number == number);
        let Some(gone) = at.map(|at| entry.list.swap_remove(at)) else { return };
        if let Some(at) = entry.holders.iter().position(|one| *one.share.holder() == gone.holder) {
            entry.holders[at].subscriptions -= 1;
            if entry.holders[at].subscriptions == 0 {
                entry.holders.swap_remove(at);
            }
        }
        if entry.list.is_empty() {
            self.filters.remove(filter);
            self.end(filter);
        }
    }

    /// Forgets a filter that nobody has any more.
    fn end(&mut self, filter: &Arc<str>) {
        if !is_wild(filter) {
            return;
        }
        self.wild.retain(|one| one != filter);
        for matching in self.topics.values_mut() {
            let before = matching.len();
            matching.retain(|one| one != filter);
            self.matches -= before - matching.len();
        }
    }

    /// Finds out which wildcard filters match a topic, if that is not known.
    fn find(&mut self, name: &Arc<str>) {
        if self.topics.contains_key(name) {
            return;
        }
        let matching: Vec<_> = self.wild.iter().filter(|filter| topic::matches(filter, name)).cloned().collect();
        self.matches += matching.len();
        self.shrink();
        self.topics.insert(name.clone(), matching);
    }

    fn shrink(&mut self) {
        if self.topics.len() >= TOPICS || self.matches > MATCHES {
            self.topics.clear();
            self.matches = 0;
        }
    }
}

fn is_wild(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

#[cfg(test)]
mod tests;
