//! Where values come from: the environment, and `.env` in the working folder; and what is there that no setting has.

use std::{collections::BTreeMap, ffi::OsString, fmt, io, path::Path};

use super::{
    Fault,
    catalogue::FILE,
    dot_env::{self, Reading},
};

/// Only the working folder's: one in a folder above is another program's.
pub const DOT_ENV: &str = ".env";
/// What others read from the same `.env`: PostgreSQL's libraries, containers, and Rust itself.
const OF_OTHERS: &[&str] =
    &["PG", "POSTGRES_", "COMPOSE_", "DOCKER_", "LC_", "SSL_CERT_", "RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
const OF_OTHERS_WHOLE: &[&str] = &["TZ", "LANG", "PATH", "HOME", "TMPDIR"];
/// Nothing else has names that begin so: a misspelled one must not leave a door on its defaults.
const FAMILIES: &[&str] = &["GPIO_", "LOCK_", "MQTT_TLS_", "JWT_"];
const PREFIX: &str = "PORTCULLIS_";
/// Shorter names are near too many others.
const LONG_ENOUGH: usize = 8;

/// Who gave a value. Those below come before those above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    DotEnv,
    Environment,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::DotEnv => ".env",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// The variables of the process and of its `.env`.
#[derive(Debug, Default)]
pub struct Sources {
    pub environment: BTreeMap<String, String>,
    pub dot_env: BTreeMap<String, String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Sources {
    /// Reads `.env`, if it is there, and takes what the process was given.
    #[must_use]
    pub fn read(environment: impl Iterator<Item = (OsString, OsString)>, file: &Path) -> Self {
        let mut sources = Self::default();
        for (name, value) in environment {
            // A name that is no text is none of ours.
            let Ok(name) = name.into_string() else { continue };
            // A value that is no text is replaced, and then refused where it matters.
            sources.environment.insert(name, value.to_string_lossy().into_owned());
        }
        let text = match std::fs::read(file).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                sources.faults.push(Fault::new(".env", "is no UTF-8: save it as UTF-8"));
                return sources;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return sources,
            Err(error) => {
                sources.faults.push(Fault::new(".env", format!("cannot be read: {error}")));
                return sources;
            }
        };
        let Reading { pairs, faults } = dot_env::parse(&text);
        sources.dot_env = pairs.into_iter().collect();
        sources.faults.extend(faults.into_iter().map(|fault| Fault::new(".env", fault)));
        sources
    }

    /// What `.env` has for libraries and other programs (PGSSLMODE, TZ), for `dotenvy`, which can put it into the process's
    /// environment; quoted so that each value stays as it is.
    #[must_use]
    pub fn of_others(&self) -> String {
        let others =
            self.dot_env.iter().filter(|(name, _)| is_of_others(name) && !self.environment.contains_key(*name));
        others
            .map(|(name, value)| format!("{name}='{}'\n", value.replace('\'', r#"'"'"'"#)))
            .collect::<Vec<_>>()
            .concat()
    }

    /// The value of a variable. One that is set to nothing counts as not set, in the environment also for `.env`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<(&str, Origin)> {
        let (value, origin) = match self.environment.get(name) {
            Some(value) => (value, Origin::Environment),
            None => (self.dot_env.get(name)?, Origin::DotEnv),
        };
        (!value.is_empty()).then_some((value, origin))
    }

    /// Variables that look like settings and are none. In `.env` that is every one that is not known to be another
    /// program's; in the environment, those whose names are like ours.
    #[must_use]
    pub fn unknown(&self, names: &[&str]) -> Vec<Fault> {
        let in_file = self.dot_env.keys().filter(|name| !names.contains(&name.as_str()) && !is_of_others(name));
        let in_file = in_file.map(|name| fault(name, Origin::DotEnv, names));
        let around = self.environment.iter().filter(|(name, value)| {
            !self.dot_env.contains_key(*name) && !names.contains(&name.as_str()) && is_like_ours(name, value, names)
        });
        in_file.chain(around.map(|(name, _)| fault(name, Origin::Environment, names))).collect()
    }
}

fn fault(name: &str, origin: Origin, names: &[&str]) -> Fault {
    let meant = nearest(name, names).map_or_else(String::new, |meant| format!("; is {meant} meant?"));
    Fault::new(name, format!("({origin}) no setting is called so{meant}"))
}

fn is_of_others(name: &str) -> bool {
    OF_OTHERS_WHOLE.contains(&name) || OF_OTHERS.iter().any(|prefix| name.starts_with(prefix))
}

fn is_like_ours(name: &str, value: &str, names: &[&str]) -> bool {
    if let Some(rest) = name.strip_prefix(PREFIX) {
        // Kubernetes tells of a service called portcullis in such variables.
        return names.contains(&rest) && !value.contains("://");
    }
    let is_file_of_one = name.strip_suffix(FILE).is_some_and(|of| of.len() >= LONG_ENOUGH && names.contains(&of));
    is_file_of_one || FAMILIES.iter().any(|family| name.starts_with(family)) || {
        name.len() >= LONG_ENOUGH
            && names.iter().any(|ours| ours.len() >= LONG_ENOUGH && distance(name, ours) <= reach(ours))
    }
}

fn reach(name: &str) -> usize {
    if name.len() > 10 { 2 } else { 1 }
}

/// The setting that may be meant.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let near = names.iter().map(|ours| (distance(name, ours), *ours)).min()?;
    (near.0 <= 2.max(name.len() / 4)).then_some(near.1)
}

/// How many letters have to be added, removed or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["PORT", "HOST", "DATABASE_URL", "JWT_SECRET", "LOCK_OPEN_SECONDS", "TIMEZONE"];

    fn environment(pairs: &[(&str, &str)]) -> Sources {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sources { environment: pairs.collect(), ..Sources::default() }
    }

    fn unknown(sources: &Sources) -> Vec<String> {
        sources.unknown(NAMES).iter().map(|fault| fault.name.clone()).collect()
    }

    #[test]
    fn what_is_like_ours_is_found_and_what_is_not_is_left_alone() {
        let sources = environment(&[
            ("DATABSE_URL", "x"),
            ("LOCK_OPEN_SECS", "2"),
            ("PORTCULLIS_PORT", "3000"),
            ("TIME_ZONE", "UTC"),
            ("TIMEZONE_FILE", "x"),
        ]);
        assert_eq!(unknown(&sources).len(), 5, "{:?}", unknown(&sources));
        let others = environment(&[
            ("PORTCULLIS_BIN", "target/debug/portcullis"),
            ("PORTCULLIS_PORT", "tcp://10.0.0.1:3000"),
            ("HOSTNAME", "a"),
            ("POST", "a"),
            ("PORTS", "a"),
            ("REDIS_PORT", "a"),
            ("XDG_DATA_DIRS", "a"),
        ]);
        assert!(unknown(&others).is_empty(), "{:?}", unknown(&others));
    }

    #[test]
    fn a_nameless_variable_in_the_file_is_found_and_a_near_one_proposed() {
        let dot_env = [("PROT", "1"), ("NOTHING_LIKE_IT", "1"), ("PGSSLMODE", "require"), ("PORT", "1")];
        let dot_env = dot_env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let sources = Sources { dot_env, ..Sources::default() };
        let faults: Vec<_> = sources.unknown(NAMES).iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            ["NOTHING_LIKE_IT: (.env) no setting is called so", "PROT: (.env) no setting is called so; is PORT meant?"]
        );
    }

    #[test]
    fn nothing_is_not_set() {
        let mut sources = environment(&[("PORT", ""), ("HOST", "::1")]);
        sources.dot_env = [("PORT", "1"), ("HOST", "::"), ("TIMEZONE", "UTC")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(sources.value("PORT"), None);
        assert_eq!(sources.value("HOST"), Some(("::1", Origin::Environment)));
        assert_eq!(sources.value("TIMEZONE"), Some(("UTC", Origin::DotEnv)));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_told_without_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        std::fs::write(&file, "PORT=1\nJWT_SECRET=very secret # indeed\nHOST=::1\n").unwrap();
        let sources = Sources::read(std::iter::empty(), &file);
        assert_eq!(sources.faults.len(), 1);
        assert!(sources.faults[0].text.starts_with("line 2, JWT_SECRET:"));
        assert!(!sources.faults[0].text.contains("indeed"));
        assert_eq!(sources.value("HOST"), Some(("::1", Origin::DotEnv)));
    }

    #[test]
    fn what_is_of_others_reaches_them_as_it_stands() {
        let values = ["plain", "a$b ${HOME}", "it's", "two\nlines", " # no comment", "\"q\" \\ `x`", ""];
        for value in values {
            let dot_env = [("PGPASSWORD", value), ("JWT_SECRET", "not theirs")];
            let dot_env = dot_env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let sources = Sources { dot_env, ..Sources::default() };
            let text = sources.of_others();
            let read: Vec<_> = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
            assert_eq!(read, [("PGPASSWORD".to_owned(), value.to_owned())], "{text}");
        }
        let mut sources = environment(&[("PGPASSWORD", "of the environment")]);
        sources.dot_env.insert("PGPASSWORD".to_owned(), "of the file".to_owned());
        assert_eq!(sources.of_others(), "");
    }

    #[test]
    fn distances() {
        for (one, other, apart) in [("", "", 0), ("a", "", 1), ("PORT", "PROT", 2), ("LOCK", "CLOCK", 1)] {
            assert_eq!(distance(one, other), apart, "{one} {other}");
        }
    }
}
