//! What came back: how long each took, and how many were turned away.

use serde::Serialize;

/// What the senders or the hearers of one measurement have got.
#[derive(Debug, Default)]
pub struct Answers {
    /// Of each detection that was acknowledged or heard of, in microseconds.
    pub latencies: Vec<u32>,
    /// Those that the hub answered with 503, to be sent again later.
    pub busy: u64,
    /// How often a connection was lost and made again.
    pub reconnects: u64,
}

impl Answers {
    /// Those of several together.
    #[must_use]
    pub fn of(many: impl IntoIterator<Item = Self>) -> Self {
        many.into_iter().fold(Self::default(), |mut all, mut one| {
            all.latencies.append(&mut one.latencies);
            all.busy += one.busy;
            all.reconnects += one.reconnects;
            all
        })
    }

    /// Half are no later than the first, 99 % no later than the second, and none is later than the third.
    #[must_use]
    pub fn percentiles(&mut self) -> Option<Percentiles> {
        self.latencies.sort_unstable();
        let at = |percent: usize| {
            let index = (self.latencies.len() * percent).div_ceil(100).max(1) - 1;
            self.latencies.get(index).map(|micros| f64::from(*micros) / 1000.0)
        };
        Some(Percentiles { p50: at(50)?, p99: at(99)?, longest: at(100)? })
    }
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    #[serde(rename = "p50Ms")]
    pub p50: f64,
    #[serde(rename = "p99Ms")]
    pub p99: f64,
    #[serde(rename = "longestMs")]
    pub longest: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_answers() {
        let part = |range: std::ops::RangeInclusive<u32>| Answers {
            latencies: range.rev().map(|ms| ms * 1000).collect(),
            ..Answers::default()
        };
        let mut all = Answers::of([part(51..=100), part(1..=50)]);
        let expected = Percentiles { p50: 50.0, p99: 99.0, longest: 100.0 };
        assert_eq!(all.percentiles(), Some(expected));
        assert_eq!(Answers::default().percentiles(), None);
    }
}
