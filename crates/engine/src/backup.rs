//! Snapshots of the whole data folder, while it is served. What they are: [`ibid_ledger::snapshot`].

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use ibid_core::Operator;
use ibid_ledger::snapshot::{self as snapshots, Created, Pruned, SnapshotError, SnapshotStore};
use ibid_runtime::{Ctx, start_thread};

use crate::engine::{Engine, Shared};
use crate::error::EngineError;

/// What is being done at the snapshots' target: one thing at a time, on a thread of its own.
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
        let create = |shared: &Shared, ctx: &Ctx, store: &dyn SnapshotStore| {
            shared.ledger.snapshot(ctx, store, shared.parts.clock.unix_ms())
        };
        self.with_snapshots(ctx, store, create).await
    }

    /// Deletes all snapshots in `store` but the newest `keep`, and what they alone needed. Stopped half way, the next call
    /// goes on.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] while a snapshot is being made; [`EngineError::Snapshot`].
    pub async fn prune_snapshots(
        &self,
        ctx: &Ctx,
        _by: &Operator,
        store: Arc<dyn SnapshotStore>,
        keep: NonZeroUsize,
    ) -> Result<Pruned, EngineError> {
        self.with_snapshots(ctx, store, move |_, ctx, store| snapshots::prune(ctx, store, keep)).await
    }

    /// Does `work` with `store` on a thread of its own, when nobody else does anything there.
    async fn with_snapshots<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        store: Arc<dyn SnapshotStore>,
        work: impl FnOnce(&Shared, &Ctx, &dyn SnapshotStore) -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (done, created) = oneshot::channel();
        {
            let mut running = self.shared.backup.lock();
            self.shared.background.check().map_err(|_| EngineError::Closing)?;
            if running.as_ref().is_some_and(|running| !running.thread.is_finished()) {
                let problem = "a snapshot is being made, or old ones are deleted; wait until that is complete";
                return Err(EngineError::Unfit(problem.to_owned()));
            }
            let (shared, of_thread) = (Arc::clone(&self.shared), ctx.clone());
            let thread = start_thread("snapshot", move || {
                // Who asked may have left.
                let _ = done.send(work(&shared, &of_thread, &*store));
            });
            let thread = thread.map_err(|source| EngineError::Io { doing: "start a thread", source })?;
            *running = Some(Running { ctx: ctx.clone(), thread });
        }
        created.await.map_err(|_| EngineError::Closing)?.map_err(EngineError::of_snapshot)
    }
}
