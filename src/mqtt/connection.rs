//! A client's connection: one loop that reads, decides, delivers and writes, and waits for all of them at once.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    time::{Instant, sleep_until, timeout},
};

use super::{
    decode, delivery, encode,
    front::Core,
    inbound,
    input::Input,
    last_reading::{self, Patience},
    packet::{Connect, Fault, Level, Reason},
    publish::Sender,
    session::{self, Session},
    sessions::{Order, Seat},
    subscribe, worker,
};
use crate::{
    auth::holder::Holder,
    domain::pool::{Account, Share},
    events::presence::Attendance,
};

/// How much may wait to be written before no more messages are taken from the queue, in bytes.
pub const WRITE_AHEAD: usize = 32 * 1024;
/// Messages taken from the router at once.
const GULP: usize = 256;
/// How soon a client whose long packet has to wait for room is looked at again.
pub const ROOM: Duration = Duration::from_millis(50);

/// What a connection runs over: TCP, TLS, or a WebSocket's bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + 'static> Stream for S {}

/// A client's DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// Whether it asked for its will all the same, which else is void.
    pub with_will: bool,
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client said so.
    Clean(Goodbye),
    /// Without a word: the socket failed, or the client was slow.
    Lost(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The client broke the protocol; what it sent behind that counts no more.
    Faulty(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The client said nothing for longer than its keep-alive.
    Silent(&'static str),
    /// A newer connection of the same client takes the session over; what the client said on this one before, if it did.
    TakenOver { order: Order, goodbye: Option<Goodbye> },
    /// The rights of the session's owner have ended, and the session with them.
    Revoked(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The session is to end with the connection.
    Ended(#[expect(dead_code, reason = "shown in the log by Debug")] &'static str),
    /// The hub stops.
    Stopping,
}

/// What a connection keeps about itself, apart from its session.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own, none excludes another")]
pub struct Connection {
    pub core: Arc<Core>,
    pub session: Box<Session>,
    pub seat: Seat,
    pub sender: Sender,
    pub level: Level,
    pub out: BytesMut,
    /// What `out` takes of what all may have waiting.
    pub ahead: Share<Holder>,
    /// How many messages above QoS 0 may be on the way to the client.
    pub window: usize,
    /// The longest packet that the client takes.
    pub longest: usize,
    pub wants_problem_information: bool,
    pub aliases: Aliases,
    /// PUBLISHes above QoS 0 that have no acknowledgement yet.
    pub unacknowledged: usize,
    /// Its long packets that have begun to arrive.
    pub arriving: Account<Holder>,
    keep_alive: Duration,
    /// When the identity ends, and the session with it.
    deadline: Option<Instant>,
    heard: Instant,
    /// Whether the client is read now.
    reads: bool,
    /// Whether it is not because of other clients' long packets.
    waits_for_room: bool,
    /// Since when the client has taken nothing of what is to be written, if there is something.
    stalled_since: Option<Instant>,
    /// Whether publishers slow down for this client.
    pressing: bool,
    /// Whether written bytes may still be in the stream's own buffer.
    unflushed: bool,
}

/// The topic aliases of a connection, in both directions.
#[derive(Debug, Default)]
pub struct Aliases {
    pub from_client: HashMap<u16, String>,
    pub to_client: HashMap<Arc<str>, u16>,
    pub to_client_most: u16,
}

/// What has to end with the connection.
#[derive(Debug, Default)]
pub struct Guards {
    pub attendance: Option<Attendance>,
    pub worker: Option<worker::Held>,
}

impl Connection {
    #[must_use]
    pub fn new(core: Arc<Core>, session: Box<Session>, seat: Seat, sender: Sender, connect: &Connect) -> Self {
        let limits = &core.settings.limits;
        let now = Instant::now();
        let keep_alive = delivery::keep_alive(connect, limits);
        let deadline = delivery::end_of(&sender.who).map(|left| now + left);
        let (holder, standing) = (*sender.bytes.holder(), sender.bytes.standing());
        let to_client_most = connect.topic_alias_maximum.min(limits.topic_aliases);
        Self {
            window: usize::from(connect.receive_maximum.min(limits.inflight)),
            longest: connect.maximum_packet as usize,
            level: connect.level,
            wants_problem_information: connect.wants_problem_information,
            aliases: Aliases { to_client_most, ..Aliases::default() },
            out: BytesMut::new(),
            ahead: sender.bytes.hold(0),
            unacknowledged: 0,
            arriving: core.pools.arriving.account(holder, standing),
            keep_alive,
            deadline,
            heard: now,
            reads: true,
            waits_for_room: false,
            stalled_since: None,
            pressing: false,
            unflushed: false,
            core,
            session,
            seat,
            sender,
        }
    }

    /// Serves the client until its connection ends, and says how it did.
    pub async fn run<S: Stream>(&mut self, stream: S, mut input: Input) -> End {
        let (mut reader, mut writer) = tokio::io::split(stream);
        self.session.mailbox.online.store(true, Relaxed);
        self.send_again();
        let (end, patience) = match self.seat.orders.try_recv() {
            // The client has gone on before it was let in here, and a crowd of its connections may wait for the session.
            Ok(order) => (self.ordered(Some(order)), Patience::Hurries),
            Err(_) => match self.serve(&mut reader, &mut writer, &mut input).await {
                Ok(never) => match never {},
                Err(end) => (end, Patience::Waits),
            },
        };
        let socket = last_reading::Socket { reader: &mut reader, writer: &mut writer, input: &mut input };
        let end = last_reading::after(self, socket, end, patience).await;
        self.session.mailbox.online.store(false, Relaxed);
        if self.pressing {
            self.core.pressure.fetch_sub(1, Relaxed);
        }
        self.part(reader, writer, &end);
        end
    }

    async fn serve<S: Stream>(
        &mut self,
        reader: &mut ReadHalf<S>,
        writer: &mut WriteHalf<S>,
        input: &mut Input,
    ) -> Result<std::convert::Infallible, End> {
        let stop = self.core.lifecycle.soft.clone();
        let mut stopped = pin!(stop.cancelled());
        // Set anew only when it has gone off or is to go off earlier: one that goes off too early does no harm.
        let mut alarm = pin!(sleep_until(Instant::now()));
        loop {
            self.settle_all().await?;
            self.read_packets(input).await?;
            delivery::fill(self);
            self.press();
            let may_read = self.read_or_pause(input);
            let wake_at = self.wake_at(may_read, input);
            if wake_at < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(wake_at);
            }
            tokio::select! {
                order = self.seat.orders.recv() => return Err(self.ordered(order)),
                read = input.read(reader), if may_read => {
                    let Ok(1..) = read else { return Err(End::Lost("the client closed the connection")) };
                    self.heard = Instant::now();
                }
                written = write_some(writer, &self.out), if !self.out.is_empty() || self.unflushed => {
                    let count = written.map_err(|_| End::Lost("writing failed"))?;
                    self.out.advance(count);
                    self.unflushed = count > 0;
                    self.stalled_since = None;
                }
                Some(decided) = self.session.pending.next(), if !self.session.pending.is_empty() => {
                    inbound::settle(self, decided).await?;
                }
                arrival = session::arrival(&mut self.session.link) => {
                    subscribe::take_in(&self.core, &mut self.session, arrival.subscription, arrival.message, true);
                    self.gulp();
                }
                Some(shared) = self.session.mailbox.receiver.recv() => {
                    subscribe::take_in(&self.core, &mut self.session, shared.subscription, shared.message, true);
                }
                () = &mut alarm => self.look_at_the_clock(may_read, input)?,
                () = &mut stopped => {
                    encode::disconnect(&mut self.out, self.level, Reason::ServerShuttingDown, "the hub stops");
                    return Err(End::Stopping);
                }
            }
        }
    }

    /// Acknowledges all whose fate is known by now, so that their acknowledgements are written at once: a commit settles
    /// many.
    pub async fn settle_all(&mut self) -> Result<(), End> {
        while !self.session.pending.is_empty()
            && let Some(Some(decided)) = self.session.pending.next().now_or_never()
        {
            inbound::settle(self, decided).await?;
        }
        Ok(())
    }

    /// Whether the client is read now. While it was not it could not be heard, so its silence begins when it is again.
    fn read_or_pause(&mut self, input: &mut Input) -> bool {
        let is_willing = self.may_read();
        let may_read = is_willing && input.prepare(self.core.settings.limits.packet_bytes, &self.arriving);
        self.waits_for_room = is_willing && !may_read;
        if may_read && !self.reads {
            self.heard = Instant::now();
        }
        self.reads = may_read;
        may_read
    }

    /// Asks publishers to slow down while the client reads, and yet its queue fills; a client that does not read gets no
    /// such favour.
    fn press(&mut self) {
        const READS: Duration = Duration::from_secs(1);
        let reads = self.stalled_since.is_none_or(|since| since.elapsed() < READS);
        let pressing = reads && self.session.queue.is_filling();
        if pressing && !self.pressing {
            self.core.pressure.fetch_add(1, Relaxed);
        } else if self.pressing && !pressing {
            self.core.pressure.fetch_sub(1, Relaxed);
        }
        self.pressing = pressing;
    }

    /// Takes what else the router has for the session, without waiting.
    fn gulp(&mut self) {
        for _ in 0..GULP {
            let Some(arrival) = session::arrived(&mut self.session.link) else { break };
            subscribe::take_in(&self.core, &mut self.session, arrival.subscription, arrival.message, true);
        }
    }

    /// Handles every whole packet that has arrived, as long as the client may be read.
    async fn read_packets(&mut self, input: &mut Input) -> Result<(), End> {
        while self.may_read() {
            let packet = match input.next(self.core.settings.limits.packet_bytes) {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => decode::packet(self.level, frame),
                Err(fault) => Err(fault),
            };
            match packet {
                Ok(packet) => inbound::handle(self, packet).await?,
                Err(fault) => return Err(self.fault(fault)),
            }
        }
        Ok(())
    }

    /// Whether the client is read: not while as many of its messages as it may send at once wait for their fate, not
    /// while detections of all clients fill their memory and one of them is its own, and not while it does not read its
    /// answers. A 5.0 client keeps to the number by itself, and its pings are heard.
    pub fn may_read(&self) -> bool {
        let most = usize::from(self.core.settings.limits.inflight) + usize::from(self.level == Level::V5);
        let pending = self.session.pending.len();
        pending < most && self.out.len() < 2 * WRITE_AHEAD && (pending == 0 || self.sender.uncommitted.has_room_for(1))
    }

    /// When to look at the clock.
    fn wake_at(&mut self, may_read: bool, input: &Input) -> Instant {
        let mut at = Instant::now() + Duration::from_hours(1);
        if self.out.is_empty() {
            self.stalled_since = None;
        } else {
            let since = *self.stalled_since.get_or_insert_with(Instant::now);
            at = at.min(since + self.core.settings.limits.write_time());
        }
        if !self.keep_alive.is_zero() && may_read {
            at = at.min(self.heard + self.keep_alive);
        }
        if self.waits_for_room {
            at = at.min(Instant::now() + ROOM);
        }
        if let Some(since) = input.long_since() {
            at = at.min((since + self.core.settings.limits.write_time()).max(Instant::now() + ROOM));
        }
        self.deadline.map_or(at, |deadline| at.min(deadline))
    }

    fn look_at_the_clock(&mut self, may_read: bool, input: &Input) -> Result<(), End> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let why = "the credentials have expired";
            encode::disconnect(&mut self.out, self.level, Reason::MaximumConnectTime, why);
            return Err(End::Ended(why));
        }
        let write_time = self.core.settings.limits.write_time();
        if self.stalled_since.is_some_and(|since| since + write_time <= now) {
            return Err(End::Lost("the client does not read what is sent to it"));
        }
        if may_read
            && !self.arriving.has_room_for(1)
            && input.long_since().is_some_and(|since| since + write_time <= now)
        {
            return Err(End::Lost("the client takes long over a packet whose room others wait for"));
        }
        if !self.keep_alive.is_zero() && may_read && self.heard + self.keep_alive <= now {
            return Err(End::Silent("no packet within one and a half times the keep-alive"));
        }
        Ok(())
    }

    fn ordered(&mut self, order: Option<Order>) -> End {
        match order {
            Some(order @ Order::HandOver { .. }) => End::TakenOver { order, goodbye: None },
            Some(Order::End { reason, why }) => {
                encode::disconnect(&mut self.out, self.level, reason, why);
                End::Revoked(why)
            }
            None => End::Ended("the session has no owner"),
        }
    }

    /// The client broke the protocol: it is told, as far as its version allows, and the connection ends.
    pub fn fault(&mut self, fault: Fault) -> End {
        self.core.gauges.protocol_errors.one();
        encode::disconnect(&mut self.out, self.level, fault.reason, fault.why);
        End::Faulty(fault.why)
    }

    /// What an earlier connection sent and the client did not acknowledge goes out again, in its order (4.4).
    fn send_again(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        let unsent: Vec<u16> = self
            .session
            .queue
            .unacknowledged()
            .filter_map(|(id, stage, delivery)| {
                let sent = delivery::write_again(&mut out, self.level, self.longest, id, stage, delivery);
                (!sent).then_some(id)
            })
            .collect();
        self.out = out;
        for id in unsent {
            self.core.gauges.undeliverable.one();
            self.session.queue.finish(id);
        }
    }

    /// Writes the last bytes, and reads until the client closes as well: closing with unread bytes would send a reset,
    /// and the client would never see why the connection ended. Nobody waits for it but the process's end.
    fn part<S: Stream>(&mut self, mut reader: ReadHalf<S>, mut writer: WriteHalf<S>, end: &End) {
        const LAST_WORDS: Duration = Duration::from_secs(1);
        tracing::debug!(who = %self.sender.who, address = %self.sender.origin.address(), ?end, "a connection ended");
        let out = self.out.split();
        self.core.lifecycle.track(timeout(LAST_WORDS, async move {
            writer.write_all(&out).await?;
            writer.shutdown().await?;
            let mut ignored = [0; 4096];
            while reader.read(&mut ignored).await? > 0 {}
            std::io::Result::Ok(())
        }));
    }
}

/// Writes what the stream takes at once; with nothing to write, has the stream write what it still keeps. May be
/// cancelled at any time.
pub async fn write_some<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(bytes).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}
