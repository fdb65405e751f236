//! Who is at the other end, as far as the connection says it: from which address, whether from this machine, and whether
//! what comes was encrypted on its way. The lock, lock workers' sessions, /metrics, limits and the audit all ask here.
//!
//! It reads what proxies write of those whom they pass on, and believes only proxies that the configuration names. What
//! cannot be read fails closed: nobody's address, never this machine, never encrypted.
//!
//! Must not know sockets nor HTTP's types: whoever asks brings the peer's address and the headers' bytes.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// The address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    Known(IpAddr),
    /// A proxy brought it, and says nothing of whom it brought that can be read or believed. All of these are one class
    /// of clients; the proxy's address is never taken for theirs.
    Unknown,
}

impl Address {
    /// The address, where there is one.
    #[must_use]
    pub fn known(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Unknown => None,
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self::Known(address.to_canonical())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Why an address is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A trusted proxy named nobody in `X-Forwarded-For`.
    Unnamed,
    /// What a trusted proxy wrote there is no address.
    Unreadable,
    /// A proxy on this machine that nobody trusts brought it.
    Untrusted,
}

/// From where a client speaks to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    address: Result<IpAddr, Doubt>,
    is_local: bool,
    is_encrypted: bool,
}

impl Origin {
    /// The hub's own process.
    #[must_use]
    pub fn inside() -> Self {
        Self::direct(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), true)
    }

    /// A client that is itself at the other end of its connection: MQTT by TCP or TLS, which has no header for proxies.
    #[must_use]
    pub fn direct(peer: IpAddr, is_encrypted: bool) -> Self {
        let peer = peer.to_canonical();
        Self { address: Ok(peer), is_local: peer.is_loopback(), is_encrypted }
    }

    /// Nothing is known of it.
    #[must_use]
    pub fn unknown() -> Self {
        Self { address: Err(Doubt::Untrusted), is_local: false, is_encrypted: false }
    }

    /// The client of a request. `headers` are all lines of its head, in their order, with names in small letters.
    #[must_use]
    pub fn of_request<'h>(peer: IpAddr, headers: impl Iterator<Item = (&'h str, &'h [u8])>, proxies: &Proxies) -> Self {
        let peer = peer.to_canonical();
        let (mut hops, mut protocols, mut is_forwarded) = (Vec::new(), Vec::new(), false);
        for (name, value) in headers {
            match name {
                "x-forwarded-for" => hops.push(value),
                "x-forwarded-proto" => protocols.push(value),
                _ => {}
            }
            is_forwarded |= is_of_a_proxy(name);
        }
        if proxies.contain(peer) {
            let address = client(&hops, proxies);
            let is_encrypted = address.is_ok() && is_encrypted(&protocols);
            return Self { address, is_local: false, is_encrypted };
        }
        if is_forwarded && peer.is_loopback() {
            return Self { address: Err(Doubt::Untrusted), is_local: false, is_encrypted: false };
        }
        // Of another machine it is a proxy that nobody trusts, or a client that would like to be taken for one.
        Self { address: Ok(peer), is_local: peer.is_loopback() && !is_forwarded, is_encrypted: false }
    }

    #[must_use]
    pub fn address(&self) -> Address {
        self.address.map_or(Address::Unknown, Address::Known)
    }

    /// Why the address is unknown, if it is.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        self.address.err()
    }

    /// Whether it comes from this machine: its connection does, and no proxy has brought it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether nobody between can have read or changed what comes: it never left this machine, or was encrypted on its way.
    /// What is asked of the lock, and a lock worker's session, have to be so.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.is_local || self.is_encrypted
    }
}

/// Each proxy appends whom it heard, so the last address that is no trusted proxy is the client; what stands before it is
/// hearsay. A client may be at a trusted proxy's own address, if that proxy says so.
fn client(lines: &[&[u8]], proxies: &Proxies) -> Result<IpAddr, Doubt> {
    let mut farthest = Err(Doubt::Unnamed);
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let address = read_hop(hop).ok_or(Doubt::Unreadable)?;
        farthest = Ok(address);
        if !proxies.contain(address) {
            break;
        }
    }
    farthest
}

/// One proxy's word on how it was spoken to: two words contradict each other, or one of them is the client's own.
fn is_encrypted(lines: &[&[u8]]) -> bool {
    let [word] = lines else { return false };
    let word = trimmed(word);
    word.eq_ignore_ascii_case(b"https") || word.eq_ignore_ascii_case(b"wss")
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    &bytes[begin..end]
}

/// An address as proxies write it: `ip`, `ip:port`, `[v6]`, `[v6]:port`, each also in quotes, a v6 also with a zone.
fn read_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(trimmed(hop)).ok()?;
    let hop = match hop.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => hop,
    };
    let address = if let Some(rest) = hop.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(())?;
        IpAddr::V6(without_zone(address)?.parse().ok()?)
    } else {
        match hop.split_once(':') {
            Some((address, port)) if is_port(port) && address.contains('.') => IpAddr::V4(address.parse().ok()?),
            Some(_) => IpAddr::V6(without_zone(hop)?.parse().ok()?),
            None => IpAddr::V4(hop.parse().ok()?),
        }
    };
    let address = address.to_canonical();
    // Nobody speaks from these.
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// `fe80::1%eth0` is `fe80::1` to whoever is on that network.
fn without_zone(address: &str) -> Option<&str> {
    let Some((address, zone)) = address.split_once('%') else { return Some(address) };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~');
    (!zone.is_empty() && zone.len() <= 16 && zone.bytes().all(is_name)).then_some(address)
}

/// Whether a header of this name is written by proxies, and by nobody who speaks for themselves. Rather one name too many:
/// whoever sends one is taken for somebody else's client.
fn is_of_a_proxy(name: &str) -> bool {
    const WHOLE: &[&str] = &["via", "cdn-loop", "front-end-https", "surrogate-capability", "x-scheme", "x-url-scheme"];
    const BEGIN: &[&str] = &[
        "cf-",
        "fastly-",
        "fly-",
        "x-amz-cf-",
        "x-amzn-",
        "x-appengine-",
        "x-arr-",
        "x-azure-",
        "x-envoy-",
        "x-original-",
    ];
    const WITHIN: &[&str] = &[
        "forward",
        "proxy",
        "proxied",
        "real-ip",
        "client-ip",
        "clientip",
        "connecting-ip",
        "remote-ip",
        "remote-addr",
        "originating-ip",
        "source-ip",
        "user-ip",
        "peer-ip",
    ];
    let name = name.to_ascii_lowercase().replace('_', "-");
    WHOLE.contains(&name.as_str())
        || name.ends_with("-via")
        || BEGIN.iter().any(|begin| name.starts_with(begin))
        || WITHIN.iter().any(|part| name.contains(part))
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct NoNetwork(String);

impl Proxies {
    /// # Errors
    /// The first text that is neither an address nor a network.
    pub fn read(texts: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, NoNetwork> {
        texts.into_iter().map(|text| network(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the address is one of theirs.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address, or a network such as `10.0.0.0/8`.
fn network(text: &str) -> Result<IpNet, NoNetwork> {
    let wrong = || NoNetwork(text.to_owned());
    let network = match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().into(),
        Err(_) => IpNet::from_str(text).map_err(|_| wrong())?,
    };
    match (network, network.addr().to_canonical()) {
        // `::ffff:10.0.0.0/104`, as a socket of both families shows an IPv4 network.
        (IpNet::V6(v6), IpAddr::V4(v4)) => {
            let prefix = v6.prefix_len().checked_sub(96).ok_or_else(wrong)?;
            IpNet::new(v4.into(), prefix).map_err(|_| wrong())
        }
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests;
