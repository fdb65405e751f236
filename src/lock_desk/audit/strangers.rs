//! Keeps those whom nobody knows from filling the audit. Their refusals leave few rows, however many they are and from
//! however many addresses they come.
//!
//! Pure, with time as an argument. Must not know how rows are written.

use std::time::{Duration, Instant};

use super::super::flood::Flood;
use crate::store::lock_audit::Entry;

/// More refusals of one address than this in an hour become one row with a count.
const REFUSALS: (u32, Duration) = (2, Duration::from_hours(1));
/// How many addresses have rows of their own within an hour. All further ones share theirs, so an hour has 51 rows of
/// strangers at most.
const ADDRESSES: usize = 16;

/// Lets few of the strangers' refusals pass, and counts the rest.
#[derive(Debug)]
pub(super) struct Strangers(Flood<Option<String>, Entry>);

impl Default for Strangers {
    fn default() -> Self {
        Self(Flood::new(REFUSALS.0, REFUSALS.1))
    }
}

impl Strangers {
    /// The row, if it may be written now; else it is counted. Ask [`Strangers::due`] first.
    pub(super) fn offer(&mut self, now: Instant, entry: Entry) -> Option<Entry> {
        let own = Some(entry.address.clone().unwrap_or_default());
        let has_own = self.0.knows(&own) || self.0.senders() < ADDRESSES;
        self.0.offer(now, own.filter(|_| has_own), entry)
    }

    /// The counted rows of the hours that are over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Entry, i64)> {
        self.0.due(now)
    }

    /// All counted rows.
    pub(super) fn rest(&mut self) -> Vec<(Entry, i64)> {
        self.0.rest()
    }

    /// When [`Strangers::due`] has something next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.next_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock_desk::audit::backlog::tests::refusal;

    #[test]
    fn an_hour_has_few_rows_of_strangers_and_each_is_counted() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let from = |n: u32| Entry { address: Some(format!("2001:db8::{:x}", n % 5000)), ..refusal(0) };
        let passed: Vec<_> = (0..20_000).filter_map(|n| strangers.offer(start, from(n))).collect();
        assert_eq!(strangers.next_due(), Some(start + REFUSALS.1));
        assert!(strangers.due(start + REFUSALS.1 / 2).is_empty());
        let counted = strangers.due(start + REFUSALS.1);
        assert!(passed.len() + counted.len() <= 51, "{} and {}", passed.len(), counted.len());
        let times: i64 = counted.iter().map(|(_, times)| times).sum();
        assert_eq!(times, 20_000 - i64::try_from(passed.len()).expect("few"));
        // Somebody who knocks once stays visible among them: the first of an hour, by their address.
        assert_eq!(passed[0].address.as_deref(), Some("2001:db8::0"));
        assert_eq!(strangers.offer(start + REFUSALS.1, from(7)), Some(from(7)), "a new hour");
        assert!(strangers.rest().is_empty());
    }
}
