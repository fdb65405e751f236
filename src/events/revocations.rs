//! Users whose row has changed: who was let in by what stood there is looked at again.

use tokio::sync::broadcast;

use crate::domain::user::UserId;

/// How many changes of users may wait to be looked at. When there are more, everybody who is connected is looked at.
const CHANGES: usize = 1024;

/// Tells of users' rows that have changed, by whomever.
#[derive(Debug, Clone)]
pub struct Revocations(broadcast::Sender<Revoked>);

/// Whose row has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    User(UserId),
    Everybody,
}

impl Default for Revocations {
    fn default() -> Self {
        Self(broadcast::channel(CHANGES).0)
    }
}

impl Revocations {
    /// The user's row has changed: what was known is forgotten, and sockets whose token is void now are ended.
    pub fn user_changed(&self, id: UserId) {
        // No listener is no fault: then there is nobody to end.
        let _ = self.0.send(Revoked::User(id));
    }

    /// Nothing is sure of anybody any more: every socket's token is looked at again.
    pub fn all_changed(&self) {
        let _ = self.0.send(Revoked::Everybody);
    }

    /// Hears of changes from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Revoked> {
        self.0.subscribe()
    }
}
