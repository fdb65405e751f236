//! The hub's connections to Postgres, and whether Postgres is there.
//!
//! While it is away every question fails at once, and one that is on its way fails when Postgres goes: nobody waits for
//! a connection that cannot come, nor for an answer from a server that hangs. Whether it is there is said by whoever
//! holds the [`Gate`]; without one it always counts as there.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use parking_lot::{Mutex, RwLock};
use sqlx::{
    Connection as _, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::sync::watch;

use super::{Address, Error};

/// How long a caller waits for a free connection before the database counts as away.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long an idle connection may take to prove that it is alive before another one is made.
const PROOF: Duration = Duration::from_secs(1);
/// How long one that is kept may idle before it has to: the proof costs as much as a small commit, and one that answered a
/// moment ago needs none. Those of the pool always have to, because what they are for, a command to the lock say, is not
/// tried again.
const IDLE: Duration = Duration::from_millis(500);
/// How long a question may take; one connection can be dead while others are not.
const PATIENCE: Duration = Duration::from_secs(30);
/// When the server gives up a connection whose other end is silent, half a minute after the last word: else those that a
/// network has lost would take up its places, and hold their rows, for hours.
const SILENCE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30s"),
];
/// How statements are planned. Each for its arguments, because which month of events is asked for, and by which filter,
/// makes the plan. And in the order of an index wherever there is one: a month that PostgreSQL has no statistics of yet
/// seems to hold so little that it would be read and sorted as a whole for each page. What can only be sorted still is; its
/// price is then beyond all bounds, so that machine code would be made for it.
const PLANS: [(&str, &str); 3] = [("plan_cache_mode", "force_custom_plan"), ("enable_sort", "off"), ("jit", "off")];
/// Those who have a connection of their own: the recorder, the lock's audit, and who listens to notices.
const OWN: usize = 3;
/// After which an idle connection of the pool is let go; it is looked at as often. Others may need its place.
const LET_GO: Duration = Duration::from_secs(20);
/// How long connections may take to close.
const CLOSE: Duration = Duration::from_secs(3);

/// Whether Postgres is there and is this hub's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    pub is_here: bool,
    /// Since when it is so.
    pub since: Instant,
    /// Why it is away, for a person.
    pub why: Option<String>,
}

/// Says whether Postgres is there.
#[derive(Debug)]
pub struct Gate(watch::Sender<Availability>);

impl Gate {
    /// Postgres is there.
    pub fn open(&self) {
        self.turn(true, None);
    }

    /// Postgres is away: every question fails from now on, and those on their way fail.
    pub fn shut(&self, why: String) {
        self.turn(false, Some(why));
    }

    /// The reason may change while it is away; since when it is away does not.
    fn turn(&self, is_here: bool, why: Option<String>) {
        self.0.send_if_modified(|now| {
            let turned = now.is_here != is_here;
            let since = if turned { Instant::now() } else { now.since };
            let next = Availability { is_here, since, why };
            let changed = *now != next;
            *now = next;
            changed
        });
    }

    /// Whether it is there, and each change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Availability> {
        self.0.subscribe()
    }
}

/// Connections to the hub's database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Another one when the server has room for fewer or more than before.
    pool: Arc<RwLock<PgPool>>,
    /// Made before the gate opens, for the workers that have a connection of their own: whatever the pool does, they have
    /// their places.
    held: Arc<Mutex<Vec<PgConnection>>>,
    availability: watch::Receiver<Availability>,
}

impl Database {
    /// Connections that are made when they are first needed.
    #[must_use]
    pub fn open(address: &Address, connections: u32) -> Self {
        let (database, gate) = Self::gated(address, connections);
        gate.open();
        database
    }

    /// The same behind a gate, which is shut at first.
    #[must_use]
    pub fn gated(address: &Address, connections: u32) -> (Self, Gate) {
        let pool = pool(address.named("portcullis"), connections);
        let away = Availability { is_here: false, since: Instant::now(), why: Some("not reached yet".to_owned()) };
        let (sender, availability) = watch::channel(away);
        let (pool, held) = (Arc::new(RwLock::new(pool)), Arc::default());
        (Self { pool, held, availability }, Gate(sender))
    }

    /// Lets the pool have this many connections. Before the gate opens: who works with the pool as it was is cut off.
    pub fn resize(&self, connections: u32) {
        let old = self.pool();
        if old.options().get_max_connections() == connections {
            return;
        }
        *self.pool.write() = pool(old.connect_options().as_ref().clone(), connections);
        tokio::spawn(async move { old.close().await });
    }

    /// Makes the connections of those who have one of their own, before the gate opens and others take the places.
    ///
    /// # Errors
    /// When the database is away, or lets in no more.
    pub async fn hold_places(&self) -> Result<(), Error> {
        let mut held = Vec::with_capacity(OWN);
        for _ in 0..OWN {
            held.push(connect(&self.options(), &[]).await?);
        }
        // What was left of those before is of a time when the database was lost.
        *self.held.lock() = held;
        Ok(())
    }

    /// One more connection to the same database, behind the same gate, for a worker of its own, with other settings.
    #[must_use]
    pub fn kept<const N: usize>(&self, settings: [(&'static str, &'static str); N]) -> Kept {
        Kept { database: self.clone(), settings: settings.into(), connection: None }
    }

    fn options(&self) -> PgConnectOptions {
        self.pool.read().connect_options().as_ref().clone()
    }

    /// A connection for a worker of its own: one whose place was held, or else a new one.
    async fn own(&self, settings: &[(&str, &str)]) -> Result<PgConnection, Error> {
        loop {
            let held = self.held.lock().pop();
            let Some(mut connection) = held else { return connect(&self.options(), settings).await };
            if prove(&mut connection).await.is_ok() {
                set(&mut connection, settings).await?;
                return Ok(connection);
            }
        }
    }

    /// Whether it is there, and each change of it.
    #[must_use]
    pub fn availability(&self) -> watch::Receiver<Availability> {
        self.availability.clone()
    }

    /// Whether it is there now.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.availability.borrow().is_here
    }

    /// Waits until it is there.
    pub async fn available(&self) {
        let mut availability = self.availability.clone();
        if availability.wait_for(|now| now.is_here).await.is_err() {
            // Nobody is left who could open the gate.
            future::pending::<()>().await;
        }
    }

    /// Waits until it is away.
    pub async fn away(&self) {
        let mut availability = self.availability.clone();
        if availability.wait_for(|now| !now.is_here).await.is_err() {
            // Nobody is left who could shut the gate.
            future::pending::<()>().await;
        }
    }

    /// One of the connections.
    ///
    /// # Errors
    /// When the database is away, or all are in use for 3 s.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.unless_away(self.pool().acquire().boxed()).await
    }

    /// Begins a transaction on one of the connections.
    ///
    /// # Errors
    /// As [`Database::acquire`].
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        let pool = self.pool();
        self.unless_away(async move { pool.begin().await }.boxed()).await
    }

    /// A connection beside the others, for whoever must not wait for them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        self.unless_away(self.own(&[]).boxed()).await
    }

    /// A connection beside the others that hears notices.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn listener(&self) -> Result<PgListener, Error> {
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE);
        let own = own.after_connect(|connection, _| Box::pin(set(connection, &[])));
        let own = own.connect_lazy_with(self.options());
        let listening = async {
            // It has to make its connection by itself; this gives it the place.
            let held = self.held.lock().pop();
            if let Some(place) = held {
                place.close().await?;
            }
            PgListener::connect_with(&own).await
        };
        self.unless_away(listening.boxed()).await
    }

    /// The connections themselves, with no regard to the gate: for counting them and for what opens the gate.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        self.pool.read().clone()
    }

    /// Ends the connections. One that hangs is left behind.
    pub async fn close(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        let close = async {
            for connection in held {
                // One that is broken is closed as well.
                let _ = connection.close().await;
            }
            self.pool().close().await;
        };
        if tokio::time::timeout(CLOSE, close).await.is_err() {
            tracing::debug!("connections to the database were left open");
        }
    }

    async fn unless_away<T>(&self, attempt: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            error = self.failure(PATIENCE) => Err(error),
            done = attempt => done,
        }
    }

    fn failure(&self, limit: Duration) -> BoxFuture<'static, Error> {
        failure(self.availability.clone(), limit)
    }

    /// What `items` brings, or the failure in its place.
    fn guarded<'e, T: Send + 'e>(&self, items: BoxStream<'e, Result<T, Error>>) -> BoxStream<'e, Result<T, Error>> {
        let items = items.map(Some).chain(stream::once(future::ready(None)));
        let failure = self.failure(PATIENCE).map(|error| Some(Err(error))).into_stream();
        // The failure is looked at first, so that nothing is sent to a database that is away.
        let both = stream::select_with_strategy(failure, items, |(): &mut ()| stream::PollNext::Left);
        both.take_while(|item| future::ready(item.is_some())).filter_map(future::ready).boxed()
    }
}

/// Comes true when the database is away, or after the time that something may take.
fn failure(mut availability: watch::Receiver<Availability>, limit: Duration) -> BoxFuture<'static, Error> {
    let gone = async move {
        let why = availability.wait_for(|now| !now.is_here).await.ok().map(|away| away.why.clone());
        match why {
            Some(why) => why.unwrap_or_default(),
            // Nobody is left who could shut the gate.
            None => future::pending().await,
        }
    };
    async move {
        match tokio::time::timeout(limit, gone).await {
            Ok(why) => Error::Io(io::Error::new(io::ErrorKind::NotConnected, why)),
            Err(_) => Error::Io(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}"))),
        }
    }
    .boxed()
}

/// A connection that one worker keeps from one piece of work to the next: one out of a pool is asked for a sign of life
/// whenever it is taken and given back, which costs as much as a small commit.
#[derive(Debug)]
pub struct Kept {
    database: Database,
    settings: Vec<(&'static str, &'static str)>,
    /// And when it was last used. None until it is needed, and after a failure.
    connection: Option<(PgConnection, Instant)>,
}

impl Kept {
    /// Has the connection worked with, for no longer than `limit`. After a failure it is closed, and the next work gets a
    /// new one: its answer may never come, because the network has lost the connection without a word.
    ///
    /// # Errors
    /// The work's own; also when the database is away or goes away meanwhile, and after the limit. Then nobody knows what
    /// of the work was done.
    pub async fn within<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let failure = self.database.failure(limit);
        let attempt = async {
            let mut connection = match alive(self.connection.take()).await {
                Some(connection) => connection,
                None => self.database.own(&self.settings).await?,
            };
            let done = work(&mut connection).await?;
            self.connection = Some((connection, Instant::now()));
            Ok(done)
        };
        tokio::select! {
            biased;
            error = failure => Err(error),
            done = attempt => done,
        }
    }
}

/// The connection that was kept, unless it has idled for long and gives no sign of life any more.
async fn alive(kept: Option<(PgConnection, Instant)>) -> Option<PgConnection> {
    let (mut connection, used) = kept?;
    let is_alive = used.elapsed() < IDLE || prove(&mut connection).await.is_ok();
    is_alive.then_some(connection)
}

async fn connect(options: &PgConnectOptions, settings: &[(&str, &str)]) -> Result<PgConnection, Error> {
    let made = async {
        let mut connection = PgConnection::connect_with(options).await?;
        set(&mut connection, settings).await?;
        Ok(connection)
    };
    tokio::time::timeout(ACQUIRE, made).await.map_err(|_| Error::PoolTimedOut)?
}

/// Gives a connection the settings that all of the hub's have, and these. Not at its beginning, where a pooler refuses
/// what it does not know.
async fn set(connection: &mut PgConnection, settings: &[(&str, &str)]) -> Result<(), Error> {
    let all = SILENCE.iter().chain(&PLANS).chain(settings);
    let statements = all.map(|(name, value)| format!("SET {name} = '{value}';")).collect::<Vec<_>>();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.concat())).execute(connection).await.map(|_| ())
}

fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        // Whoever waits in vain is told; of the others the driver need not warn.
        .acquire_slow_threshold(ACQUIRE)
        .idle_timeout(LET_GO)
        // A server that hangs answers no ping: without a limit to it, connections would be lost one by one.
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(set(connection, &[])))
        .before_acquire(|connection, _| Box::pin(prove(connection)))
        .after_release(|connection, _| Box::pin(prove(connection)))
        .connect_lazy_with(options)
}

async fn prove(connection: &mut PgConnection) -> Result<bool, Error> {
    let proof = tokio::time::timeout(PROOF, connection.ping()).await;
    proof.map_err(|_| Error::Io(io::ErrorKind::TimedOut.into()))?.map(|()| true)
}

impl<'p> Executor<'p> for &'p Database {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.guarded(self.pool().fetch_many(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.unless_away(self.pool().fetch_optional(query)).boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        self.unless_away(self.pool().prepare_with(sql, parameters)).boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        self.unless_away(self.pool().describe(sql)).boxed()
    }
}
