//! Snapshots of the whole data folder, while it is served. What they are: [`ibid_ledger::snapshot`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use ibid_core::Operator;
use ibid_ledger::snapshot::{Created, SnapshotStore};
use ibid_runtime::{Ctx, start_thread};

use crate::engine::Engine;
use crate::error::EngineError;

/// The snapshot that is being made: one at a time, on a thread of its own.
#[derive(Default)]
pub(crate) struct Backup {
    running: Mutex<Option<Running>>,
}

struct Running {
    ctx: Ctx,
    thread: JoinHandle<()>,
}

impl Backup {
    /// Stops the one that runs, and waits until it has.
    pub(crate) fn close(&self) {
        let running = self.lock().take();
        if let Some(Running { ctx, thread }) = running {
            ctx.stop();
            // One that panicked has said so, and left no manifest.
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Copies the log as it is now into `store`, but for what is there already. Writes and questions go on. The copy is
    /// given up when `ctx` is stopped.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] while another one is being made; [`EngineError::Snapshot`]: there is no such snapshot then.
    pub async fn create_snapshot(
        &self,
        ctx: &Ctx,
        _by: &Operator,
        store: Arc<dyn SnapshotStore>,
    ) -> Result<Created, EngineError> {
        let (done, created) = oneshot::channel();
        {
            let mut running = self.shared.backup.lock();
            self.shared.background.check().map_err(|_| EngineError::Closing)?;
            if running.as_ref().is_some_and(|running| !running.thread.is_finished()) {
                let problem = "a snapshot is being made; wait until it is complete";
                return Err(EngineError::Unfit(problem.to_owned()));
            }
            let (shared, of_thread) = (Arc::clone(&self.shared), ctx.clone());
            let thread = start_thread("snapshot", move || {
                let created = shared.ledger.snapshot(&of_thread, &*store, shared.parts.clock.unix_ms());
                // Who asked may have left.
                let _ = done.send(created);
            });
            let thread = thread.map_err(|source| EngineError::Io { doing: "start a thread", source })?;
            *running = Some(Running { ctx: ctx.clone(), thread });
        }
        created.await.map_err(|_| EngineError::Closing)?.map_err(EngineError::of_snapshot)
    }
}
