//! What a client shows of itself, and who answers whose it is.
//!
//! Must not know how that is found out.

use std::{pin::Pin, sync::Arc};

use crate::auth::{identity::Identity, origin::Address};

/// What a client shows of itself in its CONNECT.
#[derive(Clone)]
pub struct Credentials {
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub address: Address,
    /// The name in its certificate, which the TLS handshake has checked.
    pub certificate_name: Option<String>,
}

impl std::fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("address", &self.address)
            .field("certificate_name", &self.certificate_name)
            .finish_non_exhaustive()
    }
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    BadCredentials,
    NotAuthorized,
    /// Nobody can say who it is, since Postgres is away.
    Unavailable,
    /// Too many failed attempts.
    TooMany,
}

/// An answer that takes a while.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Says who a client is.
pub type Authenticate = Arc<dyn Fn(Credentials) -> BoxFuture<Result<Identity, Refusal>> + Send + Sync>;
