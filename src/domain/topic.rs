//! The hub's own topics, everything else belonging to the users' own devices; and what MQTT says of any topic's name
//! and of the filters that match it.

use std::fmt;

use super::camera::CameraId;

/// A topic that the contract's table names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `camera/<id>/detections`: AI engines to the hub.
    Detections(CameraId),
    /// `camera/<id>/events`: the hub to those who may read events.
    CameraEvents(CameraId),
    /// `camera/<id>/status`, retained.
    CameraStatus(CameraId),
    /// `camera/<id>/occupancy`, retained.
    CameraOccupancy(CameraId),
    /// `lock/command`, never retained.
    LockCommand,
    /// `lock/status`, retained, with the lock worker's will.
    LockStatus,
    /// `lock/response`: what became of a command.
    LockResponse,
    /// `hub/events`: events that concern no camera.
    HubEvents,
    /// `hub/status`, retained, with the hub's own will.
    HubStatus,
}

impl Topic {
    /// The topic of this name, if it is one of the hub's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((id, leaf)) = name.strip_prefix("camera/").and_then(|rest| rest.split_once('/')) {
            let id = id.parse().ok()?;
            return match leaf {
                "detections" => Some(Self::Detections(id)),
                "events" => Some(Self::CameraEvents(id)),
                "status" => Some(Self::CameraStatus(id)),
                "occupancy" => Some(Self::CameraOccupancy(id)),
                _ => None,
            };
        }
        match name {
            "lock/command" => Some(Self::LockCommand),
            "lock/status" => Some(Self::LockStatus),
            "lock/response" => Some(Self::LockResponse),
            "hub/events" => Some(Self::HubEvents),
            "hub/status" => Some(Self::HubStatus),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detections(id) => write!(f, "camera/{id}/detections"),
            Self::CameraEvents(id) => write!(f, "camera/{id}/events"),
            Self::CameraStatus(id) => write!(f, "camera/{id}/status"),
            Self::CameraOccupancy(id) => write!(f, "camera/{id}/occupancy"),
            Self::LockCommand => f.write_str("lock/command"),
            Self::LockStatus => f.write_str("lock/status"),
            Self::LockResponse => f.write_str("lock/response"),
            Self::HubEvents => f.write_str("hub/events"),
            Self::HubStatus => f.write_str("hub/status"),
        }
    }
}

/// Whether a name lies below one of the hub's own roots, where nobody but the hub's table decides.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    matches!(name.split('/').next(), Some("camera" | "lock" | "hub"))
}

/// Where bridges of other brokers say whether they are connected: all of `$SYS` that is not closed.
const BRIDGES: &str = "$SYS/broker/connection/";

/// Whether a filter reaches nothing but what bridges say of themselves.
#[must_use]
pub fn is_of_bridges(filter: &str) -> bool {
    filter.strip_prefix(BRIDGES).is_some_and(|rest| !rest.is_empty())
}

/// Whether a bridge says under this name whether it is connected: `$SYS/broker/connection/NAME/state`.
#[must_use]
pub fn is_bridge_state(name: &str) -> bool {
    let bridge = name.strip_prefix(BRIDGES).and_then(|rest| rest.strip_suffix("/state"));
    bridge.is_some_and(|bridge| !bridge.is_empty())
}

/// The longest name that a packet can carry, in bytes of UTF-8.
const LONGEST: usize = 65_535;

/// Whether MQTT lets a message be published under this name: not empty, no wildcard, no NUL (4.7.1 and 4.7.3 of the
/// standard, 3.1.1 and 5.0 alike).
#[must_use]
pub fn valid_topic(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && !name.contains(['+', '#', '\0'])
}

/// Whether MQTT lets somebody subscribe to this filter: `+` and `#` stand for whole levels, `#` only for the last; a
/// shared one has a group without wildcards and a filter behind it (4.8.2 of 5.0).
#[must_use]
pub fn valid_filter(filter: &str) -> bool {
    if filter.len() > LONGEST {
        return false;
    }
    let plain = match shared(filter) {
        Some((group, rest)) if !group.is_empty() && !group.contains(['+', '#']) => rest,
        Some(_) => return false,
        None => filter,
    };
    let last = plain.split('/').count() - 1;
    !plain.is_empty()
        && !filter.contains('\0')
        && plain.split('/').enumerate().all(|(index, level)| match level {
            "+" => true,
            "#" => index == last,
            literal => !literal.contains(['+', '#']),
        })
}

/// The group and the filter of `$share/GROUP/FILTER`; either is empty where it is missing. `None` for every filter that
/// is not shared.
#[must_use]
pub fn shared(filter: &str) -> Option<(&str, &str)> {
    let rest = filter.strip_prefix("$share/").or_else(|| (filter == "$share").then_some(""))?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// Whether a valid filter, without a `$share` prefix, matches a valid topic name. A filter that begins with a wildcard
/// matches no name that begins with `$`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether `wide` surely matches every name that `narrow` does; both are valid filters without a `$share` prefix. Where
/// that takes more than one level at a time to see (`+/#` and `#`), the answer is no.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    if narrow.starts_with('$') && wide.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = narrow.split('/');
    for wanted in wide.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == level || (wanted == "+" && level != "#") => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_topic_reads_back() {
        let id = CameraId(12);
        for topic in [
            Topic::Detections(id),
            Topic::CameraEvents(id),
            Topic::CameraStatus(id),
            Topic::CameraOccupancy(id),
            Topic::LockCommand,
            Topic::LockStatus,
            Topic::LockResponse,
            Topic::HubEvents,
            Topic::HubStatus,
        ] {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn near_misses_are_no_topics() {
        for name in [
            "camera/1/detections/",
            "camera/1/detections/x",
            "camera/01/detections",
            "camera/x/detections",
            "camera/x/occupancy",
            "camera/1/occupancy/x",
            "camera//detections",
            "camera/1/detections//x",
            "/camera/1/detections",
            "camera/1",
            "lock/command/",
            "lock",
            "Lock/command",
            "",
        ] {
            assert_eq!(Topic::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_and_filters_are_as_the_standard_says() {
        for name in ["a", "/", "a/b", "/a", "a/", "a//b", "$SYS/x", "éa", " ", "%n", &"x".repeat(65_535)] {
            assert!(valid_topic(name) && valid_filter(name), "{name}");
        }
        for name in ["", "a\0", &"x".repeat(65_536)] {
            assert!(!valid_topic(name) && !valid_filter(name), "{name}");
        }
        for filter in
            ["#", "+", "/#", "+/+", "a/+/b", "a/#", "+/a/#", "$SYS/#", "$share/g/a", "$share/g/#", "$share/g//"]
        {
            assert!(valid_filter(filter), "{filter}");
        }
        for filter in ["+", "#", "a/+", "a/#", "a+", "a#"] {
            assert!(!valid_topic(filter), "{filter}");
        }
        for filter in
            ["a#", "#/x", "a/#/b", "+a", "a+", "a/b+/c", "##", "++", "$share", "$share/", "$share/g", "$share/g/"]
        {
            assert!(!valid_filter(filter), "{filter}");
        }
        for filter in ["$share//a", "$share/+/a", "$share/#/a", "$share/g+/a", "$share/g/a#", "$share/g/#/a"] {
            assert!(!valid_filter(filter), "{filter}");
        }
    }

    #[test]
    fn a_bridge_speaks_of_its_connection_and_of_nothing_else() {
        for name in ["$SYS/broker/connection/house.hub/state", "$SYS/broker/connection/a/b/state"] {
            assert!(is_bridge_state(name) && is_of_bridges(name), "{name}");
        }
        for filter in ["$SYS/broker/connection/#", "$SYS/broker/connection/+/state", "$SYS/broker/connection/%n/state"]
        {
            assert!(is_of_bridges(filter), "{filter}");
        }
        for name in [
            "$SYS/broker/connection/state",
            "$SYS/broker/connection//state",
            "$SYS/broker/connection/a",
            "$SYS/broker/connection/a/state/x",
            "$SYS/broker/uptime",
            "x/$SYS/broker/connection/a/state",
            "$SYS/broker/connections/a/state",
        ] {
            assert!(!is_bridge_state(name), "{name}");
        }
        for filter in ["$SYS/#", "$SYS/broker/+/a/state", "$SYS/broker/connection", "$SYS/broker/connection/", "#"] {
            assert!(!is_of_bridges(filter), "{filter}");
        }
    }

    #[test]
    fn a_shared_filter_is_taken_apart() {
        assert_eq!(shared("$share/g/a/b"), Some(("g", "a/b")));
        assert_eq!(shared("$share/g/"), Some(("g", "")));
        assert_eq!(shared("$share/g"), Some(("g", "")));
        assert_eq!(shared("$share"), Some(("", "")));
        for plain in ["$shared/g/a", "share/g/a", "a/$share/g", "$SYS/#"] {
            assert_eq!(shared(plain), None, "{plain}");
        }
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a"),
            ("#", "/a"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("+/tennis/#", "sport/tennis"),
            ("$SYS/#", "$SYS/uptime"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("a//b", "a//b"),
            ("a/+/b", "a//b"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/+", "sport"),
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("+", "/finance"),
            ("+", "a/b"),
            ("#", "$SYS/uptime"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("a", "A"),
            ("a", "a/"),
            ("a/", "a"),
            ("/a", "a"),
            ("a/b", "a/b/c"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn a_wider_filter_covers() {
        for (wide, narrow) in
            [("#", "a"), ("#", "#"), ("#", "+/a"), ("a/#", "a"), ("a/#", "a/+/b"), ("+/b", "+/b"), ("a/+", "a/b")]
        {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in
            [("a", "#"), ("a/+", "a/#"), ("+", "#"), ("a/b", "a/+"), ("#", "$SYS/#"), ("a", "a/#"), ("a/+", "a")]
        {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    /// What the standard says of matching, by trying: `#` stands for any number of levels, `+` for exactly one.
    fn matches_by_trying(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) | (["#"], _) => true,
            ([wanted, filter @ ..], [level, topic @ ..]) => {
                (*wanted == "+" || wanted == level) && matches_by_trying(filter, topic)
            }
            _ => false,
        }
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["[ab]{0,2}", Just("$a".to_owned()), Just("é".to_owned())], 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("not empty", |name| !name.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => "[ab]{0,2}", 2 => Just("+".to_owned()), 1 => Just("$a".to_owned())];
        (proptest::collection::vec(level, 1..5), any::<bool>())
            .prop_map(|(mut levels, tail)| {
                if tail {
                    levels.push("#".to_owned());
                }
                levels.join("/")
            })
            .prop_filter("not empty", |filter| !filter.is_empty())
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_standard(filter in filter(), topic in name()) {
            prop_assert!(valid_filter(&filter) && valid_topic(&topic));
            let (wanted, levels): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
            let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
            prop_assert_eq!(matches(&filter, &topic), !hidden && matches_by_trying(&wanted, &levels));
        }

        #[test]
        fn a_plain_filter_matches_itself_only(one in name(), other in name()) {
            prop_assert_eq!(matches(&one, &other), one == other);
        }

        #[test]
        fn what_is_covered_is_matched(wide in filter(), narrow in filter(), topic in name()) {
            prop_assert!(covers(&narrow, &narrow));
            if covers(&wide, &narrow) && matches(&narrow, &topic) {
                prop_assert!(matches(&wide, &topic));
            }
        }

        #[test]
        fn covering_a_plain_filter_is_matching_it(wide in filter(), topic in name()) {
            prop_assert_eq!(covers(&wide, &topic), matches(&wide, &topic));
        }

        #[test]
        fn nothing_panics_on_any_text(filter in any::<String>(), topic in any::<String>()) {
            let _ = (valid_filter(&filter), valid_topic(&topic), matches(&filter, &topic), covers(&filter, &topic));
            let _ = (shared(&filter), Topic::parse(&topic), is_reserved(&topic));
        }
    }
}
