//! The hub's own dashboard, which the program carries: what `scripts/web` has built from `web/` into `web/dist`.
//!
//! Must not know what the pages show: they ask REST and Socket.io like any other client. It serves the files, says what a
//! browser may do with them, and tells a page the few things of the hub that no other call does.

mod live_view;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use include_dir::{Dir, File, include_dir};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::{
    Settings, Shared,
    error::{self, ApiError},
    who::SignedIn,
};
use crate::lock_desk::LockDesk;

static BUILT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web/dist");

/// The page, which shows by its address what was asked for.
const PAGE: &str = "index.html";
/// The addresses that the page knows. Any other is no page, and answers as an unknown route does.
const PAGES: [&str; 11] = [
    "/",
    "/sign-in",
    "/events",
    "/events/{id}",
    "/charts",
    "/door",
    "/cameras",
    "/devices",
    "/users",
    "/system",
    "/profile",
];
/// Files of their own names, beside those below `/assets/`, whose names change with their content.
const FILES: [&str; 6] =
    ["favicon.svg", "icon-192.png", "icon-512.png", "icon-maskable.png", "manifest.webmanifest", "licences.txt"];
/// What the page may do: load what the hub serves, talk to the hub, and nothing else; a camera's live view is a page of
/// its own in a frame. No script or style stands in the page itself, and no script can make a string into code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// For names that change with their content.
const FOREVER: &str = "public, max-age=31536000, immutable";
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

/// The page and what it loads.
pub(super) fn routes(shared: &Shared) -> Router {
    let live_view = post(live_view::page).with_state(shared.clone());
    let mut router = Router::new().route("/assets/{name}", get(asset)).route("/live-view", live_view);
    for path in PAGES {
        router = router.route(path, get(async |headers: HeaderMap| fixed(PAGE, &headers)));
    }
    for name in FILES {
        router = router.route(&format!("/{name}"), get(async move |headers: HeaderMap| fixed(name, &headers)));
    }
    router
}

async fn asset(Path(name): Path<String>, method: Method, uri: OriginalUri) -> Result<Response, ApiError> {
    match BUILT.get_file(format!("assets/{name}")) {
        Some(file) => Ok(([(header::CACHE_CONTROL, FOREVER)], content(file)).into_response()),
        None => Err(error::unknown_route(method, uri).await),
    }
}

/// A file whose name stays: a browser asks each time whether it is still the same.
fn fixed(name: &str, asked: &HeaderMap) -> Response {
    let Some(file) = BUILT.get_file(name) else {
        return ApiError::internal(format_args!("the dashboard was built without {name}")).into_response();
    };
    let tag = tag(file.contents());
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|tags| tags.split(',')).any(|known| known.trim() == tag);
    let kept = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, tag.as_str())];
    let mut response =
        if is_known { (StatusCode::NOT_MODIFIED, kept).into_response() } else { (kept, content(file)).into_response() };
    if name == PAGE {
        // With a 304 too: its headers take the place of those that the browser has kept.
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        let nothing = "camera=(), microphone=(), geolocation=(), payment=(), usb=()";
        headers.insert(PERMISSIONS, HeaderValue::from_static(nothing));
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    }
    response
}

/// A weak tag: the answer may be compressed, in more than one way.
fn tag(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut tag = "W/\"".to_owned();
    for byte in &Sha256::digest(bytes)[..12] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}

fn content(file: &'static File<'static>) -> Response {
    let ending = file.path().extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let kind = match ending {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        _ => "text/plain; charset=utf-8",
    };
    ([(header::CONTENT_TYPE, kind)], file.contents()).into_response()
}

/// What a dashboard has to know of the hub before it can show times and offer what is switched on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The hub's version.
    pub version: &'static str,
    /// The IANA name of the zone that "today", hours and days are in.
    pub time_zone: &'static str,
    /// Whether an ADMIN may hold the door open.
    pub lock_hold_open: bool,
}

/// The hub itself: its version, its time zone, and what is switched on.
#[utoipa::path(get, path = "/api/hub", tag = "hub", security(("bearer" = [])), responses((status = 200, body = About)))]
pub async fn about(_: SignedIn, State(settings): State<Arc<Settings>>, State(lock): State<LockDesk>) -> Json<About> {
    Json(About { version: settings.version, time_zone: settings.time_zone.name(), lock_hold_open: lock.may_be_held() })
}
