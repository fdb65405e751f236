//! A connection's loop: it reads, decides, delivers and writes, and waits for all of them at once.
//!
//! Must not know what a packet does (`inbound`), nor how a message is written (`outbound`).

use std::{pin::pin, sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::Buf as _;
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Connection, DisconnectCause, ROOM, Stream, inbound,
    last_reading::{self, Patience},
    outbound, write_some,
};
use crate::mqtt::{
    codec::{decode, encode, packet::Reason, read_buffer::ReadBuffer},
    session::{self, registry::SessionControl},
};

/// Messages taken from the router at once.
const AT_ONCE: usize = 256;

impl Connection {
    /// Serves the client until its connection ends, and says how it did.
    pub async fn run<S: Stream>(&mut self, stream: S, mut input: ReadBuffer) -> DisconnectCause {
        let (mut reader, mut writer) = tokio::io::split(stream);
        self.session.mailbox.online.store(true, Relaxed);
        outbound::send_again(self);
        let (end, patience) = match self.lease.control.try_recv() {
            // The client has gone on before it was let in here, and a crowd of its connections may wait for the
            // session.
            Ok(control) => (self.obey(Some(control)), Patience::Hurries),
            Err(_) => match self.serve(&mut reader, &mut writer, &mut input).await {
                Ok(never) => match never {},
                Err(end) => (end, Patience::Waits),
            },
        };
        let socket = last_reading::Socket { reader: &mut reader, writer: &mut writer, input: &mut input };
        let end = last_reading::after(self, socket, end, patience).await;
        self.session.mailbox.online.store(false, Relaxed);
        if self.pressing {
            self.broker.pressure.fetch_sub(1, Relaxed);
        }
        self.part(reader, writer, &end);
        end
    }

    async fn serve<S: Stream>(
        &mut self,
        reader: &mut ReadHalf<S>,
        writer: &mut WriteHalf<S>,
        input: &mut ReadBuffer,
    ) -> Result<std::convert::Infallible, DisconnectCause> {
        let stop = self.broker.lifecycle.soft.clone();
        let mut stopped = pin!(stop.cancelled());
        // Set anew only when it has gone off or is to go off earlier: one that goes off too early does no harm.
        let mut alarm = pin!(sleep_until(Instant::now()));
        loop {
            inbound::complete_all(self).await?;
            self.read_packets(input).await?;
            outbound::fill(self);
            self.update_backpressure();
            let may_read = self.read_or_pause(input);
            let wake_at = self.wake_at(may_read, input);
            if wake_at < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(wake_at);
            }
            tokio::select! {
                control = self.lease.control.recv() => return Err(self.obey(control)),
                read = input.read(reader), if may_read => {
                    let Ok(1..) = read else { return Err(DisconnectCause::Lost("the client closed the connection")) };
                    self.heard = Instant::now();
                }
                written = write_some(writer, &self.out), if !self.out.is_empty() || self.unflushed => {
                    let count = written.map_err(|_| DisconnectCause::Lost("writing failed"))?;
                    self.out.advance(count);
                    self.unflushed = count > 0;
                    self.stalled_since = None;
                }
                Some(completed) = self.session.pending.next(), if !self.session.pending.is_empty() => {
                    inbound::complete(self, completed).await?;
                }
                arrival = session::arrival(&mut self.session.link) => {
                    self.broker.subscribing.deliver(&mut self.session, arrival.subscription, arrival.message, true);
                    self.drain_router();
                }
                Some(shared) = self.session.mailbox.receiver.recv() => {
                    self.broker.subscribing.deliver(&mut self.session, shared.subscription, shared.message, true);
                }
                () = &mut alarm => self.look_at_the_clock(may_read, input)?,
                () = &mut stopped => {
                    encode::disconnect(&mut self.out, self.version, Reason::ServerShuttingDown, "the hub stops");
                    return Err(DisconnectCause::Stopping);
                }
            }
        }
    }

    /// Whether the client is read now. While it was not it could not be heard, so its silence begins when it is again.
    fn read_or_pause(&mut self, input: &mut ReadBuffer) -> bool {
        let is_willing = self.may_read();
        let may_read = is_willing && input.prepare(self.broker.limits.packet_bytes, &self.arriving);
        self.waits_for_room = is_willing && !may_read;
        if may_read && !self.reads {
            self.heard = Instant::now();
        }
        self.reads = may_read;
        may_read
    }

    /// Asks publishers to slow down while the client reads, and yet its queue fills; a client that does not read gets
    /// no such favour.
    fn update_backpressure(&mut self) {
        const READS: Duration = Duration::from_secs(1);
        let reads = self.stalled_since.is_none_or(|since| since.elapsed() < READS);
        let pressing = reads && self.session.queue.is_filling();
        if pressing && !self.pressing {
            self.broker.pressure.fetch_add(1, Relaxed);
        } else if self.pressing && !pressing {
            self.broker.pressure.fetch_sub(1, Relaxed);
        }
        self.pressing = pressing;
    }

    /// Takes what else the router has for the session, without waiting.
    fn drain_router(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(arrival) = session::arrived(&mut self.session.link) else { break };
            self.broker.subscribing.deliver(&mut self.session, arrival.subscription, arrival.message, true);
        }
    }

    /// Handles every whole packet that has arrived, as long as the client may be read.
    async fn read_packets(&mut self, input: &mut ReadBuffer) -> Result<(), DisconnectCause> {
        while self.may_read() {
            let packet = match input.next(self.broker.limits.packet_bytes) {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => decode::packet(self.version, frame),
                Err(fault) => Err(fault),
            };
            match packet {
                Ok(packet) => inbound::handle(self, packet).await?,
                Err(fault) => return Err(self.fault(fault)),
            }
        }
        Ok(())
    }

    /// When to look at the clock.
    fn wake_at(&mut self, may_read: bool, input: &ReadBuffer) -> Instant {
        let mut at = Instant::now() + Duration::from_hours(1);
        if self.out.is_empty() {
            self.stalled_since = None;
        } else {
            let since = *self.stalled_since.get_or_insert_with(Instant::now);
            at = at.min(since + self.broker.limits.write_time());
        }
        if !self.keep_alive.is_zero() && may_read {
            at = at.min(self.heard + self.keep_alive);
        }
        if self.waits_for_room {
            at = at.min(Instant::now() + ROOM);
        }
        if let Some(since) = input.long_since() {
            at = at.min((since + self.broker.limits.write_time()).max(Instant::now() + ROOM));
        }
        self.deadline.map_or(at, |deadline| at.min(deadline))
    }

    fn look_at_the_clock(&mut self, may_read: bool, input: &ReadBuffer) -> Result<(), DisconnectCause> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let why = "the credentials have expired";
            encode::disconnect(&mut self.out, self.version, Reason::MaximumConnectTime, why);
            return Err(DisconnectCause::Ended(why));
        }
        let write_time = self.broker.limits.write_time();
        if self.stalled_since.is_some_and(|since| since + write_time <= now) {
            return Err(DisconnectCause::Lost("the client does not read what is sent to it"));
        }
        if may_read
            && !self.arriving.has_room_for(1)
            && input.long_since().is_some_and(|since| since + write_time <= now)
        {
            return Err(DisconnectCause::Lost("the client takes long over a packet whose room others wait for"));
        }
        if !self.keep_alive.is_zero() && may_read && self.heard + self.keep_alive <= now {
            return Err(DisconnectCause::Silent("no packet within one and a half times the keep-alive"));
        }
        Ok(())
    }

    fn obey(&mut self, control: Option<SessionControl>) -> DisconnectCause {
        match control {
            Some(control @ SessionControl::HandOver { .. }) => DisconnectCause::TakenOver { control, disconnect: None },
            Some(SessionControl::End { reason, why }) => {
                encode::disconnect(&mut self.out, self.version, reason, why);
                DisconnectCause::Revoked(why)
            }
            None => DisconnectCause::Ended("the session has no owner"),
        }
    }

    /// Writes the last bytes, and reads until the client closes as well: closing with unread bytes would send a reset,
    /// and the client would never see why the connection ended. Nobody waits for it but the process's end.
    fn part<S: Stream>(&mut self, mut reader: ReadHalf<S>, mut writer: WriteHalf<S>, end: &DisconnectCause) {
        const LAST_WORDS: Duration = Duration::from_secs(1);
        tracing::debug!(who = %self.publisher.who, address = %self.publisher.origin.address(), ?end, "a connection ended");
        let out = self.out.split();
        self.broker.lifecycle.track(timeout(LAST_WORDS, async move {
            writer.write_all(&out).await?;
            writer.shutdown().await?;
            let mut ignored = [0; 4096];
            while reader.read(&mut ignored).await? > 0 {}
            std::io::Result::Ok(())
        }));
    }
}
