//! All that many share, for docs/security.md: each part of the hub lists its own pools, and this puts the lists together.

use crate::{
    auth::password,
    bridge,
    domain::pool::{Listed, table},
    mqtt,
};

/// Every pool, with its numbers where nothing is set. A part of the hub that has pools has a function that lists them, and
/// a line here.
fn all() -> Vec<Listed> {
    [bridge::listed(), password::listed(), mqtt::pools::listed(&mqtt::Settings::default().limits)].concat()
}

/// The table of docs/security.md.
#[must_use]
pub fn markdown() -> String {
    table(&all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pool::Standing;

    #[test]
    fn the_documentation_is_current() {
        let page = include_str!("../../docs/security.md");
        assert!(page.contains(&markdown()), "docs/security.md: put in what `cargo run -- config --pools` prints");
    }

    #[test]
    fn whoever_has_least_cannot_have_all() {
        for Listed { what, bounds, .. } in all() {
            assert!(bounds.reserve >= 2, "{what}: nothing is kept for the lock agent");
            assert!(bounds.each < bounds.for_standing(Standing::Common), "{what}: one holder can have all of it");
        }
    }
}
