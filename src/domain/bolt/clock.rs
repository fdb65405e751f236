//! How the lock worker's clock stands to the hub's, by the hub's repeated status.

use std::collections::VecDeque;

use chrono::TimeDelta;

/// From where on differing clocks are an alert. Commands are refused above [`super::AHEAD`].
const ALERT: TimeDelta = TimeDelta::seconds(1);
/// Below this they are right again. Lower than [`ALERT`], so that a clock at the limit does not alert each ten seconds.
const RIGHT: TimeDelta = TimeDelta::milliseconds(800);
/// How many measures count. A message may come late, never early, so the smallest of a few is the nearest to the truth.
const MEASURES: usize = 3;

/// What was measured.
#[derive(Debug, Default)]
pub struct Watch {
    measures: VecDeque<TimeDelta>,
    /// Kept over a reconnection, until it is measured anew.
    offset: Option<TimeDelta>,
    alert: bool,
}

impl Watch {
    /// A new connection: what was measured before may be long ago. It counts until something newer does.
    pub fn connected(&mut self) {
        self.measures.clear();
    }

    /// One measure: this clock less the hub's. Whether it is the first one of the connection.
    pub fn measure(&mut self, offset: TimeDelta) -> bool {
        let first = self.measures.is_empty();
        self.measures.push_back(offset);
        if self.measures.len() > MEASURES {
            self.measures.pop_front();
        }
        let offset = self.measures.iter().min().copied().unwrap_or(offset);
        self.offset = Some(offset);
        let limit = if self.alert { RIGHT } else { ALERT };
        self.alert = offset.abs() > limit;
        first
    }

    /// This clock less the hub's; none until it was measured.
    #[must_use]
    pub fn offset(&self) -> Option<TimeDelta> {
        self.offset
    }

    /// Whether the two differ too much.
    #[must_use]
    pub fn alert(&self) -> bool {
        self.alert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alerts(measures: &[i64]) -> Vec<bool> {
        let mut watch = Watch::default();
        let measure = |ms: &i64| {
            watch.measure(TimeDelta::milliseconds(*ms));
            watch.alert()
        };
        measures.iter().map(measure).collect()
    }

    #[test]
    fn one_alert_for_one_wrong_clock() {
        assert_eq!(alerts(&[0, -1001, -990, -1010, -990, -1000, -1000]), [false, true, true, true, true, true, true]);
        assert_eq!(alerts(&[-1001, -801, -801, -801, -800, -800, -800]), [true, true, true, true, true, true, false]);
        assert_eq!(alerts(&[1500, 1500, 700]), [true, true, false]);
    }

    #[test]
    fn a_late_message_is_no_wrong_clock() {
        assert_eq!(alerts(&[3, 5000, 4000, 2]), [false; 4]);
        assert_eq!(alerts(&[3, 5000, 5000, 5000]), [false, false, false, true], "unless all are");
    }

    #[test]
    fn a_new_connection_neither_forgets_nor_mixes() {
        let mut watch = Watch::default();
        assert!(watch.measure(TimeDelta::seconds(-5)));
        watch.connected();
        assert!(watch.alert() && watch.offset() == Some(TimeDelta::seconds(-5)));
        assert!(watch.measure(TimeDelta::zero()), "the first one of this connection");
        assert!(!watch.alert() && watch.offset() == Some(TimeDelta::zero()));
        assert!(!watch.measure(TimeDelta::zero()));
    }
}
