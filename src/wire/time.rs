//! Times on the wire: RFC 3339, UTC, milliseconds, `Z`. Any RFC 3339 is read.

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use serde::Serializer;

/// The time as it stands in every answer: `2026-11-22T09:30:00.000Z`.
#[must_use]
pub fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The time, cut to the milliseconds that answers show, so that what is stored is what is shown.
#[must_use]
pub fn millis(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(3)
}

/// For `#[serde(serialize_with)]`.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// For `#[serde(serialize_with)]` on an optional time.
///
/// # Errors
/// The serializer's own.
pub fn serialize_option<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}
