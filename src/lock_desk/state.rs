//! What the hub knows of the lock, and what is news in what the worker says. Pure, with time as an argument.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        bolt::door::Alarm,
        event::{Details, EventType, Kind, Occurrence},
        lock::LockStatus,
    },
    wire::{lock::Status, time},
};

/// What the lock worker said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockState {
    pub status: Status,
    /// When the status changed last, by the hub's clock; none before the worker has spoken.
    pub changed_at: Option<DateTime<Utc>>,
    /// At whose command the door was opened last, as far as is known; none if at nobody's.
    pub opened_by: Option<String>,
}

impl LockState {
    /// Before the worker has spoken.
    #[must_use]
    pub fn unknown(pin: u32, now: DateTime<Utc>) -> Self {
        let status = Status::offline(pin, false, "no lock worker has spoken yet", now);
        Self { status, changed_at: None, opened_by: None }
    }
}

/// What an alert is about: a flood of one does not hide the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The relay's movements; no alert.
    Movement,
    Worker,
    Relay,
    Door,
    Contact,
    Clock,
    Audit,
}

/// Something worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    pub subject: Subject,
    pub occurrence: Occurrence,
}

impl News {
    #[must_use]
    pub fn alert(subject: Subject, kind: Kind, description: String, at: DateTime<Utc>) -> Self {
        Self { subject, occurrence: Occurrence::alert(kind, description, at) }
    }
}

/// Follows the worker's words.
#[derive(Debug)]
pub struct Follower {
    state: LockState,
    /// What the relay was last read to be, also while the worker is away.
    relay: Option<LockStatus>,
    /// Where the relay was last said to be, and when, before the newest stored movement was known.
    not_compared: Option<(Status, DateTime<Utc>)>,
    /// The worker was there and is not.
    lost: bool,
    /// What the worker said last while it was there.
    alarm: Option<AlarmBegun>,
    /// The newest alarms: a worker tells again what it told just before it was lost.
    heard: VecDeque<AlarmBegun>,
    door: Option<LockStatus>,
    clock_alert: bool,
}

/// An alarm and when it began, by which it is known when it is told again.
type AlarmBegun = (Alarm, Option<DateTime<Utc>>);

/// How many alarms are known when they are told again: all that a worker keeps.
const HEARD: usize = 32;

impl Follower {
    /// Its movements are told once [`Follower::remember`] was.
    #[must_use]
    pub fn new(state: LockState) -> Self {
        Self {
            state,
            relay: None,
            not_compared: None,
            lost: false,
            alarm: None,
            heard: VecDeque::new(),
            door: None,
            clock_alert: false,
        }
    }

    /// What the newest stored movement left the relay as: then no opening stays without its closing when the hub dies
    /// in between. Answers with what has changed since, as far as the worker has spoken.
    pub fn remember(&mut self, stored: LockStatus) -> Option<News> {
        self.relay = Some(stored);
        let (status, heard) = self.not_compared.take()?;
        self.movement(&status, heard)
    }

    /// Who opened the door last before this process began, which counts until the worker tells of an opening.
    pub fn remember_opener(&mut self, stored: Option<String>) {
        if self.state.opened_by.is_none() && self.state.status.status != LockStatus::Open {
            self.state.opened_by = stored;
        }
    }

    /// Who has opened the door last, now that this is said.
    fn opener(&self, status: &Status) -> Option<String> {
        match (status.status, &status.requested_by) {
            (LockStatus::Open, Some(name)) => Some(clean(name)),
            (LockStatus::Open, None) if self.state.status.status == LockStatus::Closed => None,
            _ => self.state.opened_by.clone(),
        }
    }

    #[must_use]
    pub fn state(&self) -> &LockState {
        &self.state
    }

    /// Takes what the worker says, and answers with what of it is worth an event.
    pub fn take(&mut self, mut status: Status, now: DateTime<Utc>) -> Vec<News> {
        if !status.online {
            // Nobody is there to know.
            status.status = LockStatus::Unknown;
        }
        let news = [
            self.presence(&status, now),
            self.blindness(&status, now),
            self.movement(&status, now),
            self.contact(&status, now),
            self.door(&status, now),
            self.clock(&status, now),
        ];
        let same = status.status == self.state.status.status && self.state.changed_at.is_some();
        let untold = !status.online && self.state.changed_at.is_none();
        let changed_at = if same || untold { self.state.changed_at } else { Some(now) };
        let opened_by = self.opener(&status);
        self.state = LockState { status, changed_at, opened_by };
        news.into_iter().flatten().collect()
    }

    /// The hub can't hear the worker any more.
    pub fn deaf(&mut self, reason: &str, now: DateTime<Utc>) -> Vec<News> {
        let Status { pin, simulated, .. } = self.state.status;
        let reason = format!("the hub cannot hear the lock worker: {reason}");
        self.take(Status::offline(pin, simulated, &reason, now), now)
    }

    fn presence(&mut self, status: &Status, now: DateTime<Utc>) -> Option<News> {
        let (kind, description) = match (self.state.status.online, status.online) {
            (true, false) => {
                self.lost = true;
                (Kind::LockAgentLost, format!("The lock worker is lost{}", because(status)))
            }
            (false, true) if std::mem::take(&mut self.lost) => {
                (Kind::LockAgentReturned, format!("The lock worker is back; the lock is {}", status.status))
            }
            _ => return None,
        };
        Some(News::alert(Subject::Worker, kind, description, now))
    }

    fn blindness(&self, status: &Status, now: DateTime<Utc>) -> Option<News> {
        let before = &self.state.status;
        let blind = |status: &Status| status.online && status.status == LockStatus::Unknown;
        let description = format!("The lock worker cannot read the relay{}", because(status));
        (blind(status) && !blind(before)).then(|| News::alert(Subject::Relay, Kind::RelayUnreadable, description, now))
    }

    fn movement(&mut self, status: &Status, now: DateTime<Utc>) -> Option<News> {
        if status.status == LockStatus::Unknown {
            return None;
        }
        let Some(before) = self.relay else {
            self.not_compared = Some((status.clone(), now));
            return None;
        };
        self.relay = Some(status.status);
        let (event_type, verb) = match (before, status.status) {
            (LockStatus::Closed, LockStatus::Open) => (EventType::DoorOpened, "Door opened"),
            // So that no closing stands there without its opening.
            (LockStatus::Unknown, LockStatus::Open) => (EventType::DoorOpened, "Door found open"),
            (LockStatus::Open, LockStatus::Closed) => (EventType::DoorClosed, "Door closed"),
            _ => return None,
        };
        let by = status.requested_by.as_deref().map(|name| format!(" by {}", clean(name))).unwrap_or_default();
        let details = Details {
            requested_by: status.requested_by.as_deref().map(clean),
            command_id: status.command_id,
            ..Details::default()
        };
        let description = format!("{verb}{by}{}", because(status));
        let occurrence = Occurrence { details, ..Occurrence::new(event_type, description, now) };
        Some(News { subject: Subject::Movement, occurrence })
    }

    fn contact(&mut self, status: &Status, now: DateTime<Utc>) -> Option<News> {
        if !status.online {
            return None;
        }
        let before = std::mem::replace(&mut self.door, status.door);
        let (kind, description) = match (before, status.door) {
            (before, Some(LockStatus::Unknown)) if before != Some(LockStatus::Unknown) => {
                let words = "The door's contact cannot be read: nobody knows whether the door stands open";
                (Kind::ContactLost, words.to_owned())
            }
            (Some(LockStatus::Unknown), Some(door)) if door != LockStatus::Unknown => {
                (Kind::ContactReturned, format!("The door's contact can be read again; the door is {door}"))
            }
            _ => return None,
        };
        Some(News::alert(Subject::Contact, kind, description, now))
    }

    fn door(&mut self, status: &Status, now: DateTime<Utc>) -> Option<News> {
        let alarm = status.alarm.map(|alarm| (alarm, status.alarm_since));
        if !status.online || std::mem::replace(&mut self.alarm, alarm) == alarm {
            return None;
        }
        let (alarm, since) = alarm?;
        if since.is_some() && self.heard.contains(&(alarm, since)) {
            return None;
        }
        if self.heard.len() >= HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back((alarm, since));
        let (key, began) = (since.map(|since| alarm.key(since)), since.unwrap_or(now));
        let since = since.map(|since| format!(" since {}", time::text(since))).unwrap_or_default();
        let shut = if status.door == Some(LockStatus::Closed) { "; it is shut now" } else { "" };
        let (kind, what) = match alarm {
            Alarm::DoorForced => (Kind::DoorForced, "the door was opened while it was locked"),
            Alarm::DoorHeldOpen => (Kind::DoorHeldOpen, "the door stood open though it should be locked"),
        };
        let description = format!("{kind}{since}: {what}{shut}");
        // What this hub has not heard yet, the one before its restart may have.
        let occurrence = Occurrence { key, ..Occurrence::alert(kind, description, began) };
        Some(News { subject: Subject::Door, occurrence })
    }

    fn clock(&mut self, status: &Status, now: DateTime<Utc>) -> Option<News> {
        // A worker that has just started has not measured yet.
        let offset = status.clock_offset_ms.filter(|_| status.online)?;
        let words = match (std::mem::replace(&mut self.clock_alert, status.clock_alert), status.clock_alert) {
            (false, true) => {
                let words =
                    format!("The lock worker's clock is {offset} ms off the hub's; above 2 s it refuses commands");
                (Kind::LockClockWrong, words)
            }
            (true, false) => {
                (Kind::LockClockRight, format!("The lock worker's clock is right again, {offset} ms off the hub's"))
            }
            _ => return None,
        };
        Some(News::alert(Subject::Clock, words.0, words.1, now))
    }
}

fn because(status: &Status) -> String {
    status
        .reason
        .as_deref()
        .filter(|reason| !reason.is_empty())
        .map(|reason| format!(": {}", clean(reason)))
        .unwrap_or_default()
}

/// How much of somebody else's words is kept.
const WORDS: usize = 200;

/// Somebody else's words in a form that any table and any line of the log takes.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().take(WORDS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(status: LockStatus, online: bool) -> Status {
        Status {
            status,
            online,
            reason: Some("because".to_owned()),
            ..LockState::unknown(17, DateTime::UNIX_EPOCH).status
        }
    }

    fn follower() -> Follower {
        remembering(LockStatus::Unknown)
    }

    fn remembering(stored: LockStatus) -> Follower {
        let mut follower = Follower::new(LockState::unknown(17, DateTime::UNIX_EPOCH));
        assert_eq!(follower.remember(stored), None);
        follower
    }

    fn words() -> impl Strategy<Value = Status> {
        let relay = prop_oneof![Just(LockStatus::Open), Just(LockStatus::Closed), Just(LockStatus::Unknown)];
        (relay, any::<bool>()).prop_map(|(relay, online)| status(relay, online))
    }

    fn kinds(news: &[News]) -> Vec<EventType> {
        news.iter().map(|news| news.occurrence.event_type).collect()
    }

    proptest! {
        #[test]
        fn openings_and_closings_take_turns_and_end_as_the_relay_is(words in prop::collection::vec(words(), 0..60)) {
            let mut follower = follower();
            let (mut open, mut last) = (false, None);
            for status in words {
                if status.online && status.status != LockStatus::Unknown {
                    last = Some(status.status);
                }
                for News { occurrence, .. } in follower.take(status, Utc::now()) {
                    match occurrence.event_type {
                        EventType::DoorOpened => prop_assert!(!std::mem::replace(&mut open, true)),
                        EventType::DoorClosed => prop_assert!(std::mem::replace(&mut open, false)),
                        _ => {}
                    }
                }
                prop_assert_eq!(open, last == Some(LockStatus::Open));
            }
        }

        #[test]
        fn losses_and_returns_take_turns(words in prop::collection::vec(words(), 0..60)) {
            let mut follower = follower();
            let mut lost = false;
            for status in words {
                for News { subject, occurrence } in follower.take(status, Utc::now()) {
                    if subject == Subject::Worker {
                        prop_assert_eq!(occurrence.description.contains("lost"), !lost);
                        lost = !lost;
                    }
                }
                let now = &follower.state().status;
                prop_assert!(now.online || now.status == LockStatus::Unknown);
            }
        }
    }

    #[test]
    fn the_first_word_is_no_news_and_a_repeated_one_neither() {
        let mut follower = follower();
        assert_eq!(follower.take(status(LockStatus::Unknown, false), Utc::now()), []);
        assert_eq!(follower.state().changed_at, None);
        assert_eq!(follower.take(status(LockStatus::Closed, true), Utc::now()), []);
        let changed_at = follower.state().changed_at;
        assert!(changed_at.is_some());
        assert_eq!(follower.take(status(LockStatus::Closed, true), Utc::now()), []);
        assert_eq!(follower.state().changed_at, changed_at);
    }

    #[test]
    fn a_door_that_moved_while_the_worker_was_away_is_told_on_its_return() {
        let mut follower = follower();
        follower.take(status(LockStatus::Open, true), Utc::now());
        assert_eq!(kinds(&follower.deaf("gone", Utc::now())), [EventType::SystemAlert]);
        let news = follower.take(status(LockStatus::Closed, true), Utc::now());
        assert_eq!(kinds(&news), [EventType::SystemAlert, EventType::DoorClosed]);
    }

    #[test]
    fn alarms_are_told_when_they_begin_and_clocks_also_when_they_are_right_again() {
        let mut follower = follower();
        let well = status(LockStatus::Closed, true);
        let ill =
            Status { alarm: Some(Alarm::DoorForced), clock_alert: true, clock_offset_ms: Some(1500), ..well.clone() };
        let well = Status { clock_offset_ms: Some(3), ..well };
        let mut told = Vec::new();
        for status in
            [well.clone(), ill.clone(), ill.clone(), status(LockStatus::Unknown, false), ill.clone(), well, ill]
        {
            told.push(follower.take(status, Utc::now()).iter().map(|news| news.subject).collect::<Vec<_>>());
        }
        let (worker, both) = (vec![Subject::Worker], vec![Subject::Door, Subject::Clock]);
        assert_eq!(told, [vec![], both.clone(), vec![], worker.clone(), worker, vec![Subject::Clock], both]);
        // A worker that has just started knows nothing of its clock yet, which is no good news.
        assert_eq!(follower.take(status(LockStatus::Closed, true), Utc::now()), []);
    }

    #[test]
    fn an_alarm_told_again_is_known_and_one_that_begins_anew_is_not() {
        let mut before = follower();
        let well = status(LockStatus::Closed, true);
        let forced = |second: i64| Status {
            alarm: Some(Alarm::DoorForced),
            alarm_since: DateTime::from_timestamp(second, 0),
            door: Some(LockStatus::Closed),
            ..well.clone()
        };
        let mut told = 0;
        for status in [forced(1), forced(2), well.clone(), forced(1), forced(2), forced(3), well.clone(), forced(3)] {
            told += before.take(status, Utc::now()).len();
        }
        assert_eq!(told, 3);
        let news = before.take(forced(4), Utc::now());
        let words =
            "DOOR_FORCED since 1970-01-01T00:00:04.000Z: the door was opened while it was locked; it is shut now";
        assert_eq!(news[0].occurrence.description, words);
        // After a restart of the hub it is told again, under the same key.
        let again = follower().take(forced(4), Utc::now());
        assert!(again[0].occurrence.key.is_some() && again[0].occurrence == news[0].occurrence);
    }

    #[test]
    fn a_contact_that_fails_is_told_of_once_each_way() {
        let mut follower = follower();
        let door = |door| Status { door, ..status(LockStatus::Closed, true) };
        let (shut, unseen) = (Some(LockStatus::Closed), Some(LockStatus::Unknown));
        let told: Vec<_> =
            [None, shut, unseen, unseen, shut, shut].map(|at| follower.take(door(at), Utc::now()).len()).to_vec();
        assert_eq!(told, [0, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn the_movement_that_a_dead_hub_missed_is_told_by_the_next() {
        for (stored, found, told) in [
            (LockStatus::Open, LockStatus::Closed, &[EventType::DoorClosed][..]),
            (LockStatus::Open, LockStatus::Open, &[]),
            (LockStatus::Closed, LockStatus::Closed, &[]),
            (LockStatus::Closed, LockStatus::Open, &[EventType::DoorOpened]),
            (LockStatus::Unknown, LockStatus::Closed, &[]),
        ] {
            let mut follower = remembering(stored);
            assert_eq!(kinds(&follower.take(status(found, true), Utc::now())), told, "{stored} {found}");
        }
    }

    #[test]
    fn a_relay_that_cannot_be_read_is_told_of_once() {
        let mut follower = follower();
        follower.take(status(LockStatus::Closed, true), Utc::now());
        assert_eq!(kinds(&follower.take(status(LockStatus::Unknown, true), Utc::now())), [EventType::SystemAlert]);
        assert_eq!(follower.take(status(LockStatus::Unknown, true), Utc::now()), []);
        assert_eq!(follower.take(status(LockStatus::Closed, true), Utc::now()), []);
    }

    #[test]
    fn who_opened_the_door_last_is_known_until_it_is_opened_anew() {
        let said = |relay, by: Option<&str>| Status { requested_by: by.map(str::to_owned), ..status(relay, true) };
        let mut follower = follower();
        follower.remember_opener(Some("user:9".to_owned()));
        let mut known = vec![follower.state().opened_by.clone()];
        for (relay, by) in [
            (LockStatus::Closed, None),
            (LockStatus::Open, Some("user:1")),
            (LockStatus::Closed, Some("device:pad")),
            (LockStatus::Unknown, None),
            (LockStatus::Closed, None),
            (LockStatus::Open, None),
            (LockStatus::Open, Some("user:2\n")),
        ] {
            let told = follower.take(said(relay, by), Utc::now());
            assert!(told.iter().all(|news| news.occurrence.details.requested_by.as_deref() != Some("user:2\n")));
            known.push(follower.state().opened_by.clone());
        }
        let known: Vec<_> = known.iter().map(|by| by.as_deref().unwrap_or("nobody")).collect();
        assert_eq!(known, ["user:9", "user:9", "user:1", "user:1", "user:1", "user:1", "nobody", "user:2 "]);
        // What was stored does not take the place of what was heard.
        follower.remember_opener(Some("user:9".to_owned()));
        assert_eq!(follower.state().opened_by.as_deref(), Some("user:2 "));
    }

    #[test]
    fn a_movement_says_at_whose_command_and_an_alert_what_it_is_about() {
        let mut follower = remembering(LockStatus::Closed);
        let id = uuid::Uuid::now_v7();
        let opened =
            Status { requested_by: Some("user:1".to_owned()), command_id: Some(id), ..status(LockStatus::Open, true) };
        let news = follower.take(opened, Utc::now());
        let expected = Details { requested_by: Some("user:1".to_owned()), command_id: Some(id), ..Details::default() };
        assert_eq!(news[0].occurrence.details, expected);
        let kinds: Vec<_> = [status(LockStatus::Unknown, false), status(LockStatus::Open, true)]
            .into_iter()
            .flat_map(|status| follower.take(status, Utc::now()))
            .filter_map(|news| news.occurrence.details.kind)
            .collect();
        assert_eq!(kinds, [Kind::LockAgentLost, Kind::LockAgentReturned]);
    }

    #[test]
    fn words_are_kept_short_and_printable() {
        assert_eq!(clean("a\0b\nc"), "a b c");
        assert_eq!(clean(&"é".repeat(500)).chars().count(), 200);
    }

    #[test]
    fn what_moved_before_the_stored_movement_was_known_is_told_then() {
        for (stored, expected) in [
            (LockStatus::Open, vec![EventType::DoorClosed]),
            (LockStatus::Closed, vec![]),
            (LockStatus::Unknown, vec![]),
        ] {
            let mut follower = Follower::new(LockState::unknown(17, DateTime::UNIX_EPOCH));
            assert_eq!(follower.take(status(LockStatus::Closed, true), Utc::now()), []);
            assert_eq!(kinds(&Vec::from_iter(follower.remember(stored))), expected);
            assert_eq!(kinds(&follower.take(status(LockStatus::Open, true), Utc::now())), [EventType::DoorOpened]);
        }
    }
}
