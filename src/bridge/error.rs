//! One error body for everything that goes wrong, and what each cause becomes.

use std::{any::Any, time::Duration};

use axum::{
    Json,
    extract::OriginalUri,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use crate::{
    auth::{attempts::TooMany, password},
    domain::text::cut_to_bytes,
    events::intake::Busy,
    store,
    wire::{
        rest::{ErrorBody, Message},
        validation::{Faults, Unreadable},
    },
};

/// What a caller is asked to wait when something is busy or away.
const SOON: Duration = Duration::from_secs(1);

/// An answer that is no success.
#[derive(Debug)]
pub struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: Message,
    pub(super) retry_after: Option<Duration>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<Message>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// Nobody is signed in, or not any more.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    /// Somebody is, but may not do this.
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden resource")
    }

    /// `Camera with ID 9 not found`.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} with ID {id} not found"))
    }

    pub fn bad_request(message: impl Into<Message>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The body is larger than any that is right.
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large")
    }

    pub fn conflict(message: impl Into<Message>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// A fault of the hub's own: the cause goes to the log and nowhere else.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!("a request failed: {cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }

    /// Something is busy or away, and it is worth trying again.
    pub fn unavailable(message: &str) -> Self {
        Self { retry_after: Some(SOON), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // A 401 for want of a token never had the status in words, and clients compare the whole body.
        let bare = self.status == StatusCode::UNAUTHORIZED && self.message == "Unauthorized".into();
        let error = self.status.canonical_reason().filter(|_| !bare).map(str::to_owned);
        let body = ErrorBody { status_code: self.status.as_u16(), message: self.message, error };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Rounded up: a second too long is better than a second try in vain.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        if store::is_away(&error) {
            tracing::warn!("the database is away: {error}");
            return Self::unavailable("The database is not available");
        }
        Self::internal(error)
    }
}

impl From<Unreadable> for ApiError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Malformed(words) => Self::bad_request(words),
            Unreadable::Faults(faults) => Self::bad_request(faults),
        }
    }
}

impl From<Faults> for ApiError {
    fn from(faults: Faults) -> Self {
        Self::bad_request(faults)
    }
}

impl From<TooMany> for ApiError {
    fn from(TooMany(wait): TooMany) -> Self {
        let too_many = Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts, try again later");
        Self { retry_after: Some(wait), ..too_many }
    }
}

impl From<password::Refused> for ApiError {
    fn from(refused: password::Refused) -> Self {
        match refused {
            password::Refused::Busy(_) => Self::unavailable("Too many sign-ins at once, try again soon"),
            password::Refused::Failed(cause) => Self::internal(cause),
        }
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        tracing::warn!("a report was turned away: {busy}");
        Self::unavailable("The event cannot be stored now")
    }
}

/// The longest path that an answer repeats, in bytes.
const PATH_MAX: usize = 512;

fn cannot(method: &Method, uri: &Uri) -> String {
    format!("Cannot {} {}", cut_to_bytes(method.as_str(), PATH_MAX), cut_to_bytes(uri.path(), PATH_MAX))
}

/// No route of this name.
pub async fn unknown_route(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, cannot(&method, &uri))
}

/// A route, but not for this method.
pub async fn wrong_method(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, cannot(&method, &uri))
}

/// A handler panicked: a fault of ours, said in the log; the connection stays.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over like this")]
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(format_args!("a panic: {}", words.unwrap_or("of no words"))).into_response()
}
