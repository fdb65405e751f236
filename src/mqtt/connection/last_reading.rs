//! What a client had sent before its connection ended, and the front had not read yet: its DISCONNECT above all, which
//! decides over its will and its session, and its last messages.
//!
//! A client may say DISCONNECT, close and connect again faster than the front reads its old connection, and a write to
//! a client that has closed fails while its last words still lie in the socket. So they are read, within bounds: a
//! client that floods, or waits for acknowledgements that do not come, holds nobody up for long.

use std::time::Duration;

use bytes::Buf as _;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    io::{ReadHalf, WriteHalf},
    task::unconstrained,
    time::{Instant, sleep_until},
};

use super::{Connection, DisconnectCause, ROOM, Stream, inbound, write_some};
use crate::mqtt::{
    codec::{
        decode, encode,
        frame::{Frame, Kind},
        packet::{Packet, Reason},
        read_buffer::ReadBuffer,
    },
    link::QoS,
};

/// How long it may take in all. Less than a newer connection waits for the session.
const TIME: Duration = Duration::from_secs(1);
/// How much may be read: more than the system keeps for a socket by default.
const BYTES: usize = 8 * 1024 * 1024;
/// How long nothing need come before there is nothing more, all waits together. What the system has received is there
/// at once; this is for the last segment on its way.
const QUIET: Duration = Duration::from_millis(20);
/// Whether it is worth waiting for what is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For the last segment, and for acknowledgements without which the client is not read.
    Waits,
    /// Only what is there.
    Hurries,
}

/// A connection's both halves, and what of it has arrived.
pub struct Socket<'a, S> {
    pub reader: &'a mut ReadHalf<S>,
    pub writer: &'a mut WriteHalf<S>,
    pub input: &'a mut ReadBuffer,
}

/// Reads the rest where it may change what becomes of the connection's session, and says how the connection ended now
/// that this is known. Writes the last packet that the client is owed.
pub async fn after<S: Stream>(
    connection: &mut Connection,
    socket: Socket<'_, S>,
    end: DisconnectCause,
    patience: Patience,
) -> DisconnectCause {
    let mut rest = Rest { connection, socket, left: BYTES };
    match end {
        DisconnectCause::TakenOver { control, .. } => {
            let said = rest.read(patience).await;
            let connection = rest.connection;
            if !matches!(said, Some(DisconnectCause::Faulty(_) | DisconnectCause::Clean(_))) {
                let why = "the same client connected anew";
                encode::disconnect(&mut connection.out, connection.version, Reason::SessionTakenOver, why);
            }
            let disconnect = if let Some(DisconnectCause::Clean(disconnect)) = said { Some(disconnect) } else { None };
            DisconnectCause::TakenOver { control, disconnect }
        }
        DisconnectCause::Lost(_) => rest.read(patience).await.unwrap_or(end),
        DisconnectCause::Silent(why) => {
            if let Some(said) = rest.read(Patience::Hurries).await {
                return said;
            }
            let connection = rest.connection;
            encode::disconnect(&mut connection.out, connection.version, Reason::KeepAliveTimeout, why);
            end
        }
        end => end,
    }
}

struct Rest<'a, S> {
    connection: &'a mut Connection,
    socket: Socket<'a, S>,
    /// How many bytes may still be read.
    left: usize,
}

impl<S: Stream> Rest<'_, S> {
    /// Handles what has come as ever, until there is no more, and says how the client ended it, if it did. What cannot
    /// be handled in time is only skimmed.
    async fn read(&mut self, patience: Patience) -> Option<DisconnectCause> {
        let until = Instant::now() + TIME;
        let mut quiet = if patience == Patience::Waits { QUIET } else { Duration::ZERO };
        let mut may_write = true;
        loop {
            if let Err(end) = self.handle_whole_packets(until).await {
                return Some(end);
            }
            if !may_write {
                self.connection.out.clear();
            }
            let now = Instant::now();
            let is_read = self.is_read();
            if now >= until || self.left == 0 || (!is_read && patience == Patience::Hurries) {
                return self.skim();
            }
            let wake_at = now + if is_read { quiet } else { ROOM };
            let Self { connection, socket, left } = self;
            tokio::select! {
                biased;
                read = unconstrained(socket.input.read(socket.reader)), if is_read => match read {
                    Ok(count @ 1..) => *left = left.saturating_sub(count),
                    Ok(0) | Err(_) => return None,
                },
                Some(completed) = connection.session.pending.next(), if !connection.session.pending.is_empty() => {
                    if let Err(end) = inbound::complete(connection, completed).await {
                        return Some(end);
                    }
                }
                written = write_some(socket.writer, &connection.out), if may_write && !connection.out.is_empty() => {
                    match written {
                        Ok(count) => connection.out.advance(count),
                        // Nobody hears the answers, so none keep the client from being read.
                        Err(_) => may_write = false,
                    }
                }
                () = sleep_until(wake_at.min(until)) => if is_read { return None },
            }
            if is_read {
                quiet = quiet.saturating_sub(now.elapsed());
            }
        }
    }

    fn is_read(&mut self) -> bool {
        let Connection { broker, arriving, .. } = &*self.connection;
        self.connection.may_read() && self.socket.input.prepare(broker.limits.packet_bytes, arriving)
    }

    async fn handle_whole_packets(&mut self, until: Instant) -> Result<(), DisconnectCause> {
        let longest = self.connection.broker.limits.packet_bytes;
        inbound::complete_all(self.connection).await?;
        while self.connection.may_read() && Instant::now() < until {
            let packet = match self.socket.input.next(longest) {
                Ok(None) => break,
                Ok(Some(frame)) => decode::packet(self.connection.version, frame),
                Err(fault) => Err(fault),
            };
            match packet {
                Ok(packet) => inbound::act(self.connection, packet).await?,
                Err(fault) => return Err(self.connection.fault(fault)),
            }
        }
        Ok(())
    }

    /// Looks for a DISCONNECT in what there was no time for, without waiting. Messages at QoS 0 are counted as lost;
    /// all else was not acknowledged, so its client sends it again.
    fn skim(&mut self) -> Option<DisconnectCause> {
        let longest = self.connection.broker.limits.packet_bytes;
        loop {
            match self.socket.input.next(longest) {
                Ok(Some(frame)) if frame.kind == Kind::Disconnect => return self.disconnect(frame),
                Ok(Some(frame)) if frame.kind == Kind::Publish && qos(frame.flags) == QoS::AtMostOnce as u8 => {
                    self.connection.broker.metrics.unread.one();
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let has_room = self.socket.input.prepare(longest, &self.connection.arriving);
                    if self.left == 0 || !has_room {
                        return None;
                    }
                    let read = unconstrained(self.socket.input.read(self.socket.reader)).now_or_never();
                    let Some(Ok(count @ 1..)) = read else { return None };
                    self.left = self.left.saturating_sub(count);
                }
                Err(_) => return None,
            }
        }
    }

    fn disconnect(&mut self, frame: Frame) -> Option<DisconnectCause> {
        match decode::packet(self.connection.version, frame) {
            Ok(Packet::Disconnect(packet)) => Some(inbound::handle_disconnect(self.connection, packet)),
            _ => None,
        }
    }
}

/// The QoS in a PUBLISH's flags.
fn qos(flags: u8) -> u8 {
    (flags >> 1) & 3
}
