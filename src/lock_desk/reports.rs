//! What the lock desk has to say to everybody: the door's movements and alerts, on their way to the recorder.

use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::mpsc;

use super::{
    flood::Flood,
    state::{News, Subject},
};
use crate::{
    domain::event::{EventType, Occurrence},
    events::{Channel, Item, intake::Intake},
};

/// How many may wait while the recorder does. When it is full the newest is dropped, and the log says so.
const WAITING: usize = 1024;
/// More alerts of one subject than this in a minute become one with a count.
const ALERTS: u32 = 6;
const WINDOW: Duration = Duration::from_mins(1);

/// The way to the reporter.
#[derive(Debug, Clone)]
pub(super) struct Reports(mpsc::Sender<News>);

impl Reports {
    pub(super) fn new() -> (Self, mpsc::Receiver<News>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Never waits.
    pub(super) fn tell(&self, news: News) {
        if let Err(error) = self.0.try_send(news) {
            tracing::error!("an event of the lock is not recorded: {error}");
        }
    }

    pub(super) fn alert(&self, subject: Subject, description: String) {
        self.tell(News::alert(subject, description, Utc::now()));
    }
}

/// Hands reports to the recorder, one after the other, until nobody can report any more.
pub(super) async fn run(mut reports: mpsc::Receiver<News>, recorder: Intake) -> anyhow::Result<()> {
    let mut flood = Flood::new(ALERTS, WINDOW);
    loop {
        let due = flood.next_due();
        let report = tokio::select! {
            report = reports.recv() => report,
            () = until(due), if due.is_some() => {
                for held in flood.due(Instant::now()) {
                    record(&recorder, counted(held)).await;
                }
                continue;
            }
        };
        let Some(News { subject, occurrence }) = report else { break };
        if occurrence.event_type != EventType::SystemAlert {
            record(&recorder, occurrence).await;
            continue;
        }
        let now = Instant::now();
        for held in flood.due(now) {
            record(&recorder, counted(held)).await;
        }
        if let Some(alert) = flood.offer(now, subject, occurrence) {
            record(&recorder, alert).await;
        }
    }
    for held in flood.rest() {
        record(&recorder, counted(held)).await;
    }
    Ok(())
}

/// Waits for that time; forever without one.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn counted((alert, count): (Occurrence, i64)) -> Occurrence {
    if count == 1 {
        return alert;
    }
    let description = format!("{} (the last of {count} within a minute)", alert.description);
    // Without the last one's key: were that stored already, the others would be lost with it.
    Occurrence { description, key: None, ..alert }
}

async fn record(recorder: &Intake, occurrence: Occurrence) {
    let description = occurrence.description.clone();
    if recorder.submit(Channel::Internal, Item::Occurrence(occurrence)).outcome().await.is_none() {
        tracing::warn!(description, "an event of the lock was not recorded");
    }
}
