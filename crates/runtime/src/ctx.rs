//! One request's context: the first parameter all the way down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Clock;

/// Who goes first when there is not enough compute for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Embedding and indexing of documents; waits for everybody else.
    Ingest,
    /// Scoring candidates for somebody who waits.
    Rerank,
    /// The first steps of a question.
    Query,
}

/// Why work was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Nobody waits for the result any more.
    #[error("the caller has left")]
    Cancelled,
    /// The caller's deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
}

/// Stages that one request records; what comes later is left out, for a context may live as long as the process.
const STAGES_MAX: usize = 256;

/// How long one stage took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageTime {
    /// `stage.verb`, as in the trace spans.
    pub stage: &'static str,
    /// From the request's start to the stage's.
    pub start: Duration,
    /// The stage's own time.
    pub took: Duration,
    /// How many things of this request it was about, where the stage counts them; else 0.
    pub count: u32,
}

/// Deadline, stop flag, priority and trace of one request. Clones share all four but the priority.
#[derive(Debug, Clone)]
pub struct Ctx {
    shared: Arc<Shared>,
    priority: Priority,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    start: Duration,
    deadline: Option<Duration>,
    stopped: AtomicBool,
    stages: Mutex<Vec<StageTime>>,
}

impl Ctx {
    /// A context that starts now; `timeout`, if any, is the time left until its deadline.
    pub fn new(clock: Arc<dyn Clock>, priority: Priority, timeout: Option<Duration>) -> Ctx {
        let start = clock.monotonic();
        let deadline = timeout.map(|left| start.saturating_add(left));
        let shared = Shared { clock, start, deadline, stopped: AtomicBool::new(false), stages: Mutex::default() };
        Ctx { shared: Arc::new(shared), priority }
    }

    /// The same request at another priority.
    pub fn at(&self, priority: Priority) -> Ctx {
        Ctx { shared: Arc::clone(&self.shared), priority }
    }

    /// This context's priority.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The clock this request is measured by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Says that nobody waits any more. Every [`Ctx::check`] fails from now on.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    /// Fails once the caller has left or the deadline has passed. Loops ask once a block of work.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.shared.stopped.load(Ordering::Relaxed) {
            return Err(Stopped::Cancelled);
        }
        match self.left() {
            Some(left) if left.is_zero() => Err(Stopped::Deadline),
            Some(_) | None => Ok(()),
        }
    }

    /// Time left until the deadline; `None` without one.
    pub fn left(&self) -> Option<Duration> {
        self.shared.deadline.map(|deadline| deadline.saturating_sub(self.shared.clock.monotonic()))
    }

    /// Time since the request started.
    pub fn elapsed(&self) -> Duration {
        self.shared.clock.monotonic().saturating_sub(self.shared.start)
    }

    /// Records that `stage` ran from `start` (as [`Ctx::elapsed`] gave it) until now.
    pub fn record(&self, stage: &'static str, start: Duration) {
        let took = self.elapsed().saturating_sub(start);
        self.note(StageTime { stage, start, took, count: 0 });
    }

    /// Records a stage that was measured elsewhere.
    pub fn note(&self, stage: StageTime) {
        let mut stages = self.shared.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if stages.len() < STAGES_MAX {
            stages.push(stage);
        }
    }

    /// Runs `work` and records it as `stage`.
    pub fn timed<T>(&self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let start = self.elapsed();
        let done = work();
        self.record(stage, start);
        done
    }

    /// The stages recorded so far, by start.
    pub fn stages(&self) -> Vec<StageTime> {
        let mut stages = self.shared.stages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stages.sort_by_key(|stage| stage.start);
        stages
    }

    /// A guard which stops this request when it is dropped: hold it in the future that serves the caller.
    pub fn stop_on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// See [`Ctx::stop_on_drop`].
#[derive(Debug)]
pub struct StopOnDrop(Ctx);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn a_request_that_never_ends_does_not_grow() {
        let ctx = Ctx::new(Arc::new(ManualClock::at(0)), Priority::Ingest, None);
        (0..2 * STAGES_MAX).for_each(|_| ctx.record("stage.verb", Duration::ZERO));
        assert_eq!(ctx.stages().len(), STAGES_MAX);
    }

    #[test]
    fn a_request_ends_by_its_deadline_or_when_its_caller_leaves() {
        let clock = Arc::new(ManualClock::at(0));
        let ctx = Ctx::new(clock.clone(), Priority::Query, Some(Duration::from_millis(10)));
        assert_eq!(ctx.check(), Ok(()));
        clock.advance(Duration::from_millis(10));
        assert_eq!(ctx.check(), Err(Stopped::Deadline));

        let ctx = Ctx::new(clock, Priority::Query, None);
        let below = ctx.at(Priority::Ingest);
        drop(ctx.stop_on_drop());
        assert_eq!(below.check(), Err(Stopped::Cancelled));
    }
}
