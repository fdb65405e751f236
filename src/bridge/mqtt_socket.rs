//! MQTT over WebSocket, on the HTTP port at /mqtt: bytes are carried between the socket and the front, which knows no
//! difference to a socket of its own. Nothing is gathered on the way, so that the front's limits hold from the first byte.

mod frames;

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tungstenite::handshake::derive_accept_key;

use self::frames::Frames;
use super::{error::ApiError, line::Peer, realtime::is_upgrade, who};
use crate::mqtt::Front;

/// The names of the subprotocol: that of the standard, and that of clients older than it.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Turns the request into an MQTT client's connection.
pub async fn upgrade(State(front): State<Option<Front>>, mut request: Request) -> Result<Response, ApiError> {
    let Some(front) = front else { return Err(ApiError::unavailable("There is no MQTT broker here")) };
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| request.method() == Method::GET && wants(headers));
    let (Some(key), Some(on_upgrade)) = (key, on_upgrade) else {
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "MQTT needs a WebSocket here"));
    };
    let Some(protocol) = PROTOCOLS.into_iter().find(|name| offers(headers, name)) else {
        return Err(ApiError::bad_request("The WebSocket must offer the subprotocol mqtt"));
    };
    let accept = derive_accept_key(key.as_bytes());
    let origin = who::origin(request.extensions());
    let Some(permit) = front.admit(origin) else {
        return Err(ApiError::unavailable("There are too many MQTT clients"));
    };
    let line = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.line.clone());
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(socket) => {
                // It has its place among the clients of MQTT.
                line.inspect(super::line::Line::leave_place);
                front.serve_admitted(Frames::new(TokioIo::new(socket)), origin, permit).await;
            }
            Err(error) => tracing::debug!("a WebSocket for MQTT did not come about: {error}"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answered = response.headers_mut();
    answered.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answered.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answered.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    answered.insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse().map_err(ApiError::internal)?);
    Ok(response)
}

/// Whether a WebSocket of the only version that there is was asked for.
fn wants(headers: &HeaderMap) -> bool {
    is_upgrade(headers)
        && has_word(headers, &header::CONNECTION, "upgrade")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    has_word(headers, &header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

fn has_word(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
}
