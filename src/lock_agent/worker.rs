//! One lock worker: the bolt's decisions, carried out on the relay, and what is to be told of them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc::{self, error::TrySendError};
use uuid::Uuid;

use super::{AgentSettings, fault::Fault, status_message};
use crate::{
    domain::{
        bolt::{
            AHEAD, Bolt, Moment, Position,
            clock::Watch,
            door::{Alarm, Door},
            latch::Latch,
            order::{Hold, Order},
        },
        lock::LockStatus,
    },
    gpio::Relay,
    mqtt::link::{Incoming, Message, QoS},
    wire::{
        lock::{Command, Outcome, Response, Status, Unreadable},
        presence::HubStatus,
    },
};

/// How often the relay is read though nothing was asked: something else may have moved it.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is when there is a contact: a door that is opened and shut is open for longer than this.
const LOOK_AT_CONTACT: Duration = Duration::from_millis(100);
/// How often the status is told though it has not changed.
const STATUS: Duration = Duration::from_mins(1);
/// How many responses wait for a link that is full. When there are more, the oldest goes: its command has long expired.
const RESPONSES: usize = 64;

/// Why the relay is where it is: the newest cause of a change.
#[derive(Debug, Default)]
struct Cause {
    reason: Option<String>,
    command_id: Option<Uuid>,
    requested_by: Option<String>,
}

impl Cause {
    fn itself(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }
}

/// What is told at once when it changes: relay, door, alarm with its beginning, and whether the clock is wrong.
type News = (LockStatus, Option<LockStatus>, Option<(Alarm, Instant)>, bool);

pub(super) struct Worker {
    relay: Relay,
    bolt: Bolt,
    door: Door,
    alarms: Latch,
    has_contact: bool,
    /// What the relay was last read to be.
    reads: LockStatus,
    cannot_read: Fault,
    cannot_move: Fault,
    cannot_see_door: Fault,
    cause: Cause,
    clock: Watch,
    connected: bool,
    told: Option<News>,
    status_due: bool,
    next_status: Instant,
    next_look: Instant,
    responses: VecDeque<Message>,
}

impl Worker {
    pub(super) fn new(relay: Relay, settings: &AgentSettings, now: Moment) -> Self {
        let mut worker = Self {
            relay,
            bolt: Bolt::new(settings.limits(), now),
            door: Door::new(settings.door_held_open_after, now.monotonic),
            alarms: Latch::default(),
            has_contact: false,
            reads: LockStatus::Unknown,
            cannot_read: Fault::none_of("reading the relay"),
            cannot_move: Fault::none_of("moving the relay"),
            cannot_see_door: Fault::none_of("reading the door's contact"),
            cause: Cause::itself("the lock worker started"),
            clock: Watch::default(),
            connected: false,
            told: None,
            status_due: false,
            next_status: now.monotonic,
            next_look: now.monotonic,
            responses: VecDeque::new(),
        };
        // Requested closed already; said once more for a relay that was handed over in another state.
        worker.drive(Position::Closed);
        worker.look(now);
        worker
    }

    /// When [`Worker::look`] has to be called at the latest.
    pub(super) fn due(&self) -> Instant {
        self.bolt.deadline().map_or(self.next_look, |deadline| deadline.min(self.next_look))
    }

    /// Closes the relay if its time is over, and sees where relay and door are.
    pub(super) fn look(&mut self, now: Moment) {
        if let Some(closing) = self.bolt.look(now.monotonic) {
            tracing::info!(pin = self.relay.pin(), "{closing}");
            self.drive(Position::Closed);
            self.cause = Cause::itself(closing.to_string());
        } else {
            self.read();
        }
        self.keep_position();
        self.look_at_door(now.monotonic);
        if now.monotonic >= self.next_status {
            self.status_due = true;
        }
        self.next_look = now.monotonic + if self.has_contact { LOOK_AT_CONTACT } else { LOOK };
    }

    /// Closes a relay that is not where it should be, whoever moved it. A door that should be open and is not stays
    /// closed: the command to open it is no longer fresh.
    fn keep_position(&mut self) {
        let should = self.bolt.position();
        if self.reads == should.into() {
            // However it got there.
            self.cannot_move.note(Ok(()));
            return;
        }
        self.bolt.give_up();
        let found = self.reads;
        self.drive(Position::Closed);
        let cause = format!("the relay was found {found} without a command");
        // Once, not at each look at a relay that is stuck.
        if found != LockStatus::Unknown && self.cause.reason.as_ref() != Some(&cause) {
            tracing::error!(pin = self.relay.pin(), "{cause}, now {}", self.reads);
            self.cause = Cause::itself(cause);
        }
    }

    fn look_at_door(&mut self, now: Instant) {
        let (contact, result) = match self.relay.contact() {
            Ok(None) => return,
            Ok(Some(contact)) => (Some(contact), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.has_contact = true;
        self.cannot_see_door.note(result);
        // A relay that can't be read is taken as where it should be.
        let relay = if self.reads == LockStatus::Open { Position::Open } else { Position::Closed };
        self.door.observe(relay, contact, now);
        self.alarms.observe(self.door.alarm(now), now);
    }

    /// Moves the relay and reads it back.
    fn drive(&mut self, position: Position) {
        let moved = self.relay.set(position);
        self.cannot_move.note(moved);
        self.read();
    }

    fn read(&mut self) {
        let read = self.relay.read();
        self.reads = read.as_ref().map_or(LockStatus::Unknown, |position| (*position).into());
        self.cannot_read.note(read.map(drop));
    }

    /// What is wrong with the relay, if anything is.
    fn fault(&self) -> Option<&str> {
        self.cannot_read.words().or(self.cannot_move.words())
    }

    pub(super) fn hear(&mut self, incoming: Incoming, now: Moment) {
        match incoming {
            Incoming::Connected => {
                tracing::info!("connected to the hub");
                self.bolt.hub_found();
                self.connected = true;
                self.clock.connected();
                self.status_due = true;
            }
            Incoming::Disconnected(why) => {
                tracing::warn!("the hub is lost: {why}");
                self.bolt.hub_lost(now.monotonic);
                self.alarms.lost(now.monotonic);
                self.connected = false;
            }
            Incoming::Message(message) if message.topic == "lock/command" => self.obey(&message, now),
            Incoming::Message(message) if message.topic == "hub/status" => self.set_watch(&message, now),
            Incoming::Message(message) => tracing::debug!(topic = message.topic, "not for a lock worker"),
        }
    }

    /// Measures this clock by the hub's. A kept status tells when it was sent, not what time it is.
    fn set_watch(&mut self, message: &Message, now: Moment) {
        if message.retain {
            return;
        }
        let Ok(HubStatus { timestamp: Some(timestamp), .. }) = serde_json::from_slice(&message.payload) else { return };
        let offset = now.wall.signed_duration_since(timestamp);
        let was_wrong = self.clock.alert();
        // Each first measure of a connection is told; later ones go with the next status.
        self.status_due |= self.clock.measure(offset);
        let offset_ms = offset.num_milliseconds();
        match (was_wrong, self.clock.alert()) {
            (false, true) => tracing::warn!(offset_ms, "this clock and the hub's differ"),
            (true, false) => tracing::info!(offset_ms, "this clock and the hub's agree again"),
            _ => {}
        }
    }

    /// The moment by a clock that is not behind the hub's, as far as that was measured: a slow clock must not make a
    /// command last longer. A measurement is late by the message's way, never early, so it only ever shortens. A clock
    /// that is further behind is taken as it is, and what the hub issues lies too far in its future.
    fn not_before_the_hub(&self, now: Moment) -> Moment {
        let behind =
            self.clock.offset().filter(|offset| (-AHEAD..TimeDelta::zero()).contains(offset)).unwrap_or_default();
        Moment { wall: now.wall - behind, ..now }
    }

    fn obey(&mut self, message: &Message, now: Moment) {
        // What is overdue is closed before anything is judged.
        self.look(now);
        let (id, sender, result) = match Command::read(&message.payload) {
            Ok(command) => {
                let order = order(command, message.retain);
                (order.id, order.requested_by.clone(), self.carry_out(&order, self.not_before_the_hub(now)))
            }
            Err(Unreadable { command_id, reason }) => (command_id, String::new(), Err(reason)),
        };
        let (outcome, text) = match result {
            Ok(text) => (Outcome::Done, text),
            Err(text) => (Outcome::Refused, text),
        };
        tracing::info!(command.id = %id, requested_by = sender, status = %self.reads, "{outcome:?}: {text}");
        self.respond(&Response { command_id: id, outcome, message: text, duration_ms: elapsed_ms(now.monotonic) });
    }

    /// Judges the command and moves the relay. Done is what the relay reads, not what was asked of it.
    fn carry_out(&mut self, order: &Order, now: Moment) -> Result<String, String> {
        let position = self.bolt.obey(order, self.reads, now).map_err(|refusal| refusal.to_string())?;
        self.drive(position);
        self.cause = Cause {
            reason: Some(order.hold.as_ref().map_or_else(|| "command".to_owned(), |hold| hold.reason.clone())),
            command_id: Some(order.id),
            requested_by: Some(order.requested_by.clone()),
        };
        // The status goes out anew even if nothing moved: it names the command.
        self.status_due = true;
        if self.reads != position.into() {
            self.bolt.give_up();
            if position == Position::Open {
                self.drive(Position::Closed);
            }
            let why = self.fault().map_or_else(|| format!("it reads {}", self.reads), str::to_owned);
            return Err(format!("The relay did not follow: {why}"));
        }
        Ok(match (position, &order.hold) {
            (Position::Open, Some(_)) => "Door held open",
            (Position::Open, None) => "Door opened successfully",
            (Position::Closed, _) => "Door closed successfully",
        }
        .to_owned())
    }

    fn respond(&mut self, response: &Response) {
        let Ok(payload) = serde_json::to_vec(response) else { return };
        if self.responses.len() >= RESPONSES {
            self.responses.pop_front();
        }
        let topic = "lock/response".to_owned();
        self.responses.push_back(Message { topic, payload: payload.into(), qos: QoS::AtLeastOnce, retain: false });
    }

    fn status(&self, now: Moment) -> Status {
        Status {
            status: self.reads,
            online: true,
            pin: self.relay.pin(),
            simulated: self.relay.is_simulated(),
            reason: self.fault().map(str::to_owned).or_else(|| self.cause.reason.clone()),
            command_id: self.cause.command_id,
            requested_by: self.cause.requested_by.clone(),
            timestamp: now.wall,
            clock_offset_ms: self.clock.offset().map(|offset| offset.num_milliseconds()),
            clock_alert: self.clock.alert(),
            opens_until: self.opens_until(now),
            held: self.bolt.is_held(),
            door: self.door_state(),
            alarm: self.alarms.next().map(|(alarm, _)| alarm),
            alarm_since: self.alarms.next_since(now),
        }
    }

    /// When the door closes by itself, by the wall clock as it is now.
    fn opens_until(&self, now: Moment) -> Option<DateTime<Utc>> {
        let left = self.bolt.deadline()?.saturating_duration_since(now.monotonic);
        now.wall.checked_add_signed(TimeDelta::from_std(left).ok()?)
    }

    fn door_state(&self) -> Option<LockStatus> {
        self.has_contact.then(|| self.door.contact().map_or(LockStatus::Unknown, LockStatus::from))
    }

    fn news(&self) -> News {
        (self.reads, self.door_state(), self.alarms.next(), self.clock.alert())
    }

    /// Tells what there is to tell, as far as the link takes it at once: the status first, so that who waits for a
    /// response knows by then what the relay is. What the link does not take now is told at a later look.
    pub(super) fn tell(&mut self, outgoing: &mpsc::Sender<Message>, now: Moment) {
        // More than once where alarms have waited: each has a status of its own.
        while self.connected && (self.status_due || self.told != Some(self.news())) {
            if let Err(error) = outgoing.try_send(status_message(&self.status(now))) {
                return not_taken(&error);
            }
            self.told = Some(self.news());
            self.alarms.told(now);
            self.status_due = false;
            self.next_status = now.monotonic + STATUS;
        }
        while let Some(response) = self.responses.pop_front() {
            match outgoing.try_send(response) {
                Ok(()) => {}
                Err(error) => {
                    not_taken(&error);
                    self.responses.push_front(error.into_inner());
                    return;
                }
            }
        }
    }

    /// Closes the relay for good, and says what is still to be told: what the relay reads now, the responses, and that
    /// nobody is here any more.
    pub(super) fn end(mut self, now: Moment) -> impl Iterator<Item = Message> {
        self.bolt.give_up();
        self.drive(Position::Closed);
        let (last, gone) = (
            status_message(&self.status(now)),
            Status::offline(self.relay.pin(), self.relay.is_simulated(), "the lock worker stopped", now.wall),
        );
        let responses = std::mem::take(&mut self.responses);
        std::iter::once(last).chain(responses).chain([status_message(&gone)])
    }
}

fn not_taken(error: &TrySendError<Message>) {
    match error {
        TrySendError::Full(_) => tracing::warn!("the link to the hub is full; told later"),
        TrySendError::Closed(_) => tracing::debug!("the link to the hub is gone"),
    }
}

fn order(command: Command, retained: bool) -> Order {
    Order {
        id: command.command_id,
        action: command.action,
        issued_at: command.issued_at,
        expires_at: command.expires_at,
        requested_by: command.requested_by,
        retained,
        hold: command.hold_until.map(|until| Hold { until, reason: command.reason.unwrap_or_default() }),
    }
}

/// Milliseconds since a moment, to the microsecond.
fn elapsed_ms(since: Instant) -> f64 {
    let elapsed = tokio::time::Instant::now().into_std().saturating_duration_since(since);
    (elapsed.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
