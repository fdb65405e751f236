//! The whole database out and in again, by PostgreSQL's own `pg_dump`, `pg_restore` and psql.
//!
//! Must not know what a backup is made of besides.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use super::{Address, Database, Error, address::Reach, private::binaries};

const PROGRAMS: [&str; 3] = ["pg_dump", "pg_restore", "psql"];
/// Undoes everything that the hub has in a database.
const EMPTY: &str = "DROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\n";
/// Every token ends, and the database is another one than that which was saved. In a schema that is older than these
/// columns, no token is good anyway: the migration that adds them gives each account its name.
const NEW_ACCOUNTS: &str = "\
DO $$ BEGIN
    IF to_regclass('public.this_database') IS NOT NULL THEN
        UPDATE public.users SET account = gen_random_uuid();
        UPDATE public.this_database SET id = gen_random_uuid();
    END IF;
END $$;
";

/// The migrations that a database has had, by their versions.
///
/// # Errors
/// When it is away.
pub async fn applied(database: &Database) -> Result<Vec<i64>, Error> {
    // Not checked at build time: the table is the migrator's own.
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(database).await?;
    if !there {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version").fetch_all(database).await
}

/// Whether nothing at all is in a database.
///
/// # Errors
/// When it is away.
pub async fn is_empty(database: &Database) -> Result<bool, Error> {
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace) AS "empty!""#
    )
    .fetch_one(database)
    .await
}

/// The server's major version.
///
/// # Errors
/// When it is away.
pub async fn server(database: &Database) -> Result<u32, Error> {
    let number = sqlx::query_scalar!(r#"SELECT current_setting('server_version_num')::int AS "number!""#);
    // 150018 is 15.18.
    Ok(number.fetch_one(database).await?.unsigned_abs() / 10_000)
}

/// PostgreSQL's client programs.
#[derive(Debug)]
pub struct Tools {
    folder: PathBuf,
    /// Their major version.
    pub major: u32,
}

impl Tools {
    /// The oldest that are installed and know version `wanted`: newer ones write what older servers do not read.
    ///
    /// # Errors
    /// When there are none.
    pub async fn find(wanted: u32) -> anyhow::Result<Self> {
        let (mut found, mut newest): (Option<Self>, _) = (None, 0);
        for folder in binaries::with(&PROGRAMS) {
            let Some(major) = version(&folder).await else { continue };
            newest = newest.max(major);
            if major >= wanted && found.as_ref().is_none_or(|found| major < found.major) {
                found = Some(Self { folder, major });
            }
        }
        found.with_context(|| match newest {
            0 => {
                format!("pg_dump, pg_restore and psql are needed (Debian: apt-get install postgresql-client-{wanted})")
            }
            older => format!(
                "PostgreSQL {wanted} needs pg_dump, pg_restore and psql of its version or newer, and those here are of \
                 {older} (Debian: apt-get install postgresql-client-{wanted})"
            ),
        })
    }

    /// Writes all of a database, as it is at one moment, into a file, in `pg_dump`'s custom format. It may be in use.
    ///
    /// # Errors
    /// What `pg_dump` says.
    pub async fn dump(&self, address: &Address, file: File) -> anyhow::Result<()> {
        let reach = self.reach(address)?;
        let mut command = self.command("pg_dump", Some(&reach));
        command.args(["--format=custom", "--no-owner", "--no-privileges", "--no-comments"]);
        let output = command.stdout(file).spawn().context("cannot run pg_dump")?.wait_with_output().await?;
        ensure!(output.status.success(), "pg_dump failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(())
    }

    /// Puts such a file into a database, all of it or nothing. `replace` removes first what the database holds. Every
    /// user's tokens end.
    ///
    /// # Errors
    /// What `pg_restore` or psql says.
    pub async fn restore(&self, address: &Address, dump: File, replace: bool) -> anyhow::Result<()> {
        let mut reader = self.command("pg_restore", None);
        reader.args(["--no-owner", "--no-privileges", "--no-comments", "--exit-on-error", "--file=-"]);
        let mut reader = reader.stdin(dump).stdout(Stdio::piped()).spawn().context("cannot run pg_restore")?;
        let reach = self.reach(address)?;
        let mut writer = self.command("psql", Some(&reach));
        writer.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]);
        let mut writer = writer.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot run psql")?;
        let (mut script, mut transaction) =
            (reader.stdout.take().context("no pipe")?, writer.stdin.take().context("no pipe")?);
        let (read_words, write_words) = (words(&mut reader), words(&mut writer));
        // What this has goes when it is done, so that either program hears that the other is gone.
        let (reader, writer) = (&mut reader, &mut writer);
        let carry = async move {
            let beginning = if replace { EMPTY } else { "" };
            transaction.write_all(format!("BEGIN;\n{beginning}").as_bytes()).await?;
            tokio::io::copy(&mut script, &mut transaction).await?;
            // Only a script that is whole is committed; what is cut off here is undone by the server.
            if reader.wait().await?.success() {
                transaction.write_all(format!("{NEW_ACCOUNTS}COMMIT;\n").as_bytes()).await?;
                transaction.shutdown().await?;
                drop(transaction);
            } else {
                writer.start_kill()?;
            }
            writer.wait().await
        };
        let (ended, read_words, write_words) = tokio::join!(carry, read_words, write_words);
        let good = ended.as_ref().is_ok_and(ExitStatus::success);
        if !good {
            let error = ended.err().map_or_else(String::new, |error| format!("\n{error}"));
            bail!("the database was left as it was: {}{}{error}", read_words.trim_end(), write_words.trim_end());
        }
        Ok(())
    }

    fn reach(&self, address: &Address) -> anyhow::Result<Reach> {
        Reach::new(address, self.major).context("cannot tell PostgreSQL's programs how the database is reached")
    }

    fn command(&self, program: &str, reach: Option<&Reach>) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).env("LC_ALL", "C");
        if let Some(reach) = reach {
            reach.apply(&mut command);
        }
        command
    }
}

async fn version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("pg_dump")).arg("--version").stdin(Stdio::null()).output().await.ok()?;
    // pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().nth(2)?;
    number.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// What a program says on its standard error.
fn words(child: &mut Child) -> impl Future<Output = String> + use<> {
    let stderr = child.stderr.take();
    async move {
        let mut text = Vec::new();
        if let Some(mut stderr) = stderr {
            // What cannot be read is not said.
            let _ = stderr.read_to_end(&mut text).await;
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
