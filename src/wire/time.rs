//! Times on the wire: written as RFC 3339, UTC, milliseconds, `Z`; read by one rule, [`read()`], wherever they come from.

use std::borrow::Cow;

use chrono::{DateTime, Datelike as _, SecondsFormat, SubsecRound as _, Utc};
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

/// What is said of a text that is no time.
pub const FAULT: &str = "must be a valid ISO 8601 date string";

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

/// Reads a time: any RFC 3339, and what programs write instead of it: a space for the `T`, `+0100` or `+01` for `+01:00`,
/// small letters, any number of fraction digits. An offset there must be: what is local time where it comes from is
/// anybody's guess here. A leap second is the first one of the minute after it, which is how databases keep it. None for
/// what is no time, or is in no year from 0 to 9999 of UTC, which no answer could write.
#[must_use]
pub fn read(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    // Only after a time of day: the last two digits of a date look the same.
    let hours_alone = text.len() > 13 && text.is_ascii() && matches!(text.as_bytes()[text.len() - 3], b'+' | b'-');
    let text = if hours_alone { Cow::Owned(format!("{text}:00")) } else { Cow::Borrowed(text) };
    // A year of more than four digits, with a sign, is chrono's own.
    let time = text.starts_with(|first: char| first.is_ascii_digit()).then(|| text.parse::<DateTime<Utc>>().ok())??;
    let time = DateTime::from_timestamp_micros(time.timestamp_micros())?;
    (0..=9999).contains(&time.year()).then_some(time)
}

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
/// What is wrong with the text, in [`FAULT`]'s words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    read(&text).ok_or_else(|| D::Error::custom(format_args!("a time {FAULT}")))
}

/// For `#[serde(default, deserialize_with)]` on an optional time.
///
/// # Errors
/// What is wrong with the text, in [`FAULT`]'s words.
pub fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    text.map(|text| read(&text).ok_or_else(|| D::Error::custom(format_args!("a time {FAULT}")))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_write_is_read_and_what_is_ambiguous_is_not() {
        let seven = Some("2026-11-27T18:00:00.000Z");
        let cases = [
            ("2026-11-27T19:00:00+01:00", seven),
            ("2026-11-27 19:00:00+0100", seven),
            ("2026-11-27T19:00:00+0100", seven),
            ("2026-11-27 19:00:00+01", seven),
            ("2026-11-27T18:00:00Z", seven),
            ("2026-11-27t18:00:00z", seven),
            (" 2026-11-27T18:00:00Z\n", seven),
            ("2026-11-27T18:00:00-00:00", seven),
            ("2026-11-27T18:00:00.000000000000999Z", seven),
            ("2026-11-27T12:30:00-05:30", seven),
            ("2026-11-27T12:00:00-06", seven),
            ("2026-11-27T18:00:00.9999999999Z", Some("2026-11-27T18:00:00.999Z")),
            ("2016-12-31T23:59:60Z", Some("2017-01-01T00:00:00.000Z")),
            ("2016-12-31T23:59:60.5Z", Some("2017-01-01T00:00:00.500Z")),
            ("2017-01-01T00:59:60+01:00", Some("2017-01-01T00:00:00.000Z")),
            ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00.000Z")),
            ("9999-12-31T23:59:59.999Z", Some("9999-12-31T23:59:59.999Z")),
            ("9999-12-31T23:59:59-01:00", None),
            ("0000-01-01T00:00:00+01:00", None),
            ("+12026-11-27T18:00:00Z", None),
            ("-0001-11-27T18:00:00Z", None),
            ("12026-11-27T18:00:00Z", None),
            ("2026-11-27T18:00:00", None),
            ("2026-11-27 18:00:00", None),
            ("2026-11-27", None),
            ("2026-11-27T24:00:00Z", None),
            ("2026-02-30T18:00:00Z", None),
            ("2026-11-27T18:00:61Z", None),
            ("1795802400", None),
            ("yesterday", None),
            ("", None),
            ("ä+01", None),
        ];
        for (given, right) in cases {
            assert_eq!(read(given).map(millis).map(text).as_deref(), right, "{given:?}");
        }
    }
}
