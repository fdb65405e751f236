//! From which address somebody asks, where proxies that the configuration names stand between.

use std::{fmt, net::IpAddr, str::FromStr};

/// A range of addresses, such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct NoNetwork(String);

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let cut = |bits: u128, width: u32| bits.checked_shr(width - u32::from(self.prefix)).unwrap_or(0);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => cut(own.to_bits().into(), 32) == cut(other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => cut(own.to_bits(), 128) == cut(other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let wrong = || NoNetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(widest), str::parse).map_err(|_| wrong())?;
        if prefix > widest { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The address of the client behind trusted proxies. Each proxy appends to `forwarded` (`X-Forwarded-For`) whom it
/// heard, so the last address there that is no trusted proxy is the client; what stands before it is hearsay.
#[must_use]
pub fn client(peer: IpAddr, forwarded: &[&str], trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    for hop in forwarded.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(client) {
            break;
        }
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let network: Network = "10.1.0.0/16".parse().expect("a network");
        assert!(network.contains(ip("10.1.2.3")));
        assert!(network.contains(ip("::ffff:10.1.2.3")));
        assert!(!network.contains(ip("10.2.0.1")));
        assert!("0.0.0.0/0".parse::<Network>().expect("a network").contains(ip("8.8.8.8")));
        assert!("::/0".parse::<Network>().expect("a network").contains(ip("2001:db8::1")));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = ["127.0.0.1".parse().expect("a network"), "10.0.0.0/8".parse().expect("a network")];
        let client = |peer, forwarded| super::client(ip(peer), forwarded, &trusted);
        assert_eq!(client("192.0.2.9", &["1.2.3.4"]), ip("192.0.2.9"));
        assert_eq!(client("127.0.0.1", &["1.2.3.4, 192.0.2.7"]), ip("192.0.2.7"));
        assert_eq!(client("127.0.0.1", &["1.2.3.4, 192.0.2.7, 10.0.0.2"]), ip("192.0.2.7"));
        assert_eq!(client("127.0.0.1", &["1.2.3.4", "192.0.2.7"]), ip("192.0.2.7"));
        assert_eq!(client("127.0.0.1", &["nonsense"]), ip("127.0.0.1"));
        assert_eq!(client("127.0.0.1", &[]), ip("127.0.0.1"));
    }
}
