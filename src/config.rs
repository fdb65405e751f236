//! Settings: every environment variable of the hub, with the flag of the same name, its default and what it allows.
//!
//! Must not know what uses them. Values are parsed here, once; all that is wrong with them is told at once.
#![expect(clippy::doc_markdown, reason = "the docs of the settings are the help texts of the command line")]

pub mod catalogue;
pub mod dot_env;
pub mod effective;
pub mod page;
pub mod reading;
pub mod rules;
pub mod secrets;
pub mod sources;
mod values;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::values::{
    device_name, duration, filter, host_name, mqtt_url, origin, password, postgres_url, share, signing_key,
};

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable, or the file.
    pub name: String,
    /// In words, with what is allowed; never with a secret's value.
    pub text: String,
}

impl Fault {
    #[must_use]
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where the hub's data and its database are; every command that works on them takes these.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub struct DataOptions {
    /// Generated secrets and the private PostgreSQL.
    #[arg(long, env, default_value = "./data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
    /// A PostgreSQL of yours, as postgres://user:password@host/name; without it the hub runs a private one in DATA_DIR.
    #[arg(long, env, hide_env_values = true, value_parser = postgres_url, value_name = "POSTGRES-URL")]
    pub database_url: Option<String>,
    /// A file with DATABASE_URL in it.
    #[arg(long, env, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// How many connections to the database the hub holds at most.
    #[arg(long, env, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000), value_name = "COUNT")]
    pub database_pool: u32,
}

/// How to log; for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogOptions {
    /// What is logged: off, error, warn, info, debug, trace, also for each module (portcullis=debug,info).
    #[arg(long, env, global = true, default_value = "info", value_parser = filter, value_name = "FILTER")]
    pub rust_log: String,
    /// Lines for people, or JSON for machines.
    #[arg(long, env, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Where HTTP is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpAddress {
    /// The port of HTTP, Socket.io, and MQTT over WebSocket; 0 lets the system choose.
    #[arg(long, env, default_value_t = 3000)]
    pub port: u16,
    /// The address to listen on.
    #[arg(long, env, default_value = "0.0.0.0", value_name = "ADDRESS")]
    pub host: IpAddr,
}

/// HTTP, Socket.io, and MQTT over WebSocket.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpOptions {
    #[command(flatten)]
    pub address: HttpAddress,
    /// Whose pages may call the hub from a browser, separated by commas.
    #[arg(
        long,
        env,
        value_delimiter = ',',
        value_parser = origin,
        default_value = "http://localhost:3000,http://localhost:3001",
        value_name = "ORIGINS"
    )]
    pub cors_origin: Vec<String>,
    /// Addresses or networks (10.0.0.0/8) of reverse proxies whose X-Forwarded-For is believed, separated by commas.
    #[arg(long, env, value_delimiter = ',', value_name = "ADDRESSES")]
    pub trusted_proxies: Vec<String>,
    /// Names under which clients may call the hub, separated by commas, beside localhost, addresses, names without a dot and this
    /// machine's own name (also with .local, .lan, .home, .fritz.box and the like); *.example.org is every name below
    /// example.org, * is any. Proxies in TRUSTED_PROXIES may pass on any name.
    #[arg(long, env, value_delimiter = ',', value_parser = host_name, value_name = "HOST-NAMES")]
    pub host_names: Vec<String>,
    /// Open HTTP connections in all, sockets among them; fewer where the system lets the hub open fewer files. One more
    /// stranger takes the place of the stranger who has waited longest; whoever is signed in stays.
    #[arg(long, env, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(16..=1_000_000), value_name = "COUNT")]
    pub http_connections: u32,
    /// Open HTTP connections of one address, an IPv6 /64 counting as one; proxies in TRUSTED_PROXIES and whoever has an
    /// ADMIN's credential are not counted.
    #[arg(long, env, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "COUNT")]
    pub http_connections_per_address: u32,
    /// How long a request's head may take from its first byte, and the first byte of a connection, in seconds.
    #[arg(long, env, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub http_header_seconds: u64,
    /// How long a request's body may take, in seconds.
    #[arg(long, env, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub http_body_seconds: u64,
    /// How long a connection may be silent after an answer, or leave an answer unread, in seconds. Longer than a proxy keeps
    /// its connections to the hub, so that it is the proxy that closes them.
    #[arg(long, env, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub http_idle_seconds: u64,
    /// A listener of its own for /metrics, open to whoever reaches it; /metrics is there only then.
    #[arg(long, env, value_name = "ADDRESS:PORT")]
    pub metrics_addr: Option<SocketAddr>,
}

/// The MQTT broker's listeners.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "MQTT")]
pub struct MqttOptions {
    /// The port of MQTT; 0 lets the system choose.
    #[arg(long, env, default_value_t = 1883, value_name = "PORT")]
    pub mqtt_port: u16,
    /// The address that MQTT listens on; HOST if none is given.
    #[arg(long, env, value_name = "ADDRESS")]
    pub mqtt_host: Option<IpAddr>,
    /// Limits and rights of the broker; a missing file means its defaults.
    #[arg(long, env, default_value = "./broker.toml", value_name = "FILE")]
    pub broker_config: PathBuf,
    /// The port of MQTT over TLS, 8883 by custom; off if none is given.
    #[arg(long, env, value_name = "PORT")]
    pub mqtt_tls_port: Option<u16>,
    /// The address that MQTT over TLS listens on; MQTT_HOST if none is given. With MQTT_HOST=127.0.0.1, other machines get
    /// in by TLS alone.
    #[arg(long, env, value_name = "ADDRESS")]
    pub mqtt_tls_host: Option<IpAddr>,
    /// The server's certificate chain, PEM.
    #[arg(long, env, value_name = "FILE")]
    pub mqtt_tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, env, value_name = "FILE")]
    pub mqtt_tls_key: Option<PathBuf>,
    /// Whoever shows a certificate signed by this one is the device of its common name.
    #[arg(long, env, value_name = "FILE")]
    pub mqtt_tls_client_ca: Option<PathBuf>,
}

/// Who may create accounts by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// Only an ADMIN creates users.
    Closed,
    /// Anybody can register, and becomes a USER.
    Open,
}

/// Accounts and tokens.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accounts")]
pub struct AccountOptions {
    /// The key that tokens are signed with, at least 32 bytes; generated into DATA_DIR if none is given.
    #[arg(long, env, hide_env_values = true, value_parser = signing_key, value_name = "SIGNING-KEY")]
    pub jwt_secret: Option<String>,
    /// A file with JWT_SECRET in it.
    #[arg(long, env, value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// How long a token lasts, such as 24h, 30m or 90s.
    #[arg(long, env, default_value = "24h", value_parser = duration, value_name = "TIME")]
    pub jwt_expiration: Duration,
    /// The password of the user admin, at the very first start only; generated if none is given.
    #[arg(long, env, hide_env_values = true, value_parser = password, value_name = "PASSWORD")]
    pub admin_password: Option<String>,
    /// A file with ADMIN_PASSWORD in it.
    #[arg(long, env, value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// Who may create accounts by themselves.
    #[arg(long, env, value_enum, default_value = "closed", value_name = "POLICY")]
    pub registration: Registration,
}

/// Whether the relay is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SimulatedRelay {
    /// Real where a chip with a Raspberry Pi's label, or GPIO_CHIP, exists; then an error ends the process.
    Auto,
    True,
    False,
}

/// Which level of the relay is the locked one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockFailMode {
    /// Without power the door is locked.
    FailSecure,
    /// Without power the door is open (a magnetic lock on an escape route): locked is the energised level.
    FailSafe,
}

/// The relay and the door's contact.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Relay")]
pub struct GpioOptions {
    /// Whether the relay is simulated. `portcullis lock-agent` takes auto for false.
    #[arg(long, env, value_enum, default_value = "auto", value_name = "WHETHER")]
    pub gpio_simulated: SimulatedRelay,
    /// The relay's line.
    #[arg(long, env, default_value_t = 17, value_name = "LINE")]
    pub gpio_relay_pin: u32,
    /// The chip's device file, such as /dev/gpiochip0; found by a Raspberry Pi's label if none is given.
    #[arg(long, env, value_name = "FILE")]
    pub gpio_chip: Option<PathBuf>,
    /// Whether the relay is energised by the low level.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set, value_name = "WHETHER")]
    pub gpio_active_low: bool,
    /// The line of a door contact, low while the door is shut.
    #[arg(long, env, value_name = "LINE")]
    pub gpio_contact_pin: Option<u32>,
    /// Which level of the relay is the locked one.
    #[arg(long, env, value_enum, default_value = "fail-secure", value_name = "MODE")]
    pub lock_fail_mode: LockFailMode,
}

/// How long the door may be open.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Lock")]
pub struct OpenOptions {
    /// How long the door stays open after a command, in seconds.
    #[arg(long, env, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub lock_open_seconds: u64,
    /// The longest that commands in a row can keep it open, in seconds.
    #[arg(long, env, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub lock_max_open_seconds: u64,
    /// Whether an ADMIN may hold it open until a given time.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set, value_name = "WHETHER")]
    pub lock_hold_open: bool,
}

/// Where the lock worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockAgent {
    /// In the hub's process.
    Embedded,
    /// On another machine: `portcullis lock-agent`.
    Remote,
}

/// What a detection does to the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnDetection {
    Off,
    /// An open door is closed when a person is seen.
    Close,
}

/// The hub's side of the lock, and when a camera counts as lost.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Detections and the lock")]
pub struct HubOptions {
    /// Where the lock worker runs.
    #[arg(long, env, value_enum, default_value = "embedded", value_name = "WHERE")]
    pub lock_agent: LockAgent,
    /// What a detection does to the lock. Nothing ever opens it.
    #[arg(long, env, value_enum, default_value = "off", value_name = "WHAT")]
    pub lock_on_detection: OnDetection,
    /// The confidence from which a detection closes the door, 0 to 1.
    #[arg(long, env, default_value_t = 0.5, value_parser = share, value_name = "0-1")]
    pub person_detection_threshold: f64,
    /// How long a camera that reports empty pictures may be silent, in seconds.
    #[arg(long, env, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub camera_timeout: u64,
    /// How many days events are kept, for each whole month of them; none: for good.
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=36_500), value_name = "DAYS")]
    pub retention_days: Option<u32>,
    /// The time zone of "today" and of day buckets, such as Europe/Vienna.
    #[arg(long, env, default_value = "UTC", value_name = "ZONE")]
    pub timezone: chrono_tz::Tz,
}

/// How a lock worker on another machine reaches the hub.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Lock worker on a machine of its own")]
pub struct RemoteOptions {
    /// The hub's MQTT address: mqtts://host:8883, or mqtt://host:1883 on the same machine.
    #[arg(long, env, default_value = "mqtt://127.0.0.1:1883", value_parser = mqtt_url, value_name = "MQTT-URL")]
    pub mqtt_url: String,
    /// The name of this device, of role lock-agent.
    #[arg(long, env, value_parser = device_name, value_name = "NAME")]
    pub mqtt_username: Option<String>,
    /// The device's secret.
    #[arg(long, env, hide_env_values = true, value_name = "SECRET")]
    pub mqtt_password: Option<String>,
    /// A file with MQTT_PASSWORD in it.
    #[arg(long, env, value_name = "FILE")]
    pub mqtt_password_file: Option<PathBuf>,
    /// The certificate that the hub's is signed by, PEM; the system's if none is given.
    #[arg(long, env, value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// Whether mqtt:// may lead to another machine; the hub needs plain_lock in broker.toml for it too.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set, value_name = "WHETHER")]
    pub plain_lock: bool,
}

/// All of `portcullis serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    #[command(flatten)]
    pub data: DataOptions,
    #[command(flatten)]
    pub http: HttpOptions,
    #[command(flatten)]
    pub mqtt: MqttOptions,
    #[command(flatten)]
    pub accounts: AccountOptions,
    #[command(flatten)]
    pub gpio: GpioOptions,
    #[command(flatten)]
    pub open: OpenOptions,
    #[command(flatten)]
    pub hub: HubOptions,
}

/// All of `portcullis retention`.
#[derive(Debug, Clone, Args)]
pub struct RetentionOptions {
    #[command(flatten)]
    pub data: DataOptions,
    /// How many days events are kept, for each whole month of them.
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=36_500), value_name = "DAYS")]
    pub retention_days: u32,
    /// Says what would be dropped, and drops nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// All of `portcullis lock-agent`.
#[derive(Debug, Clone, Args)]
pub struct LockAgentOptions {
    #[command(flatten)]
    pub remote: RemoteOptions,
    #[command(flatten)]
    pub gpio: GpioOptions,
    #[command(flatten)]
    pub open: OpenOptions,
}
