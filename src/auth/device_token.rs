//! A device's token for HTTP: `NAME~SECRET`.
//!
//! `~` may stand in a bearer token (RFC 6750), but neither in a device's name nor in a secret nor in a JWT, so that the
//! two kinds of tokens are told apart without a try.

use crate::domain::device::DeviceName;

/// The token of a device with this secret.
#[must_use]
pub fn format(name: &DeviceName, secret: &str) -> String {
    format!("{name}~{secret}")
}

/// The device's name and its secret, if the text is a device's token at all.
#[must_use]
pub fn parse(token: &str) -> Option<(DeviceName, &str)> {
    let (name, secret) = token.split_once('~')?;
    Some((name.parse().ok()?, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back() {
        let name: DeviceName = "cam-1.front".parse().expect("a name");
        let token = format(&name, "s3cret");
        assert_eq!(parse(&token), Some((name, "s3cret")));
        assert_eq!(parse("eyJhbGciOiJIUzI1NiJ9.e30.abc"), None);
        assert_eq!(parse("a/b~s"), None);
    }
}
