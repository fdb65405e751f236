//! Under which names the hub answers. A page of somebody else's whose name is made to lead to this machine (DNS rebinding) has
//! a browser ask with that name, and may read the answers: so whoever asks for a name that is not the hub's gets none.
//!
//! Addresses are no names, and nobody but their owner can have them lead elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
};

use super::{Settings, error::ApiError, who};
use crate::telemetry::log::excerpt;

/// What home routers and mDNS put behind the name of a machine. None of these is anybody's on the internet but the last, which
/// belongs to the router's maker.
const LOCAL: &[&str] = &["local", "lan", "home", "home.arpa", "internal", "intranet", "localdomain", "fritz.box"];

/// The names that the configuration gives the hub, in small letters: whole ones, those below `*.`, or any by `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether the hub answers for what a client calls it: a name or an address, with a port or without. `machine` is how this
    /// machine calls itself.
    fn include(&self, called: &str, machine: impl FnOnce() -> String) -> bool {
        let Some(name) = name_of(called) else { return false };
        if name.is_empty() {
            return true;
        }
        let is_own = name == "localhost" || name.ends_with(".localhost");
        // No page of the internet has a name without a dot.
        is_own || !name.contains('.') || self.0.iter().any(|own| fits(own, &name)) || is_machine(&machine(), &name)
    }
}

/// The name in small letters, empty for an address; none where it is neither.
fn name_of(called: &str) -> Option<String> {
    let is_port = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = called.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return (is_whole && address.parse::<Ipv6Addr>().is_ok()).then(String::new);
    }
    let name = match called.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return None,
        None => called,
    };
    if name.parse::<Ipv4Addr>().is_ok() {
        return Some(String::new());
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!name.is_empty() && name.bytes().all(is_letter)).then_some(name)
}

fn fits(own: &str, name: &str) -> bool {
    own == "*" || own == name || own.strip_prefix('*').is_some_and(|end| end.starts_with('.') && name.ends_with(end))
}

/// Whether it is this machine's name, alone or with what its network puts behind it. mDNS puts a number behind it when two
/// machines have the same.
fn is_machine(machine: &str, name: &str) -> bool {
    let machine = machine.trim().to_ascii_lowercase();
    let (first, network) = name.split_once('.').unwrap_or((name, ""));
    let own = machine.split('.').next().unwrap_or_default();
    let more = first.strip_prefix(own).filter(|_| !own.is_empty());
    let is_own = more.is_some_and(|more| {
        more.is_empty()
            || more.strip_prefix('-').is_some_and(|number| {
                !number.is_empty() && number.len() < 4 && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    });
    (!machine.is_empty() && name == machine) || (is_own && LOCAL.contains(&network))
}

/// Asked each time, since a network may give the machine another.
fn machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

/// Whether the hub answers for the name that the request is for. Trusted proxies answer for what they pass on; a client that
/// says no name is no browser.
///
/// # Errors
/// 421, which says what to set.
pub fn check(settings: &Settings, request: &Request) -> Result<(), ApiError> {
    if settings.trusted_proxies.contain(who::peer(request.extensions())) {
        return Ok(());
    }
    let named = request.headers().get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let asked = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let foreign = named.chain(asked).find(|name| {
        let name = std::str::from_utf8(name);
        !name.is_ok_and(|name| settings.hosts.include(name, machine))
    });
    let Some(foreign) = foreign else { return Ok(()) };
    let name = String::from_utf8_lossy(foreign);
    let words = format!(
        "This hub does not answer for {:?}: add that name to HOST_NAMES, or the proxy that passed this on to TRUSTED_PROXIES",
        excerpt(&name)
    );
    Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_answers_for_its_own_names_alone() {
        let hosts = Hosts::new(&["hub.example.org".to_owned(), "*.Door.example".to_owned()]);
        let include = |name: &str| hosts.include(name, || "raspberrypi\n".to_owned());
        for own in [
            "localhost",
            "LocalHost:3000",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.0.0.1:3000",
            "192.0.2.1:80",
            "[::1]:3000",
            "[2001:db8::1]",
            "hub",
            "raspberrypi",
            "raspberrypi:3000",
            "raspberrypi.local",
            "RASPBERRYPI.LOCAL.:3000",
            "raspberrypi-2.local",
            "raspberrypi.lan",
            "raspberrypi.fritz.box",
            "raspberrypi.home.arpa",
            "hub.example.org",
            "HUB.example.org:443",
            "front.door.example",
        ] {
            assert!(include(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "raspberrypi.evil.example",
            "raspberrypi.local.evil.example",
            "evil.raspberrypi.local",
            "evil.local",
            "raspberrypi-evil.local",
            "raspberrypi2.local",
            "door.example",
            "evildoor.example",
            "hub.example.org.evil.example",
            "",
            ":3000",
            "localhost:",
            "localhost:x",
            "localhost:80:80",
            "[::1",
            "[::1]x",
            "[localhost]",
            "localhost, evil.example",
            "user@localhost.example",
            "a b",
            "evil.example/localhost",
            "ä.example",
            "1.2.3.4.5",
            "0x7f.1",
        ] {
            assert!(!include(foreign), "{foreign}");
        }
        assert!(Hosts::new(&["*".to_owned()]).include("evil.example", String::new));
        assert!(!Hosts::default().include("evil.local", String::new), "a machine without a name");
        assert!(Hosts::default().include("door.example.org", || "door.example.org".to_owned()));
    }
}
