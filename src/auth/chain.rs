//! A chain of rows, each sealed by an HMAC over its content and the seal of the row before, so that a changed, missing
//! or cut-off row shows. Pure: rows, key and head are brought by whoever asks.
//!
//! Must not know what the rows say, nor where they are kept.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// So that no other use of the same key could make a seal that fits here.
const PURPOSE: &[u8] = b"portcullis audit chain 1";

/// The secret that seals are made with. Who has it can make a chain that verifies; so it is not kept beside the rows.
#[derive(Clone)]
pub struct ChainKey([u8; 32]);

impl ChainKey {
    /// A new one from the system's generator.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// The key as 64 hexadecimal digits, for its file. The only way out.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        hex(&self.0)
    }

    /// The seal of a row.
    #[must_use]
    pub fn seal(&self, number: i64, previous: &Hash, fields: &[Field<'_>]) -> Hash {
        // HMAC fills a short key up with zeros to SHA-256's block by itself; given a whole block it can't fail.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(PURPOSE);
        mac.update(&number.to_be_bytes());
        mac.update(&previous.0);
        for field in fields {
            field.feed(&mut mac);
        }
        Hash(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(secret)")
    }
}

impl FromStr for ChainKey {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        text.parse().map(|Hash(bytes)| Self(bytes))
    }
}

/// One column of a row, in a form that no other content shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    Absent,
    Text(&'a str),
    Integer(i64),
    /// By its bits, as Postgres keeps it.
    Real(f64),
    Bytes(&'a [u8]),
}

impl Field<'_> {
    /// Kind, length, content: two rows never feed the same bytes unless they say the same.
    fn feed(&self, mac: &mut Hmac<Sha256>) {
        let mut put = |kind: u8, content: &[u8]| {
            mac.update(&[kind]);
            mac.update(&(content.len() as u64).to_be_bytes());
            mac.update(content);
        };
        match self {
            Self::Absent => put(0, &[]),
            Self::Text(text) => put(1, text.as_bytes()),
            Self::Integer(number) => put(2, &number.to_be_bytes()),
            Self::Real(number) => put(3, &number.to_bits().to_be_bytes()),
            Self::Bytes(bytes) => put(4, bytes),
        }
    }
}

impl<'a> From<Option<&'a str>> for Field<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

impl From<Option<i64>> for Field<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Absent, Self::Integer)
    }
}

/// A row's seal.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct NoHash;

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(NoHash);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(NoHash);
            *byte = u8::try_from(nibble(pair[0])? * 16 + nibble(pair[1])?).map_err(|_| NoHash)?;
        }
        Ok(Self(bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The newest row of a chain; number 0 before the first. As text: `NUMBER:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    pub number: i64,
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let (number, hash) = text.split_once(':').ok_or(NoHash)?;
        let number = number.parse().ok().filter(|number| *number >= 0).ok_or(NoHash)?;
        Ok(Self { number, hash: hash.parse()? })
    }
}

/// What the chain says of a row, and what the row's content seals to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub number: i64,
    /// The seal of the row before, as the row has it.
    pub previous: Hash,
    /// The row's seal, as the row has it.
    pub hash: Hash,
    /// What the seal must be, by content and key.
    pub expected: Hash,
}

impl Sealed {
    /// Whether the row is whole and comes right after this head.
    #[must_use]
    pub fn follows(&self, head: &Head) -> bool {
        self.number == head.number + 1 && self.previous == head.hash && self.hash == self.expected
    }

    #[must_use]
    pub fn head(&self) -> Head {
        Head { number: self.number, hash: self.hash }
    }
}

/// What is wrong with a chain, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("row {0} was changed, or not written by this hub")]
    Changed(i64),
    #[error("rows {0} to {1} are missing")]
    Missing(i64, i64),
    #[error("row {0} does not follow the row before it")]
    Unlinked(i64),
    #[error("the end is cut off: rows {0} to {1} are missing")]
    CutOff(i64, i64),
    #[error("row {0} is not the one that was kept as the newest")]
    Replaced(i64),
}

/// How many faults are listed; more are only counted.
const LISTED: usize = 100;

/// Goes through a chain from its first row to its last.
#[derive(Debug)]
pub struct Verification {
    /// Heads that must be found, oldest first.
    heads: Vec<Head>,
    last: Head,
    /// Whether the last row was whole: else the next can't be blamed for not following it.
    sound: bool,
    report: Report,
}

/// What came of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub rows: u64,
    pub newest: Head,
    /// The first of them, in the order of the rows.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub unlisted: u64,
}

impl Report {
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }

    fn add(&mut self, fault: Fault) {
        if self.faults.len() < LISTED {
            self.faults.push(fault);
        } else {
            self.unlisted += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        if self.unlisted > 0 {
            writeln!(f, "and {} more faults", self.unlisted)?;
        }
        let verdict = if self.is_intact() { "intact" } else { "NOT intact" };
        write!(f, "{verdict}: {} rows, the newest is {}", self.rows, self.newest)
    }
}

impl Verification {
    /// Of a chain in which each of these heads must stand: the one in the hub's folder, others from its log.
    #[must_use]
    pub fn new(heads: impl IntoIterator<Item = Head>) -> Self {
        let mut heads: Vec<Head> = heads.into_iter().filter(|head| head.number > 0).collect();
        heads.sort_by_key(|head| head.number);
        Self { heads, last: Head::default(), sound: true, report: Report::default() }
    }

    /// Takes the next row; they come by rising number.
    pub fn see(&mut self, row: &Sealed) {
        let follows_on = row.number == self.last.number + 1;
        if !follows_on {
            self.report.add(Fault::Missing(self.last.number + 1, row.number - 1));
        }
        let whole = row.hash == row.expected;
        if !whole {
            self.report.add(Fault::Changed(row.number));
        } else if follows_on && self.sound && row.previous != self.last.hash {
            self.report.add(Fault::Unlinked(row.number));
        }
        if self.heads.iter().any(|head| head.number == row.number && head.hash != row.hash) {
            self.report.add(Fault::Replaced(row.number));
        }
        self.report.rows += 1;
        (self.last, self.sound) = (row.head(), whole);
    }

    /// The last row was seen.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if let Some(newest) = self.heads.last().filter(|head| head.number > self.last.number) {
            self.report.add(Fault::CutOff(self.last.number + 1, newest.number));
        }
        self.report.newest = self.last;
        self.report
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A row of the tests' chains: its content is one text.
    #[derive(Debug, Clone)]
    struct Row {
        number: i64,
        previous: Hash,
        hash: Hash,
        text: String,
    }

    fn chain(key: &ChainKey, texts: &[String]) -> Vec<Row> {
        let mut head = Head::default();
        texts
            .iter()
            .map(|text| {
                let number = head.number + 1;
                let previous = head.hash;
                let hash = key.seal(number, &previous, &[Field::Text(text)]);
                head = Head { number, hash };
                Row { number, previous, hash, text: text.clone() }
            })
            .collect()
    }

    fn verify(key: &ChainKey, rows: &[Row], head: Head) -> Report {
        let mut verification = Verification::new([head]);
        for row in rows {
            let expected = key.seal(row.number, &row.previous, &[Field::Text(&row.text)]);
            verification.see(&Sealed { number: row.number, previous: row.previous, hash: row.hash, expected });
        }
        verification.finish()
    }

    fn head(rows: &[Row]) -> Head {
        rows.last().map_or(Head::default(), |row| Head { number: row.number, hash: row.hash })
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a-z]{0,4}", 1..30)
    }

    proptest! {
        #[test]
        fn an_untouched_chain_is_intact(texts in texts()) {
            let key = ChainKey::generate();
            let rows = chain(&key, &texts);
            let report = verify(&key, &rows, head(&rows));
            prop_assert!(report.is_intact(), "{report}");
            prop_assert_eq!(report.newest, head(&rows));
        }

        #[test]
        fn a_changed_row_is_named(texts in texts(), at in any::<prop::sample::Index>()) {
            let key = ChainKey::generate();
            let mut rows = chain(&key, &texts);
            let head = head(&rows);
            let changed = at.get(&rows).number;
            rows[usize::try_from(changed - 1).unwrap()].text.push('!');
            prop_assert_eq!(verify(&key, &rows, head).faults, [Fault::Changed(changed)]);
        }

        #[test]
        fn a_missing_row_is_named(texts in texts(), at in any::<prop::sample::Index>()) {
            let key = ChainKey::generate();
            let mut rows = chain(&key, &texts);
            let head = head(&rows);
            let missing = at.get(&rows).number;
            rows.retain(|row| row.number != missing);
            let fault = if missing == head.number {
                Fault::CutOff(missing, missing)
            } else {
                Fault::Missing(missing, missing)
            };
            prop_assert_eq!(verify(&key, &rows, head).faults, [fault]);
        }

        #[test]
        fn rows_that_change_places_are_found(texts in texts(), at in any::<prop::sample::Index>()) {
            prop_assume!(texts.len() > 1);
            let key = ChainKey::generate();
            let mut rows = chain(&key, &texts);
            let head = head(&rows);
            let first = at.index(rows.len() - 1);
            rows.swap(first, first + 1);
            let (one, other) = (rows[first].number, rows[first + 1].number);
            (rows[first].number, rows[first + 1].number) = (other, one);
            let report = verify(&key, &rows, head);
            prop_assert!(report.faults.contains(&Fault::Changed(one.min(other))), "{report}");
        }

        #[test]
        fn heads_read_back(number in 0..i64::MAX, bytes in any::<[u8; 32]>()) {
            let head = Head { number, hash: Hash(bytes) };
            prop_assert_eq!(head.to_string().parse(), Ok(head));
        }
    }

    #[test]
    fn a_chain_made_anew_without_the_key_fails_at_every_row() {
        let (key, theirs) = (ChainKey::generate(), ChainKey::generate());
        let texts = ["a".to_owned(), "b".to_owned()];
        let (ours, forged) = (chain(&key, &texts), chain(&theirs, &texts));
        let report = verify(&key, &forged, head(&ours));
        assert_eq!(report.faults, [Fault::Changed(1), Fault::Changed(2), Fault::Replaced(2)]);
    }

    #[test]
    fn an_older_chain_that_verifies_by_itself_is_not_the_newest() {
        let key = ChainKey::generate();
        let (ours, older) = (chain(&key, &["a".to_owned()]), chain(&key, &["b".to_owned()]));
        assert_eq!(verify(&key, &older, head(&ours)).faults, [Fault::Replaced(1)]);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = ChainKey::generate();
        let seal = |fields: &[Field<'_>]| key.seal(1, &Hash::default(), fields);
        assert_ne!(seal(&[Field::Text("ab"), Field::Text("")]), seal(&[Field::Text("a"), Field::Text("b")]));
        assert_ne!(seal(&[Field::Absent]), seal(&[Field::Text("")]));
        assert_ne!(seal(&[Field::Integer(1)]), seal(&[Field::Bytes(&1_i64.to_be_bytes())]));
    }

    #[test]
    fn only_the_first_faults_are_listed() {
        let (key, other) = (ChainKey::generate(), ChainKey::generate());
        let rows = chain(&key, &vec![String::new(); 150]);
        let report = verify(&other, &rows, Head::default());
        assert_eq!((report.faults.len(), report.unlisted), (100, 50));
        assert!(report.to_string().contains("and 50 more faults"));
    }

    #[test]
    fn a_key_reads_back_and_does_not_show_in_the_log() {
        let key = ChainKey::generate();
        let text = key.to_secret_text();
        let again: ChainKey = text.parse().expect("a key");
        assert_eq!(again.to_secret_text(), text);
        assert!(!format!("{key:?}").contains(&text));
        assert!("zz".repeat(32).parse::<ChainKey>().is_err());
        assert!("é".repeat(32).parse::<ChainKey>().is_err());
    }
}
