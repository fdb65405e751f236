//! Whose share of a [`Pool`](crate::domain::pool::Pool) something is, and with which standing: an identity once there is
//! one, the network of the address before.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::{
    identity::{DeviceIdentity, Identity, UserIdentity},
    origin::Address,
};
use crate::domain::{
    device::{DeviceId, DeviceRole},
    pool::Standing,
    user::{Role, UserId},
};

/// Who holds a share of something that many share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    Hub,
    Device(DeviceId),
    User(UserId),
    /// Somebody without an identity: an IPv4 address, or an IPv6 /64, which is what one customer has.
    Network(IpAddr),
    /// Somebody without an identity whom a proxy brought that does not say who it is: all of these are one.
    Unknown,
}

impl Holder {
    /// Of somebody who has shown who they are, or of the anonymous at this address.
    #[must_use]
    pub fn of(identity: &Identity, address: impl Into<Address>) -> Self {
        match identity {
            Identity::Hub => Self::Hub,
            Identity::Device(device) => Self::Device(device.id),
            Identity::User(user) => Self::User(user.id),
            Identity::Anonymous => Self::at(address),
        }
    }

    /// Of whoever asks from this address.
    #[must_use]
    pub fn at(address: impl Into<Address>) -> Self {
        address.into().known().map_or(Self::Unknown, |address| Self::Network(network(address)))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub"),
            Self::Device(id) => write!(f, "device {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::Network(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::Network(address) => address.fmt(f),
            Self::Unknown => f.write_str("somebody unknown behind a proxy"),
        }
    }
}

/// One customer of an IPv6 provider has a whole /64, so that counts as one address.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Identity {
    /// How much of what is shared is open to them.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Hub => Standing::Vital,
            Self::Device(device) => device.standing(),
            Self::User(user) => user.standing(),
            Self::Anonymous => Standing::Common,
        }
    }
}

impl DeviceIdentity {
    /// As [`Identity::standing`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.role {
            DeviceRole::LockAgent => Standing::Vital,
            DeviceRole::Controller => Standing::Trusted,
            DeviceRole::Camera | DeviceRole::AiEngine | DeviceRole::Sensor => Standing::Common,
        }
    }
}

impl UserIdentity {
    /// As [`Identity::standing`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.role == Role::Admin { Standing::Trusted } else { Standing::Common }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_customer_is_one_holder() {
        let at = |text: &str| Holder::at(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff::2"));
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8:0:2::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(Holder::at(Address::Unknown), Holder::Unknown);
    }
}
