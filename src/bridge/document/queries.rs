//! What handlers read by hand, as types that only describe it: parameters of queries, and answers of several shapes.

use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::{
    domain::event::{EventType, Kind},
    wire::{event::EventJson, rest::Ignored},
};

/// The parameters of lists of events.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct EventQuery {
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<i64>,
    #[param(minimum = 0, default = 0)]
    offset: Option<i64>,
    camera_id: Option<i32>,
    event_type: Option<EventType>,
    is_resolved: Option<bool>,
    /// Only events of the hub's own of this kind.
    kind: Option<Kind>,
    /// Only alerts about this camera.
    subject_camera_id: Option<i32>,
    /// Made at this time or later.
    from: Option<chrono::DateTime<chrono::Utc>>,
    /// Made at this time or earlier.
    to: Option<chrono::DateTime<chrono::Utc>>,
    /// Only ids below this one, whether or not it exists.
    before: Option<i64>,
}

/// The parameters of lists that are read backwards by id.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct CursorQuery {
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<i64>,
    /// Only ids below this one, whether or not it exists.
    before: Option<i64>,
}

/// The parameters of the analytics.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct AnalyticsQuery {
    from: Option<chrono::DateTime<chrono::Utc>>,
    to: Option<chrono::DateTime<chrono::Utc>>,
    /// `hour` when left out.
    #[param(inline)]
    bucket: Option<Bucket>,
    camera_id: Option<i32>,
}

/// What is to be explained.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub struct ExplainQuery {
    #[param(inline)]
    action: Action,
    /// A topic, or for a subscription a filter.
    #[param(min_length = 1, max_length = 4096, pattern = "^[^\\u0000]*$")]
    topic: String,
}

/// Hours or days.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub enum Bucket {
    Hour,
    Day,
}

/// What may be done with a topic.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "described here, read by `Query`")]
pub enum Action {
    Publish,
    Subscribe,
}

/// The 200 of POST /api/events: the event that was stored before, or that there was no person to be seen.
#[derive(Debug, serde::Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "described here, answered by the handler in its parts")]
pub enum Taken<'a> {
    Before(EventJson<'a>),
    Ignored(Ignored),
}

/// What a command to the lock comes to when it does not come to a confirmation.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "described here, made from the lock desk's own")]
pub enum LockFailures {
    /// The lock worker refuses, and says why
    #[response(status = 409)]
    Refused,
    /// More than 10 commands in 10 s
    #[response(status = 429)]
    TooOften,
    /// No lock worker is there, or the attempt could not be recorded
    #[response(status = 503)]
    NoWorker,
    /// No confirmation in 3 s. The command has ended; the lock's status tells what became of it
    #[response(status = 504)]
    NoConfirmation,
}
