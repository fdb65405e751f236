//! A PostgreSQL for the tests: the one that `TEST_DATABASE_URL` names, or one that this test process starts in a
//! temporary folder. Each test gets a database of its own.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use portcullis::store::{self, Address, Database, Gate, private::Private};

static URL: OnceLock<String> = OnceLock::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// An empty database with the schema in place.
pub async fn database() -> Database {
    let database = Address::parse(&create().await).expect("an address").open(10);
    store::migrate(&database).await.expect("a schema");
    database
}

/// The same behind a gate, which is open.
pub async fn gated() -> (Database, Gate) {
    let (database, gate) = Address::parse(&create().await).expect("an address").gated(10);
    gate.open();
    store::migrate(&database).await.expect("a schema");
    (database, gate)
}

/// The server's URL, with a database that is none of the tests'.
fn url() -> &'static str {
    URL.get_or_init(|| {
        let given = std::env::var("TEST_DATABASE_URL").ok();
        // On a thread with a runtime of its own: the server must outlive the test that starts it.
        given.unwrap_or_else(|| std::thread::spawn(start).join().expect("a server"))
    })
}

/// A way to the server that goes past the tests' databases, to take one of them away.
pub fn maintenance() -> Database {
    Address::parse(url()).expect("an address").open(1)
}

/// The URL of a new, empty database.
pub async fn create() -> String {
    let url = url();
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let maintenance = maintenance();
    store::create_database(&maintenance, &name).await.expect("a database");
    maintenance.close().await;
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, query)| (base, query));
    let server = base.rsplit_once('/').expect("a path").0;
    format!("{server}/{name}?{query}")
}

/// Starts a server that ends with this process, however the process ends: a shell waits for the end of a pipe that the
/// process holds open.
fn start() -> String {
    // Not below TMPDIR, whose path may be too long for a Unix socket or closed to the user postgres.
    let folder = PathBuf::from(format!("/tmp/portcullis-test-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // Many hubs of many tests are its clients, each with a pool.
    let mut private = Private::prepare(&folder, 400).expect("a server's programs");
    runtime.block_on(private.bring_up()).expect("a server");
    let undertaker = Command::new("/bin/sh")
        .args([
            "-c",
            r#"read -r end; kill -INT "$(head -n 1 "$1/postgres/cluster/postmaster.pid")"; sleep 1; rm -r "$1""#,
            "sh",
        ])
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    std::mem::forget(undertaker);
    let url = private.url();
    std::mem::forget(private);
    url
}
