//! What a setting's text means: each reads one kind of value, or says what is wanted instead, never with a secret in it.

use std::time::Duration;

use crate::domain::device::DeviceName;

/// Times: a number and its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let seconds = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    number
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .filter(|seconds| *seconds <= 366 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| "a time of at most a year is wanted, such as 24h, 30m or 90s".to_owned())
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "a number from 0 to 1 is wanted".to_owned())
}

/// What a browser sends as `Origin`: scheme, host and port, nothing after.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_one = |text: &str| {
        let url = url::Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text).then_some(())
    };
    if text == "*" || is_one(text).is_some() {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no origin; https://HOST or https://HOST:PORT is wanted, in small letters, with nothing after it"
    ))
}

/// A name that clients call the hub by, or all that end so.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text == "*" || (!name.is_empty() && !name.starts_with('.') && name.bytes().all(is_letter)) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("{text:?} is no host name; hub.example.org, *.example.org or * is wanted, without scheme and port"))
}

pub(super) fn filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; such as info, or portcullis=debug,info, is wanted")),
    }
}

pub(super) fn postgres_url(text: &str) -> Result<String, String> {
    let good = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    if good { Ok(text.to_owned()) } else { Err("postgres://user:password@host/name is wanted".to_owned()) }
}

pub(super) fn mqtt_url(text: &str) -> Result<String, String> {
    let good = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "mqtt" | "mqtts") && url.has_host());
    let has_zone =
        text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).is_some_and(|(host, _)| host.contains('%'));
    match (good, has_zone) {
        (true, _) => Ok(text.to_owned()),
        (false, true) => Err("an address with a zone (%eth0) is of one machine only and stands in no certificate; \
            the hub's name is wanted, or an address without a zone"
            .to_owned()),
        (false, false) => {
            Err("mqtt://HOST:PORT or mqtts://HOST:PORT is wanted, an IPv6 address as [ADDRESS]".to_owned())
        }
    }
}

/// As long as the hash that HS256 is made of (RFC 7518, 3.2).
pub(super) fn signing_key(text: &str) -> Result<String, String> {
    if text.len() >= 32 { Ok(text.to_owned()) } else { Err("a secret of at least 32 bytes is wanted".to_owned()) }
}

pub(super) fn password(text: &str) -> Result<String, String> {
    if text.chars().count() >= 8 { Ok(text.to_owned()) } else { Err("at least 8 characters are wanted".to_owned()) }
}

pub(super) fn device_name(text: &str) -> Result<String, String> {
    match text.parse::<DeviceName>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        for wrong in ["", "h", "0s", "-1h", "1w", "1.5h", "99999999999999999999d", "9999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_hub_is_named_by_a_name_or_an_address() {
        for right in [
            "mqtt://hub",
            "mqtts://hub.example.:8883",
            "mqtts://[::1]:8883",
            "mqtts://192.0.2.1",
            "mqtt://[2001:db8::1]",
        ] {
            assert!(mqtt_url(right).is_ok(), "{right}");
        }
        for wrong in ["hub", "mqtt:hub", "mqtts://", "http://hub", "mqtts://::1:8883", "mqtts://[::1", "mqtts://[hub]"]
        {
            assert!(mqtt_url(wrong).is_err_and(|why| why.contains("[ADDRESS]")), "{wrong}");
        }
        for zoned in ["mqtts://[fe80::1%25eth0]:8883", "mqtt://[fe80::1%eth0]"] {
            assert!(mqtt_url(zoned).is_err_and(|why| why.contains("zone")), "{zoned}");
        }
    }

    #[test]
    fn an_origin_has_nothing_after_its_port() {
        for right in ["*", "http://localhost:3000", "https://door.example", "http://[::1]:3000"] {
            assert!(origin(right).is_ok(), "{right}");
        }
        for wrong in ["", "localhost:3000", "https://door.example/", "https://Door.example", "ftp://a", "https://a:443"]
        {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_between_0_and_1() {
        assert_eq!(share("0.5"), Ok(0.5));
        for wrong in ["", "NaN", "-0.1", "1.1", "inf"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
