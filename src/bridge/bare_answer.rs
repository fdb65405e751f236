//! What hyper answers by itself, before any route is asked: that a request is no HTTP, or that its address or its headers
//! are too long. It has no body then and hyper has no place to put one in, so it is found where it goes out, and is given
//! the body that every error here has.

use axum::http::StatusCode;
use bytes::Bytes;
use uuid::Uuid;

use crate::wire::rest::ErrorBody;

/// Says what is wrong, for each status that hyper answers so.
fn words(status: u16) -> Option<&'static str> {
    match status {
        400 => Some("The request is not valid HTTP/1.1"),
        414 => Some("The address of the request is too long"),
        431 => Some("The headers of the request are too large or too many"),
        _ => None,
    }
}

/// The answer to be sent in the place of `written`, if that is one of hyper's own and nothing else. Only for what begins
/// where an answer begins: a body may hold anything.
pub fn in_place_of(written: &[u8]) -> Option<Bytes> {
    let head = std::str::from_utf8(written.strip_suffix(b"\r\n\r\n")?).ok()?;
    let (version, rest) = head.split_at_checked("HTTP/1.1 ".len())?;
    if !matches!(version, "HTTP/1.1 " | "HTTP/1.0 ") {
        return None;
    }
    let code = rest.get(..3)?.parse().ok()?;
    let message = words(code)?;
    let mut lines = rest.split("\r\n").skip(1);
    // Answers of the routes have an id, which hyper does not give.
    if lines.any(|line| line.is_empty() || line.starts_with("x-request-id:")) {
        return None;
    }
    let status = StatusCode::from_u16(code).ok()?;
    let error = status.canonical_reason().map(str::to_owned);
    let body = serde_json::to_string(&ErrorBody { status_code: code, message: message.into(), error }).ok()?;
    let (length, id) = (body.len(), Uuid::now_v7());
    // The connection ends after it, which hyper does not say of itself.
    let answer = format!(
        "{version}{status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nx-request-id: {id}\r\n\r\n{body}"
    );
    Some(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_replaced() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let answer = in_place_of(bare.as_bytes()).expect("an answer");
        let answer = std::str::from_utf8(&answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["statusCode"], 431);
        assert_eq!(body["error"], "Request Header Fields Too Large");
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nx-request-id: 1\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 400 Bad Request\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-le",
            "HTTP/2.0 400 Bad Request\r\n\r\n",
            "HTTP/1.1 4",
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\r\n\r\n",
            "",
        ] {
            assert_eq!(in_place_of(other.as_bytes()), None, "{other}");
        }
    }
}
