//! What comes with a request, read and checked: bodies, ids in paths, parameters in queries.

use std::{borrow::Cow, collections::HashMap, fmt, str::FromStr};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use chrono::{DateTime, Utc};

use super::{content_encoding::Encoding, error::ApiError};
use crate::{
    domain::text::is_blank,
    wire::{
        time,
        validation::{self, Body, Faults},
    },
};

/// The largest body, as it comes and decompressed, in bytes: larger than any description that fits its limit.
pub const BODY_MAX: usize = 64 * 1024;

/// A JSON body, checked against its published schema.
#[derive(Debug)]
pub struct Checked<T>(pub T);

impl<T: Body, S: Send + Sync> FromRequest<S> for Checked<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        Ok(Self(validation::read(&bytes)?))
    }
}

/// A body that is said to be JSON. None at all counts as an object without fields.
#[derive(Debug)]
pub struct JsonBytes(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let said = is_json(request.headers());
        let encoding = Encoding::of(request.headers())?;
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
            status => ApiError::new(status, "the body could not be read"),
        })?;
        let bytes = encoding.decode(bytes, BODY_MAX)?;
        match said {
            Some(true) => Ok(Self(bytes)),
            None if bytes.is_empty() => Ok(Self(Bytes::from_static(b"{}"))),
            _ => Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")),
        }
    }
}

/// Whether the content type is JSON; `None` where there is none.
fn is_json(headers: &HeaderMap) -> Option<bool> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")))
}

/// The one id in a path: a number, or digits too many for one, which no row can have.
#[derive(Debug, Clone)]
pub struct Id {
    text: String,
}

impl Id {
    /// The id as a number of its kind, if it can be one.
    pub fn number<N: FromStr>(&self) -> Option<N> {
        self.text.parse().ok()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `007` is 7.
        match self.number::<i64>() {
            Some(number) => number.fmt(f),
            None => f.write_str(&self.text),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let wrong = || ApiError::bad_request("Validation failed (numeric string is expected)");
        let parameters = RawPathParams::from_request_parts(parts, state).await.map_err(|_| wrong())?;
        let text = parameters.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let numeric = !digits.is_empty() && digits.len() <= 64 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if numeric { Ok(Self { text }) } else { Err(wrong()) }
    }
}

/// The parameters of a query. Those that nobody asks for are left alone; faults are gathered and told together.
#[derive(Debug)]
pub struct Query {
    parameters: HashMap<String, String>,
    faults: Vec<String>,
}

impl Query {
    fn text(&self, name: &str) -> Option<&str> {
        // `?limit=` is as good as no limit.
        self.parameters.get(name).map(String::as_str).filter(|text| !is_blank(text))
    }

    /// A whole number from `least` to `most`.
    pub fn integer(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let text = self.text(name)?;
        let fault = match text.parse::<i64>() {
            Ok(number) if number < least => format!("{name} must not be less than {least}"),
            Ok(number) if number > most => format!("{name} must not be greater than {most}"),
            Ok(number) => return Some(number),
            Err(_) => format!("{name} must be an integer number"),
        };
        self.faults.push(fault);
        None
    }

    /// How many are wanted, from 1 to 500; 50 if nothing is said.
    pub fn limit(&mut self) -> i64 {
        self.integer("limit", 1, 500).unwrap_or(50)
    }

    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.text(name)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.faults.push(format!("{name} must be a boolean value"));
                None
            }
        }
    }

    pub fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        // A `+` that was not encoded arrives as a space.
        let restored = text.rsplit_once(' ').map(|(rest, offset)| format!("{rest}+{offset}"));
        let time = time::read(text).or_else(|| time::read(&restored?));
        if time.is_none() {
            self.faults.push(format!("{name} {}", time::FAULT));
        }
        time
    }

    /// One of a few words.
    pub fn one_of<T: FromStr>(&mut self, name: &str, allowed: &[&str]) -> Option<T> {
        let text = self.text(name)?;
        let found = allowed.contains(&text).then(|| text.parse().ok()).flatten();
        if found.is_none() {
            self.faults.push(format!("{name} must be one of the following values: {}", allowed.join(", ")));
        }
        found
    }

    /// A text that has to be there.
    pub fn required(&mut self, name: &str, longest: usize) -> String {
        let fault = match self.text(name) {
            None => format!("{name} should not be empty"),
            Some(text) if text.chars().count() > longest => {
                format!("{name} must be shorter than or equal to {longest} characters")
            }
            Some(text) if text.contains('\0') => format!("{name} must not contain NUL"),
            Some(text) => return text.to_owned(),
        };
        self.faults.push(fault);
        String::new()
    }

    /// # Errors
    /// All faults of the parameters that were asked for.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(Faults::new(self.faults).into()) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let parameters = url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (owned(name), owned(value)));
        Ok(Self { parameters: parameters.collect(), faults: Vec::new() })
    }
}

fn owned(text: Cow<'_, str>) -> String {
    text.into_owned()
}
