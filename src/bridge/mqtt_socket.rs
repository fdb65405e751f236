//! MQTT over WebSocket, on the HTTP port at /mqtt: bytes are carried between the socket and the front, which knows no
//! difference to a socket of its own.

use std::{future::ready, io, sync::Arc};

use axum::{
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{StatusCode, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::{
    Settings,
    error::ApiError,
    who::{self, Address},
};
use crate::mqtt::Front;

/// The names of the subprotocol: that of the standard, and that of clients older than it.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Turns the request into an MQTT client's connection.
pub async fn upgrade(
    State(settings): State<Arc<Settings>>,
    State(front): State<Option<Front>>,
    Address(address): Address,
    parts: Parts,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Some(front) = front else { return Err(ApiError::unavailable("There is no MQTT broker here")) };
    let upgrade = upgrade.map_err(|_| ApiError::new(StatusCode::UPGRADE_REQUIRED, "MQTT needs a WebSocket here"))?;
    let upgrade = upgrade.protocols(PROTOCOLS);
    if upgrade.selected_protocol().is_none() {
        return Err(ApiError::bad_request("The WebSocket must offer the subprotocol mqtt"));
    }
    let secure = who::is_secure(&parts, &settings);
    Ok(upgrade.on_upgrade(async move |socket| front.serve_stream(bytes_of(socket), address, secure).await))
}

/// The socket as a stream of bytes. A packet may lie across messages, and a message may hold many packets.
fn bytes_of(socket: WebSocket) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {
    let (sink, stream) = socket.split();
    let incoming = stream.filter_map(|message| {
        ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => Some(Err(io::Error::new(io::ErrorKind::InvalidData, "MQTT is no text"))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    let framed = |bytes: Bytes| ready(Ok::<_, io::Error>(Message::Binary(bytes)));
    let outgoing = sink.sink_map_err(io::Error::other).with(framed);
    tokio::io::join(StreamReader::new(incoming), SinkWriter::new(CopyToBytes::new(outgoing)))
}
