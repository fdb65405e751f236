//! One slash after a path is no other path: Express answered `/api/events/` as `/api/events`, and Next.js sends it.

use std::task::{Context, Poll};

use axum::{
    extract::Request,
    http::uri::{PathAndQuery, Uri},
};
use tower::Service;

/// Gives requests to the routes under the one path that each has.
#[derive(Debug, Clone)]
pub struct Forgiving<S>(pub S);

impl<S: Service<Request>> Service<Request> for Forgiving<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        if let Some(uri) = canonical(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.0.call(request)
    }
}

/// The address under which a path has its route, where that is not how it was asked for.
fn canonical(uri: &Uri) -> Option<Uri> {
    let path = canonical_path(uri.path())?;
    let asked = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(asked).ok()?);
    Uri::from_parts(parts).ok()
}

fn canonical_path(path: &str) -> Option<String> {
    match path {
        // Socket.io's own path has the slash; servers in JavaScript do without it.
        "/socket.io" => return Some("/socket.io/".to_owned()),
        // And the pages of the documentation name one another relative to their folder.
        "/socket.io/" | "/docs" | "/docs/" => return None,
        _ => {}
    }
    let shorter = path.strip_suffix('/').filter(|shorter| !shorter.is_empty() && !shorter.ends_with('/'))?;
    Some(shorter.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slash_is_forgiven_and_nothing_else_is() {
        let cases = [
            ("/api/events/", Some("/api/events")),
            ("/api/events/?limit=5&x=/", Some("/api/events?limit=5&x=/")),
            ("/api/events/?", Some("/api/events?")),
            ("/auth/login/", Some("/auth/login")),
            ("/mqtt/", Some("/mqtt")),
            ("http://hub:3000/api/events/?a=b", Some("http://hub:3000/api/events?a=b")),
            ("/socket.io?EIO=4", Some("/socket.io/?EIO=4")),
            ("/socket.io/?EIO=4", None),
            ("/docs/", None),
            ("/docs", None),
            ("/", None),
            ("//", None),
            ("/api/events", None),
            ("/api/events?x=/", None),
            ("/api/events//", None),
            ("/api/events///", None),
            ("/api/events/%2F", None),
            ("*", None),
        ];
        for (asked, right) in cases {
            let found = canonical(&asked.parse().expect("an address")).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), right, "{asked}");
        }
    }
}
