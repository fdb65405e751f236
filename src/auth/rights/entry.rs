//! The `[[rights]]` entries of broker.toml, as they are written and checked.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use crate::{
    auth::identity::Identity,
    domain::{
        Invalid,
        device::{DeviceName, DeviceRole},
        topic,
        user::Role,
    },
};

/// What somebody wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Publish,
    Subscribe,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

impl FromStr for Action {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Publish, Self::Subscribe]
            .into_iter()
            .find(|action| action.to_string() == text)
            .ok_or_else(|| Invalid(text.to_owned(), "an action: publish or subscribe"))
    }
}

/// Whom an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    DeviceRole(DeviceRole),
    /// Exactly this role: an entry for USER says nothing of an ADMIN.
    UserRole(Role),
    Device(DeviceName),
    Anonymous,
}

impl Who {
    pub(super) fn is(&self, who: &Identity) -> bool {
        match (self, who) {
            (Self::DeviceRole(role), Identity::Device(device)) => *role == device.role,
            (Self::Device(name), Identity::Device(device)) => *name == device.name,
            (Self::UserRole(role), Identity::User(user)) => *role == user.role,
            (Self::Anonymous, Identity::Anonymous) => true,
            _ => false,
        }
    }

    fn is_device(&self) -> bool {
        matches!(self, Self::DeviceRole(_) | Self::Device(_))
    }
}

impl FromStr for Who {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "anonymous" {
            return Ok(Self::Anonymous);
        }
        if let Some(name) = text.strip_prefix("device:") {
            return name.parse().map(Self::Device);
        }
        let role = text.parse().map(Self::DeviceRole).or_else(|_| text.parse().map(Self::UserRole));
        role.map_err(|_| {
            Invalid(
                text.to_owned(),
                "somebody to have a right: a device's role (camera, ai-engine, lock-agent, sensor, controller), a \
                 user's role (USER, OPERATOR, ADMIN), device:NAME or anonymous",
            )
        })
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One `[[rights]]` entry of broker.toml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Entry {
    pub who: Who,
    pub action: Action,
    /// A topic filter, in which `%n` stands for the name of the device that asks.
    pub filter: String,
    pub allow: bool,
}

/// An entry as it stands in the file, its parts not yet held against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    who: Who,
    action: Action,
    filter: String,
    allow: bool,
}

impl TryFrom<Written> for Entry {
    type Error = Invalid;

    fn try_from(Written { who, action, filter, allow }: Written) -> Result<Self, Invalid> {
        if filter.starts_with('$') && !topic::is_of_bridges(&filter) {
            return Err(Invalid(
                filter,
                "a filter for an entry: none begins with $, but for what bridges say of themselves below \
                 $SYS/broker/connection/ (a right for f is one for $share/GROUP/f too)",
            ));
        }
        if !topic::valid_filter(&filter) {
            return Err(Invalid(filter, "a topic filter: + and # stand for whole levels, # only for the last"));
        }
        if filter.contains(NAME) && !who.is_device() {
            return Err(Invalid(filter, "a filter for users or anonymous: %n stands for a device's name"));
        }
        Ok(Self { who, action, filter, allow })
    }
}

/// Stands for the asking device's name in an entry's filter.
const NAME: &str = "%n";

impl Entry {
    /// The entry's filter for this one who asks; `None` where it has a device's name in it and no device asks.
    pub(super) fn filter_for(&self, who: &Identity) -> Option<Cow<'_, str>> {
        if !self.filter.contains(NAME) {
            return Some(Cow::Borrowed(&self.filter));
        }
        // A name has neither a wildcard nor a slash nor a $ in it, so it can't widen the filter.
        let Identity::Device(device) = who else { return None };
        Some(Cow::Owned(self.filter.replace(NAME, device.name.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<Entry>, toml::de::Error> {
        #[derive(Deserialize)]
        struct File {
            rights: Vec<Entry>,
        }
        toml::from_str::<File>(text).map(|file| file.rights)
    }

    fn entry(who: &str, action: Action, filter: &str, allow: bool) -> Entry {
        Entry { who: who.parse().unwrap(), action, filter: filter.to_owned(), allow }
    }

    #[test]
    fn entries_are_read_from_the_file() {
        let read = entries(
            "[[rights]]\nwho = 'sensor'\naction = 'publish'\nfilter = 'sensors/%n/#'\nallow = true\n\
             [[rights]]\nwho = 'device:cam-1'\naction = 'subscribe'\nfilter = '#'\nallow = false\n\
             [[rights]]\nwho = 'admin'\naction = 'subscribe'\nfilter = 'a'\nallow = true\n",
        );
        let expected = vec![
            entry("sensor", Action::Publish, "sensors/%n/#", true),
            entry("device:cam-1", Action::Subscribe, "#", false),
            entry("ADMIN", Action::Subscribe, "a", true),
        ];
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn a_wrong_entry_is_told_what_is_allowed() {
        for (who, action, filter, rest, says) in [
            ("janitor", "publish", "a", "", "lock-agent, sensor, controller"),
            ("device:a/b", "publish", "a", "", "1 to 64 letters"),
            ("sensor", "read", "a", "", "`publish` or `subscribe`"),
            ("sensor", "publish", "a/#/b", "", "# only for the last"),
            ("sensor", "publish", "$SYS/#", "", "none begins with $"),
            ("sensor", "publish", "$SYS/broker/connection/", "", "none begins with $"),
            ("sensor", "publish", "$SYS/broker/connection/#/state", "", "# only for the last"),
            ("sensor", "publish", "$share/g/$SYS/broker/connection/#", "", "none begins with $"),
            ("sensor", "publish", "", "", "a topic filter"),
            ("USER", "publish", "u/%n", "", "a device's name"),
            ("anonymous", "publish", "u/%n", "", "a device's name"),
            ("sensor", "publish", "a", "qos = 1", "unknown field `qos`"),
        ] {
            let text =
                format!("[[rights]]\nwho = '{who}'\naction = '{action}'\nfilter = '{filter}'\nallow = true\n{rest}");
            let error = entries(&text).expect_err(&text).to_string();
            assert!(error.contains(says), "{text}\n{error}");
        }
        let error = entries("[[rights]]\nwho = 'sensor'\naction = 'publish'\nfilter = 'a'").expect_err("no allow");
        assert!(error.to_string().contains("missing field `allow`"), "{error}");
    }

    #[test]
    fn an_action_reads_back() {
        for action in [Action::Publish, Action::Subscribe] {
            assert_eq!(action.to_string().parse(), Ok(action));
        }
        assert!("read".parse::<Action>().is_err());
    }
}
