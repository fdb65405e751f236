//! Opens the hub's database whenever it is there: claims it, brings its schema up to date, makes the first account; and
//! shuts the gate when it goes. The hub runs meanwhile, and answers that the database is away.
//!
//! Must not know what the hub does with the database.

mod first_start;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::first_start::{FirstAdmin, has_password_file, password_file};
use crate::{
    config::AccountOptions,
    lifecycle::Backoff,
    said,
    store::{
        self, Address, Database, Gate,
        changes::{self, Change},
        claim::{Claim, ClaimError, Claimant},
        fitness::{self, FitnessError, Room},
    },
};

/// Pauses between tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Opens the database and keeps it open.
#[derive(Debug)]
pub struct DatabaseOpener {
    pub address: Address,
    pub database: Database,
    pub gate: Gate,
    /// How many connections the pool shall have.
    pub pool: u32,
    pub accounts: AccountOptions,
    pub folder: PathBuf,
    /// Told at the first time that the database is open.
    pub opened: oneshot::Sender<Opened>,
}

/// What was found or made before anybody could sign in.
#[derive(Debug)]
pub struct Opened {
    /// The account, if this start made it.
    pub admin: Option<FirstAdmin>,
    pub fingerprints: HashMap<Change, String>,
}

impl DatabaseOpener {
    /// Keeps the gate until `stop`.
    ///
    /// # Errors
    /// When another hub has the database, or it is there and waiting does not make it fit: a newer schema, or, at the
    /// first try, a wrong password or name.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { address, database, gate, pool, accounts, folder, opened } = self;
        let (claimant, mut opened) = (Claimant::default(), Some(opened));
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        // A private server is made and started beside this, so whatever is missing comes yet; and another that is just
        // being set up may not know its users and databases yet.
        let mut may_be_new = address.is_private();
        loop {
            let opening = Box::pin(open(&address, &database, pool, &claimant, &accounts, &folder));
            let Some(tried) = stop.run_until_cancelled(opening).await else {
                return Ok(());
            };
            let why = match tried {
                Ok((claim, first)) => {
                    backoff.reset();
                    may_be_new = true;
                    gate.open();
                    tracing::info!("the database is open");
                    if let Some(opened) = opened.take() {
                        // Nobody listens any more when the hub stops.
                        let _ = opened.send(first);
                    }
                    let Some(error) = stop.run_until_cancelled(claim.lost()).await else { return Ok(()) };
                    let why = said::once(&error);
                    tracing::warn!("the database is away: {why}");
                    gate.shut(why);
                    continue;
                }
                Err(error) if is_for_good(&error, may_be_new) => return Err(error),
                Err(error) => said::all(&error),
            };
            may_be_new = true;
            if gate.watch().borrow().why.as_ref() != Some(&why) {
                // Who starts a private server says what hinders it; that it is not there yet is no news.
                if address.is_private() && opened.is_some() {
                    tracing::debug!("the private database is not there yet: {why}");
                } else {
                    tracing::warn!("the database cannot be opened yet: {why}");
                }
                gate.shut(why);
            }
            if stop.run_until_cancelled(tokio::time::sleep(backoff.pause())).await.is_none() {
                return Ok(());
            }
        }
    }
}

/// Claims the database before anything in it is touched: its schema may be in use by another hub.
async fn open(
    address: &Address,
    hubs: &Database,
    pool: u32,
    claimant: &Claimant,
    accounts: &AccountOptions,
    folder: &Path,
) -> anyhow::Result<(Claim, Opened)> {
    let room = fitness::check(address).await?;
    // Connections of its own: the hub's are behind the gate.
    let database = address.open(1);
    let claim = Claim::take(&database, claimant).await?;
    store::migrate(&database).await.context("cannot bring the database's schema up to date")?;
    let admin = first_start::prepare(accounts, folder, &database).await?;
    let fingerprints = changes::fingerprints(&database).await?;
    database.close().await;
    make_room(hubs, &room, pool).await?;
    Ok((claim, Opened { admin, fingerprints }))
}

/// Lets the hub's pool have what the server has room for, once those who have connections of their own have theirs.
async fn make_room(hubs: &Database, room: &Room, wanted: u32) -> anyhow::Result<()> {
    let (fits, told) = room.pool(wanted);
    match (fits, told) {
        (Some(fits), told) => {
            if let Some(told) = told {
                tracing::warn!("{told}");
            }
            hubs.resize(fits);
        }
        (None, told) => return Err(Full(told.unwrap_or_default()).into()),
    }
    hubs.hold_places().await?;
    Ok(())
}

/// The server has no room for the hub's connections; others may make some.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Full(String);

/// Whether waiting is of no use. A missing name or a refused password is a passing state of a server that may be new.
fn is_for_good(error: &anyhow::Error, may_be_new: bool) -> bool {
    if error.is::<Full>() {
        return false;
    }
    let cause = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(ClaimError::Database(cause)) => Some(cause),
        Some(ClaimError::Taken) | None => match cause.downcast_ref() {
            Some(FitnessError::Database(cause)) => Some(cause),
            Some(FitnessError::Unfit(_)) | None => cause.downcast_ref(),
        },
    });
    // What is no fault of the database's: another hub has it, it is not fit, or the first account cannot be made.
    let Some(cause) = cause else { return true };
    !(store::is_away(cause) || may_be_new && store::is_refused_entry(cause))
}
