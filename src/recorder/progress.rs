//! What the recorder knows from one group to the next: the newest event, the run of ids and times that it writes, the
//! cameras, and whether to be wary.
//!
//! Must not know who submits and who is answered.

use chrono::{DateTime, Utc};

use super::group::{Answer, Group};
use crate::{
    domain::{event::EventId, trusted_clock},
    store::{self, months, recording::Cameras},
    wire::time::millis,
};

/// How many groups are stored with a look at each event after one that had a duplicate or an unknown camera. Whoever sends
/// things twice does so for a while, and a group that is taken for all new and is not costs twice.
const WARY: u32 = 100;

/// Where the recorder is.
#[derive(Debug, Default)]
pub struct Progress {
    /// The newest event of which somebody was told, if there is one; known from the first look on.
    told: Option<EventId>,
    has_looked: bool,
    /// The time of the last group, to which the run goes that is being written; none where it is not known what was stored
    /// last.
    last: Option<DateTime<Utc>>,
    cameras: Cameras,
    /// How many more groups are not taken for all new.
    wary: u32,
}

impl Progress {
    /// After a try that may have been stored without our hearing of it.
    pub fn be_wary(&mut self) {
        self.wary = WARY;
        self.last = None;
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
        let at = self.enter(connection, Utc::now()).await?;
        let told = self.told;
        let cameras = (self.wary == 0).then_some(&mut self.cameras);
        let answers = group.store(connection, at, told, cameras).await?;
        self.wary = if answers.iter().any(Answer::was_looked_for) { WARY } else { self.wary.saturating_sub(1) };
        self.told = answers.iter().filter_map(Answer::new_id).max().max(told);
        Ok(answers)
    }

    /// The time of the next group. Where it does not follow the last one's, or lies in another month, a new run begins,
    /// which is noted before anything of it is stored: who reads pages goes by that.
    async fn enter(
        &mut self,
        connection: &mut store::Connection,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, store::Error> {
        let before = if self.last.is_some() {
            self.last
        } else {
            let (newest, at) = store::recording::newest(connection).await?.unzip();
            if !self.has_looked {
                (self.told, self.has_looked) = (newest, true);
            }
            at
        };
        let at = millis(trusted_clock::stamp(before, millis(now)));
        let goes_on = before.is_some_and(|before| before <= at && months::is_in(at, before));
        if self.last.is_none() || !goes_on {
            make_month(connection, at).await?;
        }
        if !goes_on {
            months::note_run(connection, at).await?;
        }
        self.last = Some(at);
        Ok(at)
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
