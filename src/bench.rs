//! `portcullis bench`: what the hub stores in a second and how soon it is acknowledged and seen, beside PostgreSQL's own
//! `COPY` of the same rows, in one run.
//!
//! It starts what it needs: a private PostgreSQL in a temporary folder, a hub as a process of its own with its default
//! settings, and lean clients in this process. All share the machine, as they would on a small one.

mod answers;
mod dashboard;
mod detections;
mod http;
mod hub;
mod mqtt;
mod process;
mod report;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    answers::Answers,
    dashboard::Dashboard,
    detections::{Ledger, Schedule},
    http::Client,
    hub::Hub,
    mqtt::Publisher,
    report::{Cost, Memory, Report, Result, Way},
};
use crate::{
    auth::{device_token, secret},
    domain::{
        camera::CameraId,
        device::{DeviceName, DeviceRole},
    },
    lifecycle::Signals,
    store::{Database, baseline, devices, private::Private},
};

/// How long a client waits for any one answer: longer than the hub takes for its slowest.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// More than any machine of today stores in a second; the numbers for a measurement run out above it.
const FASTEST: u64 = 200_000;
/// The cameras that the first start makes.
const CAMERAS: u32 = 2;
/// Rates at which latency is measured, beside full speed.
const RATES: [Option<u32>; 3] = [None, Some(500), Some(5_000)];

/// What is measured and for how long.
#[derive(Debug, Args)]
pub struct BenchOptions {
    /// How long each measurement lasts, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// One second each: shows that everything works, and measures little.
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// How many clients publish by MQTT, each with up to 100 messages on the way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=200), value_name = "COUNT")]
    publishers: u32,
    /// How many connections report by HTTP, each waiting for its answer.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=200), value_name = "COUNT")]
    connections: u32,
    /// Only these ways, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "copy,mqtt,http", value_name = "WAYS")]
    only: Vec<Way>,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// When something does not start, breaks, or loses what it acknowledged.
pub async fn run(options: BenchOptions) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let folder = Folder::make()?;
    let postgres = Private::start(&folder.0).await?;
    let measured = tokio::select! {
        report = measure(&options, &folder, &postgres) => report,
        () = signals.next() => Err(anyhow::anyhow!("interrupted")),
    };
    postgres.stop().await?;
    let report = measured?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// A folder that goes with the run.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    /// Not below TMPDIR, whose path may be too long for a Unix socket or closed to the user postgres.
    fn make() -> anyhow::Result<Self> {
        let folder = PathBuf::from(format!("/tmp/portcullis-bench-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

async fn measure(options: &BenchOptions, folder: &Folder, postgres: &Private) -> anyhow::Result<Report> {
    let load_before = process::load_average();
    let password = secret::generate_password();
    // The first start makes the schema, the cameras and the account, which is no idle hub.
    Hub::start(&folder.0, &postgres.url(), &password).await?.stop().await?;
    let hub = Hub::start(&folder.0, &postgres.url(), &password).await?;
    let idle = hub.memory();
    let database = postgres.address().open(2);
    let bench = Bench::prepare(options, database, hub, postgres.process().unwrap_or(0), &password).await?;
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: process::machine(),
        load_average_before: load_before,
        postgres: baseline::promises(&bench.database).await?.into_iter().collect(),
        seconds: bench.lasting.as_secs(),
        publishers: options.publishers,
        connections: options.connections,
        results: Vec::new(),
        memory: Memory::default(),
    };
    let (mut first, mut acknowledged) = (0, 0);
    for (way, rate) in plan(&options.only) {
        let result = bench.measure(way, rate, &mut first).await;
        let result =
            result.with_context(|| format!("{way} failed; the hub's log ends:\n{}", bench.hub.last_words()))?;
        acknowledged += if way == Way::Copy { 0 } else { result.acknowledged };
        report.results.push(result);
    }
    let stored = baseline::stored(&bench.database).await?;
    ensure!(stored >= acknowledged, "{acknowledged} detections were acknowledged, and {stored} are stored");
    let (after, Bench { hub, database, .. }) = (bench.hub.memory(), bench);
    report.memory = Memory { idle: idle.resident_kib, peak: after.peak_kib, afterwards: after.resident_kib };
    database.close().await;
    hub.stop().await?;
    Ok(report)
}

/// Full speed of each way first, COPY before all: the tables are as empty for it as for the hub.
fn plan(ways: &[Way]) -> impl Iterator<Item = (Way, Option<u32>)> {
    let has = |way: &Way| ways.contains(way);
    let hubs = RATES.into_iter().flat_map(|rate| [(Way::Mqtt, rate), (Way::Http, rate)]);
    std::iter::once((Way::Copy, None)).chain(hubs).filter(move |(way, _)| has(way))
}

/// What a measurement works with.
#[derive(Debug)]
struct Bench {
    database: Database,
    hub: Hub,
    /// The parent of all PostgreSQL processes.
    postgres: u32,
    /// An AI engine's name and secret.
    engine: (DeviceName, String),
    /// A user's token, for the dashboard.
    token: Arc<str>,
    publishers: u32,
    connections: u32,
    lasting: Duration,
}

impl Bench {
    async fn prepare(
        options: &BenchOptions,
        database: Database,
        hub: Hub,
        postgres: u32,
        password: &str,
    ) -> anyhow::Result<Self> {
        let (name, secret): (DeviceName, _) = ("bench".parse()?, secret::generate());
        devices::add(&database, &name, DeviceRole::AiEngine, None, &secret::hash(&secret)).await?;
        let credentials = json!({"username": "admin", "password": password}).to_string();
        let (status, body) = Client::connect(hub.http).await?.post("/auth/login", "", &credentials).await?;
        ensure!(status == 200, "POST /auth/login: {status}");
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        let token = body["access_token"].as_str().context("no token")?.into();
        baseline::create(&mut *database.acquire().await?).await?;
        let lasting = Duration::from_secs(if options.quick { 1 } else { options.seconds });
        let (publishers, connections) = (options.publishers, options.connections);
        Ok(Self { database, hub, postgres, engine: (name, secret), token, publishers, connections, lasting })
    }

    /// One measurement; its detections are numbered from `first` on.
    async fn measure(&self, way: Way, rate: Option<u32>, first: &mut u64) -> anyhow::Result<Result> {
        baseline::checkpoint(&self.database).await?;
        let most = rate.map_or(FASTEST, |rate| u64::from(rate) * 2) * self.lasting.as_secs();
        let ledger = Arc::new(Ledger::new(*first, usize::try_from(most)?));
        let mut result = match way {
            Way::Copy => self.copy(&ledger).await?,
            Way::Mqtt | Way::Http => self.report(way, rate, &ledger).await?,
        };
        result.rate = rate;
        *first = ledger.end();
        Ok(result)
    }

    async fn copy(&self, ledger: &Ledger) -> anyhow::Result<Result> {
        let mut connection = self.database.acquire().await?;
        let (before, begun, at) = (self.cost(), Instant::now(), chrono::Utc::now());
        let rows = std::iter::from_fn(|| {
            let now = Instant::now();
            let number = (now < begun + self.lasting).then(|| ledger.send(now))??;
            detections::row(camera(number), number, at)
        });
        let acknowledged = baseline::copy(&mut connection, rows).await?;
        Ok(Result::new(Way::Copy, acknowledged, begun.elapsed(), self.cost() - before))
    }

    /// By the hub, with a dashboard that hears of it.
    async fn report(&self, way: Way, rate: Option<u32>, ledger: &Arc<Ledger>) -> anyhow::Result<Result> {
        let dashboard = Dashboard::connect(self.hub.http, self.token.clone()).await?;
        let (heard, stop) = (Arc::<AtomicU64>::default(), CancellationToken::new());
        let mut hearing = JoinSet::new();
        hearing.spawn(dashboard.run(ledger.clone(), heard.clone(), stop.clone()));
        let before = self.cost();
        let (mut answers, took) = match way {
            Way::Http => self.send_by_http(rate, ledger).await?,
            _ => self.send_by_mqtt(rate, ledger).await?,
        };
        let acknowledged = u64::try_from(answers.latencies.len())?;
        until_heard(&heard, acknowledged).await;
        let cost = self.cost() - before;
        stop.cancel();
        let mut shown = hearing.join_next().await.context("no dashboard")???;
        let mut result = Result::new(way, acknowledged, took, cost);
        result.acknowledgement = answers.percentiles();
        result.event_detected = shown.percentiles();
        result.heard = u64::try_from(shown.latencies.len())?;
        result.busy = answers.busy;
        result.dashboard_reconnects = shown.reconnects;
        Ok(result)
    }

    async fn send_by_mqtt(&self, rate: Option<u32>, ledger: &Arc<Ledger>) -> anyhow::Result<(Answers, Duration)> {
        let mut publishers = Vec::new();
        for index in 0..self.publishers {
            let (name, secret) = &self.engine;
            let client_id = format!("bench-{index}");
            let who = (name.as_str(), secret.as_str());
            publishers.push(Publisher::connect(self.hub.mqtt, &client_id, who, camera(index.into())).await?);
        }
        let (mut sending, begun) = (JoinSet::new(), Instant::now());
        for (index, publisher) in (0..).zip(publishers) {
            let schedule = Schedule::new(rate, self.publishers, index, self.lasting);
            sending.spawn(publisher.run(schedule, ledger.clone()));
        }
        Ok((gather(sending).await?, begun.elapsed()))
    }

    async fn send_by_http(&self, rate: Option<u32>, ledger: &Arc<Ledger>) -> anyhow::Result<(Answers, Duration)> {
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(Client::connect(self.hub.http).await?);
        }
        let (name, secret) = &self.engine;
        let token: Arc<str> = device_token::format(name, secret).into();
        let (mut sending, begun) = (JoinSet::new(), Instant::now());
        for (index, client) in (0..).zip(clients) {
            let schedule = Schedule::new(rate, self.connections, index, self.lasting);
            sending.spawn(client.run(token.clone(), camera(index.into()), schedule, ledger.clone()));
        }
        Ok((gather(sending).await?, begun.elapsed()))
    }

    fn cost(&self) -> Cost {
        Cost {
            hub: process::cpu_time(self.hub.pid),
            postgres: process::cpu_time_with_children(self.postgres),
            clients: process::cpu_time(std::process::id()),
        }
    }
}

fn camera(number: u64) -> CameraId {
    CameraId(i32::try_from(number % u64::from(CAMERAS)).unwrap_or(0) + 1)
}

async fn gather(mut sending: JoinSet<anyhow::Result<Answers>>) -> anyhow::Result<Answers> {
    let mut all = Vec::new();
    while let Some(answers) = sending.join_next().await {
        all.push(answers??);
    }
    Ok(Answers::of(all))
}

/// Waits until the dashboard has heard of as many, or of nothing more for a while.
async fn until_heard(heard: &AtomicU64, all: u64) {
    const SILENCE: Duration = Duration::from_secs(1);
    const LOOK: Duration = Duration::from_millis(5);
    let (mut last, mut since) = (heard.load(Relaxed), Instant::now());
    while last < all && since.elapsed() < SILENCE {
        tokio::time::sleep(LOOK).await;
        let now = heard.load(Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}
