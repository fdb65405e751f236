//! What the recorder knows from one group to the next: the newest event, the cameras, the month, and whether to be wary.
//!
//! Must not know who submits and who is answered.

use chrono::{DateTime, Utc};

use super::group::{Answer, Group};
use crate::{
    domain::event::EventId,
    store::{self, months, recording::Cameras},
};

/// How many groups are stored with a look at each event after one that had a duplicate or an unknown camera. Whoever sends
/// things twice does so for a while, and a group that is taken for all new and is not costs twice.
const WARY: u32 = 100;

/// Where the recorder is.
#[derive(Debug, Default)]
pub struct Progress {
    newest: Option<Newest>,
    cameras: Cameras,
    /// How many more groups are not taken for all new.
    wary: u32,
    /// The month whose partition was made, or could not be made and is made later.
    month: Option<DateTime<Utc>>,
}

/// The newest of what has been stored.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    id: Option<EventId>,
    at: Option<DateTime<Utc>>,
}

impl Progress {
    /// After a try that may have been stored without our hearing of it.
    pub fn be_wary(&mut self) {
        self.wary = WARY;
    }

    /// Commits a group and says what became of each of its submissions.
    ///
    /// # Errors
    /// When the database is away or refuses a row; then nothing of the group is stored, or nobody knows.
    pub async fn commit(
        &mut self,
        connection: &mut store::Connection,
        group: &Group,
    ) -> Result<Vec<Answer>, store::Error> {
        let newest = match self.newest {
            Some(newest) => newest,
            None => Newest::read(connection).await?,
        };
        let at = newest.next(Utc::now());
        self.newest = Some(Newest { at: Some(at), ..newest });
        if self.month.is_none_or(|month| !months::is_in(at, month)) {
            make_month(connection, at).await?;
            self.month = Some(at);
        }
        let cameras = (self.wary == 0).then_some(&mut self.cameras);
        let answers = group.store(connection, at, newest.id, cameras).await?;
        self.wary = if answers.iter().any(Answer::was_looked_for) { WARY } else { self.wary.saturating_sub(1) };
        let id = answers.iter().filter_map(Answer::new_id).max().max(newest.id);
        self.newest = Some(Newest { at: Some(at), id });
        Ok(answers)
    }
}

/// Makes the partition of a month. That is done ahead by others; here it is for a clock that has jumped. When it cannot
/// be made the events lie elsewhere for a while, and none is lost.
async fn make_month(connection: &mut store::Connection, at: DateTime<Utc>) -> Result<(), store::Error> {
    match months::make(connection, at).await {
        Ok(made) if made => tracing::info!(month = %at.format("%Y-%m"), "made a partition for a month of events"),
        Ok(_) => {}
        Err(error) if store::is_away(&error) => return Err(error),
        Err(error) => tracing::warn!(month = %at.format("%Y-%m"), "a month of events has no partition yet: {error}"),
    }
    Ok(())
}

impl Newest {
    async fn read(connection: &mut store::Connection) -> Result<Self, store::Error> {
        let (id, at) = store::recording::newest(connection).await?.unzip();
        Ok(Self { id, at })
    }

    /// The time of the next group: never before that of an event with a lower id, whatever the system's clock does.
    fn next(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let now = crate::wire::time::millis(now);
        self.at.map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_never_goes_back() {
        let (early, late) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + Duration::from_secs(1));
        let newest = |at| Newest { id: None, at };
        assert_eq!(newest(None).next(early), early);
        assert_eq!(newest(Some(late)).next(early), late);
        assert_eq!(newest(Some(early)).next(late), late);
    }
}
