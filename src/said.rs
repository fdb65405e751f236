//! Errors in words for a person: each cause once, though libraries repeat in an error's own text what its cause says.
//!
//! Must not know any library's errors.

use std::error::Error;

/// An error and its causes, from the outermost to the innermost, without those whose words were said already.
#[must_use]
pub fn once(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !said.contains(&words) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&words);
        }
        cause = error.source();
    }
    said
}

/// The same of an `anyhow` error.
#[must_use]
pub fn all(error: &anyhow::Error) -> String {
    once(error.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("the wire is cut");
        let repeats = anyhow::Error::new(cause).context("no answer: the wire is cut").context("cannot open");
        assert_eq!(all(&repeats), "cannot open: no answer: the wire is cut");
        let plain = anyhow::anyhow!("inner").context("middle").context("outer");
        assert_eq!(all(&plain), "outer: middle: inner");
        assert_eq!(all(&anyhow::anyhow!("alone")), "alone");
    }
}
