//! What happens to every request: an id, a line in the access log, limits, headers, compression, CORS, and an answer
//! even when a handler panics.

use std::{
    borrow::Cow,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::HttpBody as _,
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use socketioxide::layer::SocketIoLayer;
use tower::{Service, layer::layer_fn};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
};
use uuid::Uuid;

use super::{
    Settings,
    error::{self, ApiError},
    hosts,
    input::BODY_MAX,
    line::Peer,
    realtime::{Upgrades, is_upgrade},
    trailing_slash,
    who::{self, Recognised},
};
use crate::{
    auth::origin::{Address, Doubt},
    domain::pool::Standing,
    store::Database,
    telemetry::{log::excerpt, metrics::Metrics, rate::Rate, reading::Reading},
};

/// Where Socket.io is.
const SOCKET_IO: &str = "/socket.io/";
/// How many requests of people without a credential are logged at once, and one in which time after that: enough to see what
/// goes on, and 3 MB an hour at most.
const STRANGERS: (u32, Duration) = (200, Duration::from_millis(200));
const HELD_BACK: (&str, &str) = (
    "portcullis_http_requests_not_logged",
    "Requests without a credential that the log has no line of, because there were too many",
);
/// How often the same complaint may be logged, after the first few.
const EVERY: Duration = Duration::from_secs(10);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a page's script may read of an answer besides what it always may: when to try again, what to name in a report of a
/// fault, the hub's time, and what goes with files and their parts.
const EXPOSED: [HeaderName; 8] = [
    header::RETRY_AFTER,
    REQUEST_ID,
    header::DATE,
    header::ETAG,
    header::ACCEPT_RANGES,
    header::CONTENT_RANGE,
    header::CONTENT_DISPOSITION,
    header::WWW_AUTHENTICATE,
];
/// For how long a browser need not ask again whether a page may: the longest that Chromium keeps it. The answer to a
/// page that is welcome is the same until `CORS_ORIGIN` changes, and the request itself is judged anew each time.
const PREFLIGHT_KEPT: Duration = Duration::from_hours(2);

/// Puts around the routes what each needs, and beside them the ways to a socket.
pub fn around(
    router: Router,
    socket_io: SocketIoLayer,
    mqtt: MethodRouter,
    settings: &Arc<Settings>,
    upgrades: Upgrades,
    database: Database,
    metrics: &Metrics,
) -> Router {
    let accounting = Arc::new(Accounting {
        settings: settings.clone(),
        metrics: metrics.clone(),
        unreadable: Rate::new(5, EVERY),
        strangers: Rate::new(STRANGERS.0, STRANGERS.1),
        held_back: Arc::default(),
    });
    let held_back = accounting.held_back.clone();
    metrics.ask(move || vec![Reading::counter(HELD_BACK.0, HELD_BACK.1, held_back.load(Relaxed))]);
    let inner = (CompressionLayer::new(), CatchPanicLayer::custom(error::panicked), DefaultBodyLimit::max(BODY_MAX));
    let router = router.fallback(error::unknown_route).method_not_allowed_fallback(error::wrong_method).layer(inner);
    // Made into a service here, so that both of its clones answer from the same sessions.
    let socket_io = any(error::unknown_route).layer(socket_io).with_state::<()>(());
    upgrades.answered_by(Router::new().route(SOCKET_IO, socket_io.clone()));
    let door = Arc::new(Door { settings: settings.clone(), database, upgrades });
    let sockets = Router::new().route(SOCKET_IO, socket_io).route("/mqtt", mqtt).layer(from_fn_with_state(door, admit));
    // In one tuple, outermost first: each `layer` of a router puts every route into one more box, and all of them are copied
    // for each request.
    let account = layer_fn(move |inner| Account { accounting: accounting.clone(), inner });
    let router = router.merge(sockets).layer((account, cors(settings)));
    Router::new().fallback_service(trailing_slash::Forgiving(router))
}

/// What a request for a socket has to pass, and what is noted of it meanwhile.
struct Door {
    settings: Arc<Settings>,
    database: Database,
    upgrades: Upgrades,
}

/// What each request is counted and logged with.
struct Accounting {
    settings: Arc<Settings>,
    metrics: Metrics,
    /// How often it is logged that a proxy's words cannot be read.
    unreadable: Rate,
    /// How often a request of somebody without a credential is logged.
    strangers: Rate,
    /// How many of theirs were not.
    held_back: Arc<AtomicU64>,
}

impl Accounting {
    /// A proxy that writes what cannot be read makes all its clients one.
    fn tell_unreadable(&self, headers: &HeaderMap) {
        let Some(held_back) = self.unreadable.pass(Instant::now()) else { return };
        let lines = headers.get_all("x-forwarded-for").iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let lines: Vec<_> = lines.collect();
        tracing::warn!(
            forwarded = %excerpt(&lines.join(", ")),
            held_back,
            "a trusted proxy's X-Forwarded-For names no address: its client is one unknown to the hub, and may not work the \
             lock by MQTT"
        );
    }
}

/// Turns away who may not have a socket, or not now.
async fn admit(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if let Err(refused) = check_origin(&door.settings, &request).and_then(|()| put_off(&door.database, &request)) {
        return refused.into_response();
    }
    note_session(&door.upgrades, request, next).await
}

/// Whether a browser on a page of this origin may talk to the hub.
fn is_welcome(settings: &Settings, origin: &HeaderValue) -> bool {
    settings.origins.iter().any(|welcome| welcome == "*" || welcome.as_bytes() == origin.as_bytes())
}

fn cors(settings: &Arc<Settings>) -> CorsLayer {
    let settings = settings.clone();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| is_welcome(&settings, origin)))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // Whatever it asks for: tracing and other libraries add headers of their own, and none of them is a right.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_KEPT)
        .allow_credentials(true)
}

/// Takes back what the layer says of CORS to a page that is not welcome, and to whoever is no page.
fn hide_cors(headers: &mut HeaderMap) {
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    for name in [
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        header::ACCESS_CONTROL_MAX_AGE,
    ] {
        headers.remove(name);
    }
}

/// Browsers let any page open a WebSocket anywhere, and only say from where: so this is where pages are turned away that
/// CORS would. A client without an origin is no browser.
fn check_origin(settings: &Settings, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    match headers.get(header::ORIGIN) {
        Some(origin) if is_upgrade(headers) && !is_welcome(settings, origin) && !is_own(origin, headers) => {
            Err(ApiError::forbidden())
        }
        _ => Ok(()),
    }
}

/// Puts new Socket.io sessions off while the database is away and nobody can say whose they are. A client comes back by
/// itself after this, and not after a session that was refused.
fn put_off(database: &Database, request: &Request) -> Result<(), ApiError> {
    let uri = request.uri();
    let begins = uri.path() == SOCKET_IO && !uri.query().is_some_and(|query| query.contains("sid="));
    if begins && !database.is_here() {
        return Err(ApiError::unavailable("The database is not available"));
    }
    Ok(())
}

/// Goes on, and notes which connection a Socket.io session goes on by when it is upgraded to a WebSocket, and how much went
/// out to one that polls.
async fn note_session(upgrades: &Upgrades, request: Request, next: Next) -> Response {
    let query = request.uri().query().filter(|_| request.uri().path() == SOCKET_IO);
    let session = query.and_then(|query| url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "sid"));
    let Some(session) = session.and_then(|(_, id)| id.parse().ok()) else { return next.run(request).await };
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    if let (true, Some(ConnectInfo(peer))) = (is_upgrade(request.headers()), peer) {
        upgrades.note(session, peer.line.clone());
    }
    if upgrades.is_known(session) {
        who::recognise(request.extensions(), Standing::Common);
    }
    let is_poll = request.method() == Method::GET;
    let response = next.run(request).await;
    if is_poll && let Some(bytes) = response.body().size_hint().exact() {
        upgrades.polled(session, bytes);
    }
    response
}

/// Whether the page came from the hub itself.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    host.is_some() && host == origin
}

/// Gives each request an id, the log one line of it, and the metrics its count. Of a detection that was taken the log has a
/// line only where `debug` is logged. A service and no function for `from_fn`, which would copy all that is inside once
/// more for each request.
#[derive(Clone)]
struct Account<S> {
    accounting: Arc<Accounting>,
    inner: S,
}

impl<S> Service<Request> for Account<S>
where
    S: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let entry = Entry::of(&mut request, self.accounting.clone());
        let line = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.line.clone());
        let welcome = hosts::check(&self.accounting.settings, &request);
        let answered = welcome.map(|()| self.inner.call(request));
        async move {
            let mut response = match answered {
                Ok(answered) => answered.await?.into_response(),
                Err(refused) => refused.into_response(),
            };
            if line.is_some_and(|line| line.was_late()) {
                response =
                    ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time").into_response();
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            entry.close(&mut response);
            Ok(response)
        }
        .boxed()
    }
}

/// What is known of a request before it is answered.
struct Entry {
    accounting: Arc<Accounting>,
    begun: Instant,
    id: Uuid,
    method: Method,
    path: String,
    recognised: Recognised,
    route: Option<MatchedPath>,
    client: Address,
}

impl Entry {
    fn of(request: &mut Request, accounting: Arc<Accounting>) -> Self {
        let origin = who::settle_origin(request, &accounting.settings);
        if origin.doubt() == Some(Doubt::Unreadable) {
            accounting.tell_unreadable(request.headers());
        }
        let recognised = Recognised::default();
        request.extensions_mut().insert(recognised.clone());
        Self {
            recognised,
            begun: Instant::now(),
            id: Uuid::now_v7(),
            method: request.method().clone(),
            path: excerpt(request.uri().path()).into_owned(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            client: origin.address(),
            accounting,
        }
    }

    fn close(self, response: &mut Response) {
        let (status, took) = (response.status(), self.begun.elapsed());
        self.accounting.metrics.answered(known(&self.method), pattern(self.route.as_ref()), status.as_u16(), took);
        self.log(status, took);
        secure(response, &self.path);
        hide_cors(response.headers_mut());
        let mut written = Uuid::encode_buffer();
        if let Ok(id) = HeaderValue::from_str(self.id.hyphenated().encode_lower(&mut written)) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
    }

    fn log(&self, status: StatusCode, took: Duration) {
        let Self { accounting, id, path, client: address, .. } = self;
        let (method, latency_ms) = (excerpt(self.method.as_str()), took.as_secs_f64() * 1000.0);
        let signs_in = matches!(&**path, "/auth/login" | "/auth/register") && status.is_success();
        if self.method == Method::POST && path == "/api/events" && status.is_success() {
            // As many as detections by MQTT, of which the log has no line either.
            let status = status.as_u16();
            tracing::debug!(request.id = %id, client.address = %address, %method, path, status, latency_ms, "request");
            return;
        }
        let held_back = if self.recognised.get() || signs_in {
            None
        } else if let Some(held_back) = accounting.strangers.pass(Instant::now()) {
            Some(held_back).filter(|held_back| *held_back > 0)
        } else {
            accounting.held_back.fetch_add(1, Relaxed);
            return;
        };
        let status = status.as_u16();
        tracing::info!(
            request.id = %id, client.address = %address, %method, path, status, latency_ms, held_back, "request"
        );
    }
}

/// The method, or one word for all that no route has.
fn known(method: &Method) -> &'static str {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    methods.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The pattern that a path matched. What is asked for on no route counts as one, whatever it is.
fn pattern(route: Option<&MatchedPath>) -> Cow<'static, str> {
    route.map_or("none".into(), |route| route.as_str().to_owned().into())
}

/// What a browser may do with an answer: nothing but read it, except for the page of the documentation.
fn secure(response: &mut Response, path: &str) {
    let policy = if path.starts_with("/docs") {
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    let headers = response.headers_mut();
    // The dashboard has brought a policy of its own, and a page of it may stand in a frame of the dashboard's.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
    headers.entry(header::X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    let fixed = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::REFERRER_POLICY, "no-referrer")];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Answers hold what only this caller may see.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::auth::rights::Rights;

    /// What was logged meanwhile.
    #[derive(Clone, Default)]
    struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings() -> Arc<Settings> {
        Arc::new(Settings {
            origins: Vec::new(),
            trusted_proxies: crate::auth::origin::Proxies::default(),
            registration: super::super::Registration::Closed,
            heartbeat: super::super::Heartbeat::default(),
            time_zone: chrono_tz::UTC,
            rights: Rights::default(),
            hosts: super::super::Hosts::default(),
            connections: super::super::ConnectionLimits::default(),
            version: "0.0.0-test",
            metrics_elsewhere: false,
        })
    }

    /// Asks on an open connection, and answers the head and the body.
    async fn ask(connection: &mut TcpStream, path: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: hub\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("a server that reads");
        let mut answer = String::new();
        loop {
            let mut bytes = [0; 4096];
            let count = connection.read(&mut bytes).await.expect("an answer");
            assert!(count > 0, "the connection ended after {answer:?}");
            answer.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if body.len() >= length.parse().expect("a number") {
                return (head.to_owned(), body.to_owned());
            }
        }
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_logged_and_the_connection_stays() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        // The runtime of this test has one thread, so that the server's lines come here too.
        let _logging = tracing::subscriber::set_default(subscriber);
        let pages = Router::new()
            .route("/well", get(async || "well"))
            .route("/ill", get(async || -> &'static str { panic!("a secret: {}", 42) }));
        let (socket_io, _) = socketioxide::SocketIo::new_layer();
        let nowhere = crate::store::Address::parse("postgres://nobody@localhost/nothing").expect("an address").open(1);
        let (mqtt, upgrades) = (get(async || ""), Upgrades::default());
        let router = around(pages, socket_io, mqtt, &settings(), upgrades, nowhere, &Metrics::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let connections = super::super::Connections::new(
            super::super::ConnectionLimits::default(),
            crate::auth::origin::Proxies::default(),
        );
        let server = tokio::spawn(super::super::serve(listener, router, connections, stop.clone()));
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        for _ in 0..2 {
            let (head, body) = ask(&mut connection, "/ill").await;
            assert!(head.starts_with("HTTP/1.1 500 ") && head.contains("x-request-id: "), "{head}");
            let error = r#"{"statusCode":500,"message":"Internal server error","error":"Internal Server Error"}"#;
            assert_eq!(body, error);
        }
        assert_eq!(ask(&mut connection, "/well").await.1, "well");
        drop(connection);
        stop.cancel();
        server.await.expect("a server").expect("a listener");
        let log = String::from_utf8(log.0.lock().clone()).expect("text");
        assert_eq!(log.matches("a request failed: a panic: a secret: 42").count(), 2, "{log}");
        assert!(log.contains("path=\"/ill\" status=500"), "{log}");
    }
}
