//! The keeper of the events table's months: makes the coming ones ahead, packs the sums of days that are over, and drops
//! the months that `RETENTION_DAYS` has passed.
//!
//! Must not know who writes events or who reads them.

use std::time::Duration;

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::trusted_clock::Standing,
    store::{self, Database, months, retention::OldMonth},
};

/// How often the keeper looks.
const LOOK: Duration = Duration::from_hours(1);
/// How many months after the current one have their partition ready.
const AHEAD: u32 = 3;
/// How often a month is tried to be dropped before the next look, and the pauses between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// Looks until `stop`, and whenever the clock is believed again. `days` is `RETENTION_DAYS`, if events are not kept for good.
/// Nothing is dropped while the clock is in doubt: what was dropped for a wrong clock's sake would not come back.
///
/// # Errors
/// None: what cannot be done now is tried at the next look.
pub async fn run(
    database: Database,
    days: Option<u32>,
    mut clock: watch::Receiver<Option<Standing>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while stop.run_until_cancelled(database.available()).await.is_some() {
        let now = Utc::now();
        if let Err(error) = make_ahead(&database, now).await {
            tracing::warn!("the coming months of events have no partition yet: {error}");
        }
        match pack(&database, now).await {
            Ok(0) => {}
            Ok(sums) => tracing::info!(sums, "packed the sums of days that are over"),
            Err(error) => tracing::warn!("the sums of days that are over are not packed yet: {error}"),
        }
        let standing = *clock.borrow_and_update();
        match (days, standing) {
            (Some(days), Some(Standing::Believed)) => {
                if let Some(Err(error)) = stop.run_until_cancelled(prune(&database, limit(Utc::now(), days))).await {
                    tracing::warn!("old events are not dropped yet: {error}");
                }
            }
            (Some(_), Some(Standing::Doubted(gap))) => {
                tracing::warn!("nothing is dropped for its age, the clock is in doubt: {}", gap.words());
            }
            _ => {}
        }
        let news = async {
            if clock.changed().await.is_err() {
                // Nobody watches the clock any more: the hub stops.
                std::future::pending::<()>().await;
            }
        };
        let pause = tokio::time::timeout(LOOK, news);
        let _ = stop.run_until_cancelled(pause).await;
    }
    Ok(())
}

/// What is older than this is dropped.
#[must_use]
pub fn limit(now: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    now.checked_sub_signed(TimeDelta::days(days.into())).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Makes the partitions of the current month and of those after it.
///
/// # Errors
/// When the database is away, or others work on the table.
pub async fn make_ahead(database: &Database, now: DateTime<Utc>) -> Result<(), store::Error> {
    let mut connection = database.acquire().await?;
    for ahead in 0..=AHEAD {
        let Some(month) = now.checked_add_months(Months::new(ahead)) else { continue };
        if months::make(&mut connection, month).await? {
            tracing::info!(month = %month.format("%Y-%m"), "made a partition for a month of events");
        }
    }
    Ok(())
}

/// Packs the sums of all days before yesterday (UTC): today is still counted, wherever it is today.
///
/// # Errors
/// When the database is away.
pub async fn pack(database: &Database, now: DateTime<Utc>) -> Result<i64, store::Error> {
    let yesterday = now.date_naive().checked_sub_days(Days::new(1)).unwrap_or_default();
    store::totals::pack(database, yesterday).await
}

/// What is dropped for being older than a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub months: Vec<OldMonth>,
    pub messages: i64,
}

impl Plan {
    /// # Errors
    /// When the database is away.
    pub async fn make(database: &Database, limit: DateTime<Utc>) -> Result<Self, store::Error> {
        let months = store::retention::old_months(database, limit).await?;
        Ok(Self { months, messages: store::retention::old_messages(database, limit).await? })
    }
}

/// Drops the months that ended before the limit, but for alerts that nobody has resolved, and rejected messages from
/// before it. What was stored while the clock was in doubt stays until that doubt is as old.
///
/// # Errors
/// When the database is away, or others kept the table busy all the time; the months before that one are dropped.
pub async fn prune(database: &Database, limit: DateTime<Utc>) -> Result<(), store::Error> {
    let months = store::retention::old_months(database, limit).await?;
    if let Some(newest) = months.last() {
        // Before the months, so that a prune that is cut off begins here again.
        let keys = store::retention::forget_keys(database, newest.end, limit).await?;
        tracing::debug!(keys, "forgot the ids of old detections");
    }
    for month in months {
        let dropped = drop_month(database, month.start).await?;
        let month_name = month.start.format("%Y-%m");
        tracing::info!(month = %month_name, events = dropped, alerts_kept = month.alerts, "dropped a month of events");
    }
    let messages = store::retention::delete_messages(database, limit).await?;
    if messages > 0 {
        tracing::info!(messages, "deleted old rejected messages");
    }
    Ok(())
}

async fn drop_month(database: &Database, month: DateTime<Utc>) -> Result<i64, store::Error> {
    let mut tries = 1;
    loop {
        match store::retention::drop_month(database, month).await {
            Err(error) if store::is_busy(&error) && tries < TRIES => tries += 1,
            done => return done,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_days_ago() {
        assert_eq!(limit(DateTime::UNIX_EPOCH + TimeDelta::days(3), 2), DateTime::UNIX_EPOCH + TimeDelta::days(1));
        assert_eq!(limit(DateTime::<Utc>::MIN_UTC, 36_500), DateTime::<Utc>::MIN_UTC);
    }
}
