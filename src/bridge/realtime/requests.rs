//! What a client may ask for over its socket.

use std::sync::Arc;

use chrono::Utc;
use serde_json::{Value, json, value::to_raw_value};
use socketioxide::extract::{AckSender, SocketRef, State, TryData};
use tokio::sync::Mutex;

use super::Context;
use crate::{
    domain::{
        camera::CameraId,
        event::{Event, EventId},
        text::is_blank,
    },
    store::{self, events::Filter},
    wire::{event::EventJson, time, validation::whole_double},
};

/// How many unresolved events are told.
const UNRESOLVED: i64 = 50;
/// The most events in one answer.
const LIMIT_MAX: i64 = 500;

/// A sentence for the event `exception`.
type Fault = String;

/// Registers the answers to all that the client may ask.
pub fn answer(socket: &SocketRef) {
    socket.extensions.insert(Turn::default());
    socket.on(
        "subscribe:camera",
        async |socket: SocketRef, State(context): State<Context>, TryData(data): Arguments, ack: AckSender| {
            let answer = subscribe(&socket, &context, &data.unwrap_or_default()).await;
            reply(&socket, &context, ack, "subscription:confirmed", answer);
        },
    );
    socket.on(
        "unsubscribe:camera",
        async |socket: SocketRef, State(context): State<Context>, TryData(data): Arguments, ack: AckSender| {
            let answer = unsubscribe(&socket, &data.unwrap_or_default());
            reply(&socket, &context, ack, "unsubscription:confirmed", answer);
        },
    );
    socket.on(
        "request:latest-events",
        async |socket: SocketRef, State(context): State<Context>, TryData(data): Arguments, ack: AckSender| {
            let data = data.unwrap_or_default();
            in_turn(&socket, &context, ack, "latest:events", latest(&context, &data)).await;
        },
    );
    socket.on(
        "request:events-since",
        async |socket: SocketRef, State(context): State<Context>, TryData(data): Arguments, ack: AckSender| {
            let data = data.unwrap_or_default();
            in_turn(&socket, &context, ack, "events:since", since(&context, &data)).await;
        },
    );
    socket.on(
        "request:unresolved-events",
        async |socket: SocketRef, State(context): State<Context>, ack: AckSender| {
            in_turn(&socket, &context, ack, "unresolved:events", unresolved(&context)).await;
        },
    );
    socket.on("ping", async |socket: SocketRef, State(context): State<Context>, ack: AckSender| {
        reply(&socket, &context, ack, "pong", Ok(json!({"timestamp": now()})));
    });
}

/// Whatever the client sent with the event; nothing at all reads as `null`.
type Arguments = TryData<Value>;

fn now() -> String {
    time::text(Utc::now())
}

/// Held while a socket's question is put to the database: one that asks much at once waits for itself, not others for it.
#[derive(Debug, Clone, Default)]
struct Turn(Arc<Mutex<()>>);

/// Answers with what the database says, one question of a socket after the other. Those that it asked before may have
/// made an end of it meanwhile; then nobody is asked any more.
async fn in_turn(
    socket: &SocketRef,
    context: &Context,
    ack: AckSender,
    event: &str,
    answer: impl Future<Output = Result<Value, Fault>>,
) {
    let Some(Turn(turn)) = socket.extensions.get() else { return };
    let _turn = turn.lock().await;
    let is_dropped = || !socket.connected() || context.sessions.is_too_slow(socket.id);
    if is_dropped() {
        return;
    }
    let answer = answer.await;
    if !is_dropped() {
        reply(socket, context, ack, event, answer);
    }
}

/// Sends the answer as an event, and to the acknowledgement if the client wants one. A client that asks and does not read
/// the answers is dropped.
fn reply(socket: &SocketRef, context: &Context, ack: AckSender, event: &str, answer: Result<Value, Fault>) {
    let (event, answer) = match answer {
        Ok(answer) => (event, answer),
        Err(message) => ("exception", json!({"status": "error", "message": message})),
    };
    let Ok(answer) = to_raw_value(&answer) else { return };
    // A socket that is full is found and dropped where events are told.
    let _ = socket.emit(event, &(&*answer,));
    let _ = ack.send(&(&*answer,));
    if !context.sessions.owe(socket.id, answer.get().len()) {
        socket.leave(super::EVERYBODY);
        context.sessions.too_slow(socket.id);
    }
}

/// A whole number as programs in JavaScript send it: a number, or the text of one that was a part of an address or the
/// value of a field of a form. A blank text is as good as nothing.
fn whole(data: &Value, name: &str) -> Result<Option<i64>, Fault> {
    let number = match data.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if is_blank(text) => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_i64().or_else(|| value.as_f64().and_then(whole_double)),
    };
    number.map(Some).ok_or_else(|| format!("{name} must be an integer number"))
}

fn limit(data: &Value, usual: i64) -> Result<i64, Fault> {
    match whole(data, "limit")?.unwrap_or(usual) {
        limit if limit < 1 => Err("limit must not be less than 1".to_owned()),
        limit if limit > LIMIT_MAX => Err(format!("limit must not be greater than {LIMIT_MAX}")),
        limit => Ok(limit),
    }
}

fn camera(data: &Value) -> Result<CameraId, Fault> {
    // The id alone, without an object around it, is clear enough.
    let alone = (data.is_number() || data.is_string()).then(|| json!({"cameraId": data}));
    let id = whole(alone.as_ref().unwrap_or(data), "cameraId")?.ok_or("cameraId must be an integer number")?;
    i32::try_from(id).map(CameraId).map_err(|_| format!("Camera with ID {id} not found"))
}

fn room(camera: CameraId) -> String {
    format!("camera:{camera}")
}

fn away(error: &store::Error) -> Fault {
    tracing::warn!("a socket's request failed: {error}");
    "The database is not available".to_owned()
}

async fn subscribe(socket: &SocketRef, context: &Context, data: &Value) -> Result<Value, Fault> {
    let id = camera(data)?;
    // Only rooms of cameras that exist, so that a client cannot make rooms without end.
    if store::cameras::by_id(&context.database, id).await.map_err(|error| away(&error))?.is_none() {
        return Err(format!("Camera with ID {id} not found"));
    }
    socket.join(room(id));
    Ok(json!({"room": room(id), "message": format!("Subscribed to camera {id}")}))
}

fn unsubscribe(socket: &SocketRef, data: &Value) -> Result<Value, Fault> {
    let id = camera(data)?;
    socket.leave(room(id));
    Ok(json!({"room": room(id), "message": format!("Unsubscribed from camera {id}")}))
}

fn shown(events: &[Event]) -> Value {
    json!({"events": events.iter().map(EventJson::from).collect::<Vec<_>>(), "count": events.len(), "timestamp": now()})
}

async fn latest(context: &Context, data: &Value) -> Result<Value, Fault> {
    let limit = limit(data, 10)?;
    let events = store::events::list(&context.database, &Filter::default(), limit, 0).await;
    Ok(shown(&events.map_err(|error| away(&error))?))
}

async fn since(context: &Context, data: &Value) -> Result<Value, Fault> {
    let after = whole(data, "eventId")?.ok_or("eventId must be an integer number")?;
    let limit = limit(data, LIMIT_MAX)?;
    // One more than is told, to know whether there is more.
    let events = store::events::since(&context.database, EventId(after), limit + 1).await;
    let mut events = events.map_err(|error| away(&error))?;
    let told = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = events.len() > told;
    events.truncate(told);
    let mut answer = shown(&events);
    answer["more"] = more.into();
    Ok(answer)
}

async fn unresolved(context: &Context) -> Result<Value, Fault> {
    let filter = Filter { is_resolved: Some(false), ..Filter::default() };
    let events = store::events::list(&context.database, &filter, UNRESOLVED, 0).await;
    Ok(shown(&events.map_err(|error| away(&error))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_in_every_form_that_javascript_sends() {
        let one = Ok(Some(1));
        let fault = Err("limit must be an integer number".to_owned());
        let cases = [
            (json!({"limit": 1}), one.clone()),
            (json!({"limit": 1.0}), one.clone()),
            (json!({"limit": "1"}), one.clone()),
            (json!({"limit": " 01\n"}), one.clone()),
            (json!({"limit": "+1"}), one),
            (json!({"limit": -0.0}), Ok(Some(0))),
            (json!({"limit": "-5"}), Ok(Some(-5))),
            (json!({"limit": null}), Ok(None)),
            (json!({"limit": ""}), Ok(None)),
            (json!({}), Ok(None)),
            (json!(null), Ok(None)),
            (json!("limit"), Ok(None)),
            (json!({"limit": 1.5}), fault.clone()),
            (json!({"limit": "1.5"}), fault.clone()),
            (json!({"limit": "1x"}), fault.clone()),
            (json!({"limit": "0x1"}), fault.clone()),
            (json!({"limit": 1e300}), fault.clone()),
            (json!({"limit": "99999999999999999999"}), fault.clone()),
            (json!({"limit": true}), fault.clone()),
            (json!({"limit": [1]}), fault.clone()),
            (json!({"limit": {}}), fault),
        ];
        for (data, right) in cases {
            assert_eq!(whole(&data, "limit"), right, "{data}");
        }
    }

    #[test]
    fn a_camera_is_named_with_or_without_an_object() {
        for data in [json!({"cameraId": 7}), json!({"cameraId": "7"}), json!(7), json!("7"), json!(7.0)] {
            assert_eq!(camera(&data), Ok(CameraId(7)), "{data}");
        }
        for data in [json!({}), json!(null), json!({"cameraId": ""}), json!(""), json!([7]), json!({"cameraId": "a"})] {
            assert_eq!(camera(&data), Err("cameraId must be an integer number".to_owned()), "{data}");
        }
        assert_eq!(camera(&json!("99999999999")), Err("Camera with ID 99999999999 not found".to_owned()));
    }
}
