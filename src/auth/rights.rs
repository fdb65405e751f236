//! Who may publish, subscribe to and receive what. Nothing is allowed that no rule allows.
//!
//! The hub's own topics are decided by one table, by role. Everything else is closed until an `[[rights]]` entry of
//! broker.toml opens it, and no entry reaches a topic of the table. Must not know sessions or packets: the front asks
//! before it accepts a message or a filter, and again before each delivery, so that a filter with wildcards brings
//! nobody what a plain one could not.

mod entry;
mod table;

use std::fmt;

pub use self::entry::{Action, Entry, Who};
use self::table::{pattern, publisher, reached, reader};
use super::identity::Identity;
use crate::domain::topic::{self, Topic};

/// What was decided, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// For people: `role ai-engine publishes camera/+/detections`, `[[rights]] entry 2`, `nothing allows it`.
    pub rule: String,
}

/// The rule that decides. Kept apart from its words, since most decisions are made and never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Hub,
    /// The table allows it to somebody like this.
    Table(&'static str, Verb, Topic),
    /// An entry, by its place in the file, and what it says.
    Entry(usize, bool),
    NoTopic,
    NoFilter,
    BrokersOwn,
    HubsOwn,
    SharedCommand,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Publishes,
    Reads,
}

impl Rule {
    fn allows(self) -> bool {
        matches!(self, Self::Hub | Self::Table(..) | Self::Entry(_, true))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub itself may do everything"),
            Self::Table(who, verb, topic) => {
                let verb = if *verb == Verb::Publishes { "publishes" } else { "reads" };
                write!(f, "{who} {verb} {}", pattern(*topic))
            }
            Self::Entry(index, _) => write!(f, "[[rights]] entry {}", index + 1),
            Self::NoTopic => f.write_str("not a topic that can be published to"),
            Self::NoFilter => f.write_str("not a topic filter"),
            Self::BrokersOwn => f.write_str(
                "nothing allows it: topics that begin with $ are closed, but for $SYS/broker/connection/NAME/state to whom \
                 a [[rights]] entry opens it",
            ),
            Self::HubsOwn => f.write_str(
                "nothing allows it: camera/, lock/ and hub/ are the hub's own, and no [[rights]] entry reaches them",
            ),
            Self::SharedCommand => f.write_str("lock/command is never shared"),
            Self::Nothing => f.write_str("nothing allows it"),
        }
    }
}

impl From<Rule> for Decision {
    fn from(rule: Rule) -> Self {
        Self { allowed: rule.allows(), rule: rule.to_string() }
    }
}

/// All rights: the hub's table and the entries of broker.toml.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    entries: Vec<Entry>,
}

impl Rights {
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// Whether `who` may publish to `topic`, or have a will there.
    #[must_use]
    pub fn publish(&self, who: &Identity, topic: &str) -> Decision {
        self.publish_rule(who, topic).into()
    }

    /// Whether `who` may subscribe to `filter`. A filter with wildcards is accepted where it reaches anything that
    /// `who` may receive; each delivery needs [`Rights::receive`] again.
    #[must_use]
    pub fn subscribe(&self, who: &Identity, filter: &str) -> Decision {
        self.subscribe_rule(who, filter).into()
    }

    /// Whether a message of `topic` may be delivered to `who`, by whatever filter.
    #[must_use]
    pub fn receive(&self, who: &Identity, topic: &str) -> Decision {
        self.receive_rule(who, topic).into()
    }

    /// [`Rights::publish`] without the words, for each message.
    #[must_use]
    pub fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        self.publish_rule(who, topic).allows()
    }

    /// [`Rights::receive`] without the words, for each delivery.
    #[must_use]
    pub fn may_receive(&self, who: &Identity, topic: &str) -> bool {
        self.receive_rule(who, topic).allows()
    }

    /// Which rule decides, for a person who asks why. A subscriber's topic may be a filter.
    #[must_use]
    pub fn explain(&self, who: &Identity, action: Action, topic: &str) -> Decision {
        match action {
            Action::Publish => self.publish(who, topic),
            Action::Subscribe => self.subscribe(who, topic),
        }
    }

    /// Whether a client without a name may connect at all: where an entry gives it anything.
    #[must_use]
    pub fn admits_anonymous(&self) -> bool {
        self.entries.iter().any(|entry| entry.who == Who::Anonymous && entry.allow)
    }

    fn publish_rule(&self, who: &Identity, name: &str) -> Rule {
        if !topic::valid_topic(name) {
            return Rule::NoTopic;
        }
        if *who == Identity::Hub {
            return Rule::Hub;
        }
        if name.starts_with('$') {
            if !topic::is_bridge_state(name) {
                return Rule::BrokersOwn;
            }
            let rule = self.first_entry(who, Action::Publish, |filter| topic::matches(filter, name));
            return if rule == Rule::Nothing { Rule::BrokersOwn } else { rule };
        }
        if topic::is_reserved(name) {
            let known = Topic::parse(name);
            let publisher = known.and_then(|topic| Some((publisher(who, topic)?, topic)));
            return publisher.map_or(Rule::HubsOwn, |(who, topic)| Rule::Table(who, Verb::Publishes, topic));
        }
        self.first_entry(who, Action::Publish, |filter| topic::matches(filter, name))
    }

    fn receive_rule(&self, who: &Identity, name: &str) -> Rule {
        if !topic::valid_topic(name) {
            return Rule::NoTopic;
        }
        self.plain_subscribe_rule(who, name)
    }

    fn subscribe_rule(&self, who: &Identity, filter: &str) -> Rule {
        if !topic::valid_filter(filter) {
            return Rule::NoFilter;
        }
        let Some((_, behind)) = topic::shared(filter) else { return self.plain_subscribe_rule(who, filter) };
        // A shared subscription hands each message to one of many; a command to the lock must reach the one worker. Who
        // may not receive commands may share a wider filter, without them.
        let takes_commands = reader(who, Topic::LockCommand).is_some();
        if behind == "lock/command" || (takes_commands && topic::matches(behind, "lock/command")) {
            return Rule::SharedCommand;
        }
        self.plain_subscribe_rule(who, behind)
    }

    /// Decides on a filter without a `$share` prefix; a topic's name is such a filter too.
    fn plain_subscribe_rule(&self, who: &Identity, filter: &str) -> Rule {
        if *who == Identity::Hub {
            return Rule::Hub;
        }
        if filter.starts_with('$') {
            let rule = self.first_entry(who, Action::Subscribe, |wide| topic::covers(wide, filter));
            return if rule == Rule::Nothing || !topic::is_of_bridges(filter) { Rule::BrokersOwn } else { rule };
        }
        if topic::is_reserved(filter) {
            let reached = Topic::parse(filter).map_or_else(|| reached(filter), |topic| vec![topic]);
            let readable = reached.into_iter().find_map(|topic| Some((reader(who, topic)?, topic)));
            return readable.map_or(Rule::HubsOwn, |(who, topic)| Rule::Table(who, Verb::Reads, topic));
        }
        self.first_entry(who, Action::Subscribe, |wide| topic::covers(wide, filter))
    }

    fn first_entry(&self, who: &Identity, action: Action, decides: impl Fn(&str) -> bool) -> Rule {
        let is_meant = |entry: &Entry| {
            entry.action == action && entry.who.is(who) && entry.filter_for(who).is_some_and(|filter| decides(&filter))
        };
        let found = self.entries.iter().position(is_meant);
        found.map_or(Rule::Nothing, |index| Rule::Entry(index, self.entries[index].allow))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        auth::identity::{DeviceIdentity, UserIdentity},
        domain::{
            camera::CameraId,
            device::{DeviceId, DeviceRole},
            user::{Role, UserId},
        },
    };

    fn device(name: &str, role: DeviceRole) -> Identity {
        let camera_id = (role == DeviceRole::Camera).then_some(CameraId(1));
        Identity::Device(DeviceIdentity { id: DeviceId(1), name: name.parse().unwrap(), role, camera_id })
    }

    fn user(role: Role) -> Identity {
        Identity::User(UserIdentity {
            id: UserId(1),
            username: "u".to_owned(),
            email: "u@example.org".to_owned(),
            role,
            expires_at: DateTime::UNIX_EPOCH,
        })
    }

    /// Everybody there is, by the letter that stands for them in the table below.
    fn everybody() -> [(char, Identity); 10] {
        [
            ('c', device("cam", DeviceRole::Camera)),
            ('e', device("engine", DeviceRole::AiEngine)),
            ('l', device("lock", DeviceRole::LockAgent)),
            ('s', device("sensor", DeviceRole::Sensor)),
            ('k', device("controller", DeviceRole::Controller)),
            ('u', user(Role::User)),
            ('o', user(Role::Operator)),
            ('a', user(Role::Admin)),
            ('n', Identity::Anonymous),
            ('h', Identity::Hub),
        ]
    }

    fn entry(who: &str, action: Action, filter: &str, allow: bool) -> Entry {
        Entry { who: who.parse().unwrap(), action, filter: filter.to_owned(), allow }
    }

    /// Everybody may publish and subscribe to everything, as far as entries can say so.
    fn generous() -> Rights {
        let whos = ["camera", "ai-engine", "lock-agent", "sensor", "controller", "USER", "OPERATOR", "ADMIN"];
        let named = ["device:cam", "device:engine", "device:lock", "device:sensor", "device:controller", "anonymous"];
        let filters = ["camera/#", "lock/#", "hub/#", "lock/command", "+/command", "+/+", "+/+/+", "#"];
        let mut entries = Vec::new();
        for who in whos.into_iter().chain(named) {
            for filter in filters {
                entries.push(entry(who, Action::Publish, filter, true));
                entries.push(entry(who, Action::Subscribe, filter, true));
            }
        }
        Rights::new(entries)
    }

    /// The contract's table: who publishes and who hears of each topic.
    const TABLE: &[(&str, &str, &str)] = &[
        ("camera/1/detections", "ceh", "ekh"),
        ("camera/2/detections", "eh", "ekh"),
        ("camera/1/events", "h", "ekuoah"),
        ("camera/2/status", "h", "ekuoah"),
        ("camera/2/occupancy", "h", "ekuoah"),
        ("lock/command", "koah", "lh"),
        ("lock/status", "lh", "kuoah"),
        ("lock/response", "lh", "kuoah"),
        ("hub/events", "h", "ekuoah"),
        ("hub/status", "h", "celskh"),
        // Below the hub's roots, but in no line of the table.
        ("camera/x/detections", "h", "h"),
        ("camera/01/detections", "h", "h"),
        ("camera/1/detections/x", "h", "h"),
        ("camera/1/temperature", "h", "h"),
        ("camera/01/occupancy", "h", "h"),
        ("camera", "h", "h"),
        ("lock", "h", "h"),
        ("lock/command/", "h", "h"),
        ("lock/command/x", "h", "h"),
        ("hub/x", "h", "h"),
        // The broker's own.
        ("$SYS/uptime", "h", "h"),
        ("$lock/command", "h", "h"),
    ];

    #[test]
    fn the_table_is_the_contracts_whatever_the_entries_say() {
        for rights in [Rights::default(), generous()] {
            for (topic, publishers, readers) in TABLE {
                for (letter, who) in everybody() {
                    let decision = rights.publish(&who, topic);
                    assert_eq!(decision.allowed, publishers.contains(letter), "{who} publishes {topic}: {decision:?}");
                    let decision = rights.receive(&who, topic);
                    assert_eq!(decision.allowed, readers.contains(letter), "{who} receives {topic}: {decision:?}");
                    let decision = rights.subscribe(&who, topic);
                    assert_eq!(decision.allowed, readers.contains(letter), "{who} subscribes {topic}: {decision:?}");
                    let shared = format!("$share/g/{topic}");
                    let may_share = readers.contains(letter) && *topic != "lock/command";
                    let decision = rights.subscribe(&who, &shared);
                    assert_eq!(decision.allowed, may_share, "{who} subscribes {shared}: {decision:?}");
                }
            }
        }
    }

    #[test]
    fn wildcards_below_the_hubs_roots_are_for_those_whom_they_bring_something() {
        let rights = generous();
        for (filter, readers) in [
            ("camera/+/detections", "ekh"),
            ("camera/+/events", "ekuoah"),
            ("camera/7/+", "ekuoah"),
            ("camera/7/#", "ekuoah"),
            ("camera/#", "ekuoah"),
            ("camera/+", "h"),
            ("camera/x/#", "h"),
            ("camera/1/events/+", "h"),
            ("camera/1/events/#", "ekuoah"),
            ("lock/+", "lkuoah"),
            ("lock/#", "lkuoah"),
            ("lock/command/#", "lh"),
            ("lock/status/#", "kuoah"),
            ("hub/+", "celskuoah"),
            ("$share/g/lock/status", "kuoa"),
            ("$share/g/lock/#", "kuoa"),
            ("$share/g/lock/+", "kuoa"),
            ("$share/g/lock/command/#", ""),
            ("$SYS/#", "h"),
            ("$share/g/$SYS/#", "h"),
        ] {
            for (letter, who) in everybody() {
                if letter == 'h' && filter.starts_with("$share/g/lock") {
                    continue;
                }
                let decision = rights.subscribe(&who, filter);
                assert_eq!(decision.allowed, readers.contains(letter), "{who} subscribes {filter}: {decision:?}");
            }
        }
    }

    #[test]
    fn nothing_is_allowed_without_an_entry() {
        let rights = Rights::default();
        for topic in ["a", "home/door", "/camera/1/detections", "Lock/command", "cameras/1/events", "é", "/"] {
            for (letter, who) in everybody() {
                let hub = letter == 'h';
                assert_eq!(rights.publish(&who, topic).allowed, hub, "{who} {topic}");
                assert_eq!(rights.receive(&who, topic).allowed, hub, "{who} {topic}");
                for filter in [topic.to_owned(), format!("{topic}/#"), "#".to_owned(), "+/+".to_owned()] {
                    assert_eq!(rights.subscribe(&who, &filter).allowed, hub, "{who} {filter}");
                }
            }
        }
        assert!(!rights.admits_anonymous());
    }

    #[test]
    fn what_is_no_topic_is_nobodys() {
        for (_, who) in everybody() {
            for topic in ["", "a/+", "#", "a\0"] {
                assert!(!generous().publish(&who, topic).allowed, "{who} {topic}");
                assert!(!generous().receive(&who, topic).allowed, "{who} {topic}");
            }
            for filter in ["", "a#", "#/a", "$share/g", "$share//a", "$share/+/a", "$share/g/"] {
                assert!(!generous().subscribe(&who, filter).allowed, "{who} {filter}");
            }
        }
    }

    #[test]
    fn the_first_entry_that_matches_decides() {
        let rights = Rights::new(vec![
            entry("sensor", Action::Subscribe, "home/secret", false),
            entry("sensor", Action::Subscribe, "home/#", true),
            entry("sensor", Action::Publish, "home/#", false),
            entry("device:sensor", Action::Publish, "home/door", true),
            entry("device:other", Action::Publish, "home/door", true),
        ]);
        let sensor = device("sensor", DeviceRole::Sensor);
        let decision = |allowed, rule: &str| Decision { allowed, rule: rule.to_owned() };
        assert_eq!(rights.subscribe(&sensor, "home/secret"), decision(false, "[[rights]] entry 1"));
        assert_eq!(rights.subscribe(&sensor, "home/#"), decision(true, "[[rights]] entry 2"));
        assert_eq!(rights.receive(&sensor, "home/secret"), decision(false, "[[rights]] entry 1"));
        assert_eq!(rights.receive(&sensor, "home"), decision(true, "[[rights]] entry 2"));
        assert_eq!(rights.publish(&sensor, "home/door"), decision(false, "[[rights]] entry 3"));
        assert_eq!(rights.subscribe(&sensor, "#"), decision(false, "nothing allows it"));
        assert_eq!(rights.subscribe(&sensor, "$share/g/home/+"), decision(true, "[[rights]] entry 2"));
        let other = device("other", DeviceRole::Controller);
        assert_eq!(rights.publish(&other, "home/door"), decision(true, "[[rights]] entry 5"));
        assert_eq!(rights.subscribe(&other, "home/#"), decision(false, "nothing allows it"));
        let engine = device("engine", DeviceRole::AiEngine);
        assert_eq!(
            rights.explain(&engine, Action::Publish, "camera/7/detections"),
            decision(true, "role ai-engine publishes camera/+/detections")
        );
        assert_eq!(
            rights.explain(&engine, Action::Subscribe, "camera/#"),
            decision(true, "role ai-engine reads camera/+/detections")
        );
    }

    #[test]
    fn a_devices_name_stands_in_for_its_place() {
        let rights = Rights::new(vec![
            entry("sensor", Action::Publish, "sensors/%n/#", true),
            entry("sensor", Action::Publish, "%n/#", true),
        ]);
        let (one, two) = (device("one", DeviceRole::Sensor), device("two", DeviceRole::Sensor));
        assert!(rights.publish(&one, "sensors/one/heat").allowed);
        assert!(!rights.publish(&one, "sensors/two/heat").allowed);
        assert!(rights.publish(&two, "sensors/two").allowed);
        assert!(!rights.publish(&one, "sensors/%n/heat").allowed);
        for name in ["lock", "camera", "hub"] {
            let sly = device(name, DeviceRole::Sensor);
            for topic in ["lock/command", "lock/status", "camera/1/detections", "hub/events"] {
                assert!(!rights.publish(&sly, topic).allowed, "{name} {topic}");
            }
        }
    }

    #[test]
    fn a_bridge_may_say_what_an_entry_lets_it_say_and_no_more_below_sys() {
        let house = device("house", DeviceRole::Controller);
        let state = "$SYS/broker/connection/house.hub/state";
        for rights in [Rights::default(), generous()] {
            assert!(!rights.publish(&house, state).allowed && !rights.subscribe(&house, state).allowed);
        }
        let mut rights = Rights::new(vec![
            entry("device:house", Action::Publish, "$SYS/broker/connection/#", true),
            entry("USER", Action::Subscribe, "$SYS/broker/connection/+/state", true),
        ]);
        rights.entries.extend(generous().entries);
        let may_publish = |who, name| rights.publish(who, name).allowed;
        assert_eq!(rights.publish(&house, state).rule, "[[rights]] entry 1");
        for name in ["$SYS/broker/connection/house", "$SYS/broker/uptime", "$SYS/broker/connection//state", "$x"] {
            assert!(!may_publish(&house, name), "{name}");
        }
        let camera = device("cam", DeviceRole::Camera);
        assert!(!may_publish(&camera, state));
        assert!(!rights.receive(&house, state).allowed, "what it may say it need not hear");
        let viewer = user(Role::User);
        assert!(rights.receive(&viewer, state).allowed && !may_publish(&viewer, state));
        assert!(rights.subscribe(&viewer, "$SYS/broker/connection/+/state").allowed);
        assert!(rights.subscribe(&viewer, "$share/g/$SYS/broker/connection/+/state").allowed);
        for filter in ["$SYS/broker/connection/#", "$SYS/#", "$SYS/broker/+/+/state"] {
            assert!(!rights.subscribe(&viewer, filter).allowed, "{filter}");
        }
    }

    #[test]
    fn anonymous_clients_need_an_entry_that_allows() {
        let denied = Rights::new(vec![entry("anonymous", Action::Publish, "a", false)]);
        assert!(!denied.admits_anonymous());
        let rights = Rights::new(vec![entry("anonymous", Action::Publish, "a", true)]);
        assert!(rights.admits_anonymous());
        assert!(rights.publish(&Identity::Anonymous, "a").allowed);
        assert!(!rights.subscribe(&Identity::Anonymous, "a").allowed);
        assert!(!rights.publish(&user(Role::Admin), "a").allowed);
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => proptest::sample::select(
                &["camera", "lock", "hub", "1", "2", "x", "detections", "events", "status", "command", "response"][..]
            )
            .prop_map(str::to_owned),
            1 => "[ab]{0,1}",
        ]
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/")),
            proptest::sample::select(TABLE).prop_map(|(topic, ..)| topic.to_owned()),
        ]
        .prop_filter("a name", |name| topic::valid_topic(name))
    }

    fn hubs_own() -> impl Strategy<Value = String> {
        let root = proptest::sample::select(&["camera", "lock", "hub"][..]);
        (root, name()).prop_map(|(root, rest)| if topic::is_reserved(&rest) { rest } else { format!("{root}/{rest}") })
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![2 => level(), 2 => Just("+".to_owned())];
        (proptest::collection::vec(level, 0..4), any::<bool>())
            .prop_map(|(mut levels, tail)| {
                if tail {
                    levels.push("#".to_owned());
                }
                levels.join("/")
            })
            .prop_filter("a filter", |filter| topic::valid_filter(filter))
    }

    fn rights() -> impl Strategy<Value = Rights> {
        let who = proptest::sample::select(
            &["camera", "ai-engine", "lock-agent", "sensor", "controller", "USER", "OPERATOR", "ADMIN", "anonymous"][..],
        );
        let action = proptest::sample::select(&[Action::Publish, Action::Subscribe][..]);
        let entry = (who, action, filter(), any::<bool>())
            .prop_map(|(who, action, filter, allow)| entry(who, action, &filter, allow));
        proptest::collection::vec(entry, 0..12).prop_map(Rights::new)
    }

    /// A name that the filter matches: each wildcard filled from the levels at hand.
    fn filled(filter: &str, levels: &[String]) -> String {
        let mut levels = levels.iter().cycle();
        let mut parts = Vec::new();
        for part in filter.split('/') {
            match part {
                "+" => parts.extend(levels.next().map(String::as_str)),
                "#" => parts.extend(levels.by_ref().take(2).map(String::as_str)),
                literal => parts.push(literal),
            }
        }
        parts.join("/")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn a_wildcard_never_reaches_what_a_plain_filter_could_not(
            rights in rights(), filter in filter(), levels in proptest::collection::vec(level(), 3), share in any::<bool>(),
        ) {
            let topic = filled(&filter, &levels);
            prop_assume!(topic::valid_topic(&topic) && topic::matches(&filter, &topic));
            for (_, who) in everybody() {
                let asked = if share { format!("$share/g/{filter}") } else { filter.clone() };
                let reaches = rights.subscribe(&who, &asked).allowed && rights.may_receive(&who, &topic);
                let plain = if share { format!("$share/g/{topic}") } else { topic.clone() };
                prop_assert!(!reaches || rights.subscribe(&who, &plain).allowed, "{who} {asked} {topic}");
            }
        }

        #[test]
        fn a_plain_filter_is_granted_where_its_topic_may_be_received(rights in rights(), topic in name()) {
            for (_, who) in everybody() {
                prop_assert_eq!(rights.subscribe(&who, &topic), rights.receive(&who, &topic));
            }
        }

        #[test]
        fn no_entry_reaches_the_hubs_roots(rights in rights(), topic in hubs_own()) {
            let table = Rights::default();
            for (_, who) in everybody() {
                prop_assert_eq!(rights.publish(&who, &topic), table.publish(&who, &topic));
                prop_assert_eq!(rights.receive(&who, &topic), table.receive(&who, &topic));
            }
        }

        #[test]
        fn words_and_decisions_agree(rights in rights(), topic in name(), filter in filter()) {
            for (_, who) in everybody() {
                prop_assert_eq!(rights.publish(&who, &topic).allowed, rights.may_publish(&who, &topic));
                prop_assert_eq!(rights.receive(&who, &topic).allowed, rights.may_receive(&who, &topic));
                prop_assert_eq!(rights.explain(&who, Action::Publish, &topic), rights.publish(&who, &topic));
                prop_assert_eq!(rights.explain(&who, Action::Subscribe, &filter), rights.subscribe(&who, &filter));
            }
        }

        #[test]
        fn nothing_panics_on_any_text(rights in rights(), text in any::<String>()) {
            for (_, who) in everybody() {
                let _ = (rights.publish(&who, &text), rights.subscribe(&who, &text), rights.receive(&who, &text));
                let _ = rights.subscribe(&who, &format!("$share/g/{text}"));
            }
        }
    }
}
