//! What `/readyz` says of the parts besides the database.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    bridge::{Part, Readiness},
    lock_desk::LockDesk,
};

/// The parts as they are at each question. A dead broker ends the process, so one that can be asked about is up.
pub fn of(lock: LockDesk, stalled: watch::Receiver<bool>) -> Readiness {
    Readiness(Arc::new(move || {
        let (stalled, lock) = (*stalled.borrow(), lock.state().status);
        vec![
            Part { name: "broker", up: true, detail: None },
            Part {
                name: "recorder",
                up: !stalled,
                detail: stalled.then(|| "detections wait for the database".to_owned()),
            },
            Part { name: "lock worker", up: lock.online, detail: lock.reason },
        ]
    }))
}
