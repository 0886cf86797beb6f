//! Destroying a deleted tenant's key: here at once, and where snapshots are kept as soon as that can be reached.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ibid_core::TenantKey;

use crate::engine::Shared;

/// How long a target that cannot be reached is left alone.
const RETRY: Duration = Duration::from_secs(60);

/// What the thread that tells the snapshots' target is to do.
#[derive(Default)]
pub(crate) struct Shredding {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: bool,
    closed: bool,
}

impl Shredding {
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn ask(&self) {
        self.lock().due = true;
        self.changed.notify_all();
    }

    /// Waits until something is due; `false` once it is closed.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| !state.closed && !state.due;
        let mut state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        state.due = false;
        !state.closed
    }

    /// Waits a while; `false` once it is closed.
    fn pause(&self) -> bool {
        let open = |state: &mut State| !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), RETRY, open);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Destroys a deleted tenant's key here, and soon in the snapshots' target.
pub(crate) fn destroy_key(shared: &Shared, tenant: TenantKey, deleted_ms: u64) {
    if let Err(error) = shared.ledger.destroy_key(tenant, deleted_ms) {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "a deleted tenant's key is still there; it is destroyed at the next start");
    }
    shared.shredding.ask();
}

/// Tells the snapshots' target which keys are destroyed, until the engine closes. What was not told before the last stop is
/// told first.
pub(crate) fn run(shared: &Shared) {
    let Some(store) = shared.parts.snapshots.clone().filter(|_| shared.ledger.is_encrypted()) else { return };
    loop {
        while let Err(error) = shared.ledger.update_keys(&*store) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "destroyed keys may still be in the snapshot target; it is tried again");
            if !shared.shredding.pause() {
                return;
            }
        }
        if !shared.shredding.wait() {
            return;
        }
    }
}
