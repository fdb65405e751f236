//! Secrets that the hub generates: device secrets, the token key, passwords nobody chose.
//!
//! A generated secret has 256 random bits. Nobody can try enough of them to find one from its SHA-256, so a device's
//! login costs microseconds, where a chosen password needs argon2id.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// 256 bits from the system's generator, as 43 letters, digits, `-` and `_`.
#[must_use]
pub fn generate() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// A password that a person may have to type: 20 letters and digits without the ones easily mixed up, 116 bits.
#[must_use]
pub fn generate_password() -> String {
    const LETTERS: &[u8; 56] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
    (0..20).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}

/// What is stored in a generated secret's place.
#[must_use]
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Whether `secret` is the one that `stored` was made from. The time it takes says nothing: hashes are compared, and
/// who knows a hash knows no secret.
#[must_use]
pub fn matches(secret: &str, stored: &[u8]) -> bool {
    hash(secret) == stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_its_hash_only() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.len(), 43);
        assert!(matches(&one, &hash(&one)));
        assert!(!matches(&other, &hash(&one)));
    }
}
