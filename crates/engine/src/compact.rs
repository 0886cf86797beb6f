//! When the log is compacted.
//!
//! For room: each time a segment is full, those of which more than half is of no use are written anew. For erasure: at
//! most [`crate::Config::erase_within`] after something was deleted, everything that is of no use is left out, and the indexes
//! are written anew without it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use ibid_core::Operator;
use ibid_ledger::{Compacted, LedgerError};
use ibid_runtime::Ctx;
use roaring::RoaringTreemap;

use crate::engine::{Engine, Shared};
use crate::error::EngineError;
use crate::stages;

/// The share of a segment, in percent, that may be of no use.
const DEAD_PERCENT_MAX: u64 = 50;
/// How often the thread looks whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// How long what was compacted is kept open for who learned of it before.
pub(crate) const READERS_LEAVE: Duration = Duration::from_secs(60);
/// How long an idempotency key makes a repetition harmless at least, after its document was replaced.
const REMEMBERED: Duration = Duration::from_hours(24);

type Done = oneshot::Sender<Result<Compacted, LedgerError>>;

/// What the compacting thread is to do.
#[derive(Default)]
pub(crate) struct Compaction {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Somebody waits for everything to be compacted.
    asked: Vec<Done>,
    /// When what was deleted must be gone, on the monotonic clock.
    erase_by: Option<Duration>,
    closed: bool,
}

impl Compaction {
    /// Something was deleted: its bytes are gone by then.
    pub(crate) fn erase_by(&self, due: Duration) {
        let mut state = self.lock();
        state.erase_by = Some(state.erase_by.map_or(due, |earlier| earlier.min(due)));
    }

    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asked.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn ask(&self, done: Done) {
        let mut state = self.lock();
        if !state.closed {
            state.asked.push(done);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Whoever asks since the last time. `None` once it is closed.
    fn next(&self) -> Option<Vec<Done>> {
        let waiting = |state: &mut State| !state.closed && state.asked.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), TICK, waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed { None } else { Some(std::mem::take(&mut state.asked)) }
    }

    /// How long it is from `now` until what was deleted is gone; `None`: nothing is due.
    pub(crate) fn due_in(&self, now: Duration) -> Option<Duration> {
        self.lock().erase_by.map(|due| due.saturating_sub(now))
    }

    /// Whether something must be erased by `now`; then it counts as done.
    fn take_due(&self, now: Duration) -> bool {
        self.lock().erase_by.take_if(|due| *due <= now).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compacts until the engine closes.
pub(crate) fn run(shared: &Arc<Shared>) {
    let now = || shared.parts.clock.monotonic();
    let mut sealed = shared.ledger.stats().sealed;
    let mut compacted_at = None;
    // What was deleted before the last stop may still be there.
    shared.compaction.erase_by(now() + shared.config.erase_within);
    while let Some(asked) = shared.compaction.next() {
        let everything = !asked.is_empty() || shared.compaction.take_due(now());
        let sealed_now = shared.ledger.stats().sealed;
        if everything || sealed_now > sealed {
            if everything {
                erase_from_indexes(shared);
            }
            let compacted = compact(shared, everything);
            sealed = shared.ledger.stats().sealed;
            compacted_at = Some(now());
            if let Err(error) = &compacted {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "the log could not be compacted; it is tried again");
                shared.compaction.erase_by(now() + READERS_LEAVE);
            }
            for done in asked {
                // Who asked may have left.
                let _ = done.send(compacted.clone());
            }
            continue;
        }
        shared.open_partitions().iter().for_each(|partition| partition.past.forget_idle(now()));
        if compacted_at.take_if(|at| now() >= *at + READERS_LEAVE).is_some() {
            shared.ledger.release();
        }
    }
}

fn compact(shared: &Shared, everything: bool) -> Result<Compacted, LedgerError> {
    if everything {
        shared.ledger.seal()?;
    }
    let mut in_use = RoaringTreemap::new();
    for partition in shared.open_partitions() {
        in_use.extend(partition.documents().in_use().map(|sequence| sequence.0));
    }
    let remembered = u64::try_from(REMEMBERED.as_millis()).unwrap_or(u64::MAX);
    let remembered_from_ms = shared.parts.clock.unix_ms().saturating_sub(remembered);
    let dead_percent = if everything { 0 } else { DEAD_PERCENT_MAX };
    let retained_from_ms = shared.window().start_ms();
    shared.ledger.compact(&shared.background, dead_percent, remembered_from_ms, retained_from_ms, &in_use)
}

/// Takes what was deleted or replaced out of the indexes of all partitions.
fn erase_from_indexes(shared: &Arc<Shared>) {
    for partition in shared.open_partitions() {
        if let Err(error) = stages::erase(&partition) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(partition = %partition.key, error, "deleted chunks stay in an index; it is tried again");
            shared.compaction.erase_by(shared.parts.clock.monotonic() + READERS_LEAVE);
        }
    }
}

impl Engine {
    /// Leaves everything out of the log that is of no use any more, and erases it so: what was deleted or replaced.
    ///
    /// # Errors
    /// [`EngineError`]: the disk is full or failed, or the engine closes; what was not compacted stays as it is.
    pub async fn compact(&self, ctx: &Ctx, _by: &Operator) -> Result<Compacted, EngineError> {
        let (done, compacted) = oneshot::channel();
        self.shared.compaction.ask(done);
        let compacted = compacted.await.unwrap_or(Err(LedgerError::Closed)).map_err(EngineError::of_ledger)?;
        ctx.check()?;
        Ok(compacted)
    }
}
