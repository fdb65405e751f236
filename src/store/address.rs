//! Where a database is and who asks; for the hub's own connections, and for PostgreSQL's client programs.
//!
//! Those programs must reach what the hub reaches, in the same way. They read variables that the hub's driver does not
//! know, look for files in the home folder that it does not look for, and mean something else by the same settings: so
//! they are told everything, and get nothing of the environment's.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, Write as _},
    os::fd::AsRawFd as _,
};

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Database, Error, Gate};

/// What the driver knows of a URL's parameters, each under all its names.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// A file that is not there: else the programs look for one in the home folder, which the hub does not.
const NOTHING: &str = "/nonexistent/none";
/// The certificates that the system trusts, for programs that do not find them by themselves.
const SYSTEMS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// From this version on they do, by the word `system`.
const KNOWS_SYSTEM: u32 = 16;

/// Where a database is and who asks.
#[derive(Clone)]
pub struct Address {
    pub(super) options: PgConnectOptions,
    /// What the driver does not give back once it has it.
    given: Given,
    /// Whether the hub runs the server itself.
    is_private: bool,
}

#[derive(Clone, Default)]
struct Given {
    password: Option<String>,
    root_certificate: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl fmt::Debug for Address {
    /// Without any secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.host(), self.options.get_port());
        f.debug_struct("Address").field("host", &host).field("port", &port).finish_non_exhaustive()
    }
}

impl Address {
    /// From a `postgres://` URL; what that leaves out is taken from the variables PGHOST, PGUSER and so on.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let mut url: url::Url = url.parse().map_err(|error| Error::Configuration(Box::new(error)))?;
        let given = Given::read(&url, |name| env::var(name).ok());
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let (known, unknown): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| is_known(key));
        if !unknown.is_empty() {
            // The driver would show their values, which may be secrets.
            let unknown: Vec<_> = unknown.into_iter().map(|(key, _)| key).collect();
            tracing::warn!("DATABASE_URL: the hub knows no {}, which has no effect", unknown.join(", "));
            url.set_query(None);
            if !known.is_empty() {
                url.query_pairs_mut().extend_pairs(known);
            }
        }
        Ok(Self { options: url.as_str().parse()?, given, is_private: false })
    }

    /// The hub's own server's.
    pub(super) fn private(options: PgConnectOptions, password: &str) -> Self {
        let given = Given { password: Some(password.to_owned()), ..Given::default() };
        Self { options, given, is_private: true }
    }

    /// Whether the hub runs the server itself.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// Connections that are made when they are first needed; the database may still be away.
    #[must_use]
    pub fn open(&self, connections: u32) -> Database {
        Database::open(self, connections)
    }

    /// The same, that fail at once while the gate is shut, as it is at first.
    #[must_use]
    pub fn gated(&self, connections: u32) -> (Database, Gate) {
        Database::gated(self, connections)
    }

    /// For a connection that only asks.
    pub(super) fn asking(&self) -> PgConnectOptions {
        self.named("portcullis")
    }

    /// For connections of the hub's. What a pooler does not know at the beginning of a connection is not sent: it is set
    /// afterwards where it is needed.
    pub(super) fn named(&self, application: &str) -> PgConnectOptions {
        // The driver would warn of each statement that takes a second, as the first ones do on a small machine.
        self.options.clone().application_name(application).extra_float_digits(None).disable_statement_logging()
    }

    /// A host's name or address, or the folder of a socket.
    fn host(&self) -> String {
        let host = self.options.get_host();
        // In a URL an address of IPv6 stands in brackets.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        self.options.get_socket().map_or_else(|| bare.to_owned(), |path| path.display().to_string())
    }
}

impl Given {
    /// As the driver reads them: a parameter before what the URL begins with, that before the environment.
    fn read(url: &url::Url, variable: impl Fn(&str) -> Option<String>) -> Self {
        let password = url.password().map(|text| decoded(text).unwrap_or_default());
        let mut given = Self {
            password: password.or_else(|| variable("PGPASSWORD")),
            root_certificate: variable("PGSSLROOTCERT"),
            certificate: variable("PGSSLCERT"),
            key: variable("PGSSLKEY"),
        };
        for (key, value) in url.query_pairs() {
            let place = match &*key {
                "password" => &mut given.password,
                "sslrootcert" | "ssl-root-cert" | "ssl-ca" => &mut given.root_certificate,
                "sslcert" | "ssl-cert" => &mut given.certificate,
                "sslkey" | "ssl-key" => &mut given.key,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        given
    }
}

/// What is percent-encoded in the part of a URL where `+` is no blank.
fn decoded(text: &str) -> Option<String> {
    let pair = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
}

fn is_known(parameter: &str) -> bool {
    PARAMETERS.contains(&parameter) || parameter.starts_with("options[") && parameter.ends_with(']')
}

/// What a program of PostgreSQL's is given to reach the database; holds what has no file, as long as the program runs.
pub(super) struct Reach {
    variables: Vec<(&'static str, OsString)>,
    held: Vec<File>,
}

impl Reach {
    /// For programs of this major version. By variables, because everybody can read a program's arguments.
    ///
    /// # Errors
    /// When a certificate's key cannot be read.
    pub(super) fn new(address: &Address, major: u32) -> io::Result<Self> {
        let options = &address.options;
        let database = options.get_database().unwrap_or(options.get_username());
        let mut reach = Self { variables: Vec::new(), held: Vec::new() };
        for (name, value) in [
            ("PGHOST", address.host()),
            ("PGPORT", options.get_port().to_string()),
            ("PGUSER", options.get_username().to_owned()),
            ("PGDATABASE", database.to_owned()),
            ("PGAPPNAME", "portcullis".to_owned()),
            ("PGCONNECT_TIMEOUT", "10".to_owned()),
            // The text of a dump is the hub's, whatever the terminal's is.
            ("PGCLIENTENCODING", "UTF8".to_owned()),
            // The driver can do neither. A proxy that ends TLS would be refused by the one, a ticket that is out of date
            // would hinder the other.
            ("PGCHANNELBINDING", "disable".to_owned()),
            ("PGGSSENCMODE", "disable".to_owned()),
        ] {
            reach.set(name, value);
        }
        if let Some(options) = options.get_options() {
            reach.set("PGOPTIONS", options);
        }
        match address.given.password.as_deref() {
            Some(password) if !password.is_empty() => reach.set("PGPASSWORD", password),
            // The driver looks into the file of passwords as well.
            _ => {
                if let Some(file) = env::var_os("PGPASSFILE") {
                    reach.set("PGPASSFILE", file);
                }
            }
        }
        reach.encrypt(options.get_ssl_mode(), &address.given, major)?;
        Ok(reach)
    }

    fn encrypt(&mut self, mode: PgSslMode, given: &Given, major: u32) -> io::Result<()> {
        let (mode, verifies) = match mode {
            PgSslMode::Disable => ("disable", false),
            PgSslMode::Allow => ("allow", false),
            PgSslMode::Prefer => ("prefer", false),
            PgSslMode::Require => ("require", false),
            PgSslMode::VerifyCa => ("verify-ca", true),
            PgSslMode::VerifyFull => ("verify-full", true),
        };
        self.set("PGSSLMODE", mode);
        self.set("PGSSLCRL", NOTHING);
        let root = match given.root_certificate.as_deref() {
            // With a certificate to check by, the programs check, and the driver does not.
            _ if !verifies => NOTHING.into(),
            Some(root) => self.file(root)?,
            None if major >= KNOWS_SYSTEM => "system".into(),
            None => SYSTEMS.into(),
        };
        self.set("PGSSLROOTCERT", root);
        let (certificate, key) = match (given.certificate.as_deref(), given.key.as_deref()) {
            // Without a key the driver shows no certificate.
            (Some(certificate), Some(key)) => (self.file(certificate)?, self.key(key)?),
            _ => (NOTHING.into(), NOTHING.into()),
        };
        self.set("PGSSLCERT", certificate);
        self.set("PGSSLKEY", key);
        Ok(())
    }

    /// A file that has what is given, which is a path or, as the driver takes it, the certificate itself.
    fn file(&mut self, given: &str) -> io::Result<OsString> {
        if is_inline(given) { self.hold(given.as_bytes()) } else { Ok(given.into()) }
    }

    /// A copy of a key: the programs refuse one that others could read, and take a path with a colon for something else.
    fn key(&mut self, given: &str) -> io::Result<OsString> {
        if is_inline(given) {
            return self.hold(given.as_bytes());
        }
        let content =
            std::fs::read(given).map_err(|error| io::Error::new(error.kind(), format!("{given}: {error}")))?;
        self.hold(&content)
    }

    /// A file in memory that the program inherits.
    fn hold(&mut self, content: &[u8]) -> io::Result<OsString> {
        let mut file: File = memfd_create("pem", MemfdFlags::empty())?.into();
        file.write_all(content)?;
        fchmod(&file, Mode::from_raw_mode(0o600))?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.held.push(file);
        Ok(path.into())
    }

    fn set(&mut self, name: &'static str, value: impl AsRef<OsStr>) {
        self.variables.push((name, value.as_ref().to_owned()));
    }

    /// Gives the program these variables, and none of its kind from the environment.
    pub(super) fn apply(&self, command: &mut tokio::process::Command) {
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
    }
}

/// Whether this is a certificate or a key itself and no path: what the driver goes by.
fn is_inline(given: &str) -> bool {
    let trimmed = given.trim();
    trimmed.starts_with("-----BEGIN") && trimmed.ends_with("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(url: &str) -> Reach {
        Reach::new(&Address::parse(url).expect("a URL"), 15).expect("a reach")
    }

    fn value<'a>(reach: &'a Reach, name: &str) -> Option<&'a str> {
        reach.variables.iter().find(|(other, _)| *other == name).and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn the_programs_are_told_what_the_hub_knows() {
        let url =
            "postgres://u%40x:p%26+%25w@db.example:5433/h%20b?sslmode=require&options=-c%20a%3Db&options[c]=d%20e";
        let reach = reach(url);
        for (name, expected) in [
            ("PGHOST", "db.example"),
            ("PGPORT", "5433"),
            ("PGUSER", "u@x"),
            ("PGPASSWORD", "p&+%w"),
            ("PGDATABASE", "h b"),
            ("PGSSLMODE", "require"),
            ("PGSSLROOTCERT", NOTHING),
            ("PGSSLCERT", NOTHING),
            ("PGCHANNELBINDING", "disable"),
            ("PGCLIENTENCODING", "UTF8"),
        ] {
            assert_eq!(value(&reach, name), Some(expected), "{name}");
        }
        let options = value(&reach, "PGOPTIONS").expect("options");
        assert!(options.contains("-c a=b") && options.contains("c=d\\ e"), "{options}");
    }

    #[test]
    fn a_host_is_a_name_an_address_or_a_folder() {
        for (url, host) in [
            ("postgres://u@localhost/hub?host=/run/pg", "/run/pg"),
            ("postgres://u@%2Frun%2Fmy%20pg/hub", "/run/my pg"),
            ("postgres://u@[::1]:5433/hub", "::1"),
            ("postgres://u@db/hub?hostaddr=10.1.2.3", "10.1.2.3"),
            ("postgres:///hub?host=other&user=u", "other"),
        ] {
            let reach = reach(url);
            let found = value(&reach, "PGHOST").expect("a host");
            assert_eq!(found, host, "{url}");
            assert_eq!(value(&reach, "PGPASSWORD"), None, "{url}");
        }
    }

    #[test]
    fn certificates_are_paths_or_given_themselves() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("client key:1.pem");
        std::fs::write(&key, "KEY").expect("written");
        let mut url = url::Url::parse("postgres://u@db/hub").expect("a URL");
        url.query_pairs_mut()
            .append_pair("sslmode", "verify-full")
            .append_pair("sslrootcert", "/etc/my certs/ca+1.pem")
            .append_pair("ssl-cert", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----")
            .append_pair("sslkey", key.to_str().expect("a path"));
        let reach = reach(url.as_str());
        assert_eq!(value(&reach, "PGSSLROOTCERT"), Some("/etc/my certs/ca+1.pem"));
        for (name, content) in [("PGSSLKEY", "KEY"), ("PGSSLCERT", "-----BEGIN CERTIFICATE-----\nAA==")] {
            let path = value(&reach, name).expect("a path");
            assert!(path.starts_with("/proc/self/fd/"), "{name}: {path}");
            assert!(std::fs::read_to_string(path).expect("read").starts_with(content), "{name}");
        }
    }

    #[test]
    fn the_environment_counts_where_the_url_says_nothing() {
        let variable = |name: &str| match name {
            "PGPASSWORD" => Some("of the environment".to_owned()),
            "PGSSLROOTCERT" => Some("/ca.pem".to_owned()),
            _ => None,
        };
        let given = |url: &str| Given::read(&url.parse().expect("a URL"), variable);
        assert_eq!(given("postgres://u@db/hub").password.as_deref(), Some("of the environment"));
        assert_eq!(given("postgres://u:a+b@db/hub").password.as_deref(), Some("a+b"));
        let both = given("postgres://u:one@db/hub?password=two&ssl-ca=/other.pem");
        assert_eq!((both.password.as_deref(), both.root_certificate.as_deref()), (Some("two"), Some("/other.pem")));
        assert_eq!(given("postgres://u@db/hub").root_certificate.as_deref(), Some("/ca.pem"));
    }

    #[test]
    fn no_secret_is_shown() {
        let address = Address::parse("postgres://u:very-secret@db/hub?sslpassword=hush").expect("a URL");
        let shown = format!("{address:?}");
        assert!(!shown.contains("secret") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn what_the_driver_knows_is_known() {
        for (parameter, known) in
            [("sslmode", true), ("options[search_path]", true), ("channel_binding", false), ("sslpassword", false)]
        {
            assert_eq!(is_known(parameter), known, "{parameter}");
        }
    }
}
