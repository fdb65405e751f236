//! The headers in which proxies say whom they bring. The first byte chooses whether the other end is a proxy that is
//! believed; the rest is lines of a head, `name: value`, of bytes of any kind. Whoever is believed to be at this machine
//! came without a proxy, and what cannot be read is nobody's address.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use portcullis::auth::origin::{Address, Origin, Proxies};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, head)) = input.split_first() else { return };
    let lines: Vec<(String, &[u8])> = head
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), &line[colon + 1..]))
        })
        .collect();
    let headers = || lines.iter().map(|(name, value)| (name.as_str(), *value));
    let peer = IpAddr::from([127, 0, 0, 1]);
    let proxies = Proxies::read(if choice & 1 == 0 { vec![] } else { vec!["127.0.0.1"] }).expect("a network");
    let origin = Origin::of_request(peer, headers(), &proxies);
    let is_forwarded = lines.iter().any(|(name, _)| name.starts_with("x-forwarded-"));
    if is_forwarded || proxies.contain(peer) {
        assert!(!origin.is_local(), "a proxy's client counts as this machine's: {lines:?}");
    }
    if origin.address() == Address::Unknown {
        assert!(!origin.is_private(), "somebody unknown counts as encrypted: {lines:?}");
    }
    let protocols = lines.iter().filter(|(name, _)| name == "x-forwarded-proto").count();
    assert!(origin.is_local() || protocols == 1 || !origin.is_private(), "two words on encryption: {lines:?}");
});
