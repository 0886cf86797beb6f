//! The one compute pool. tokio waits, this computes.
//!
//! A few lanes take jobs from one queue, the highest priority first and the oldest among equals, and run each inside the
//! rayon pool, so that a job may use rayon, hnsw_rs or candle and stay on these threads. Work of [`Priority::Ingest`]
//! never takes the last lane: a question does not wait behind a batch of documents.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use futures::channel::oneshot;

use crate::{Ctx, Priority, Stopped};

/// Why a job gave no result.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The queue is full; try again later.
    #[error("{queued} jobs wait for the compute pool, which is its limit")]
    Full {
        /// How many wait.
        queued: usize,
    },
    /// The caller left or its deadline passed before the job started.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The job panicked; the pool goes on.
    #[error("a compute job panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}

/// Threads for compute, shared by everything that computes. Clones are handles to the same pool.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

/// Ends the lanes when the last handle is dropped; the lanes themselves hold none.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.0.arrived.notify_all();
    }
}

struct Shared {
    rayon: rayon::ThreadPool,
    lanes: usize,
    jobs_max: usize,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: BinaryHeap<Job>,
    next: u64,
    ingest_running: usize,
    closed: bool,
}

struct Job {
    rank: (Priority, Reverse<u64>),
    work: Box<dyn FnOnce() + Send>,
}

impl PartialEq for Job {
    fn eq(&self, other: &Job) -> bool {
        self.rank == other.rank
    }
}
impl Eq for Job {}
impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Job) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Job {
    fn cmp(&self, other: &Job) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of `threads` compute threads (at least 1) that queues at most `jobs_max` jobs.
    ///
    /// # Errors
    /// The operating system refused the threads.
    pub fn new(threads: usize, jobs_max: usize) -> std::io::Result<Pool> {
        let threads = threads.max(1);
        let rayon = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("compute-{n}"))
            .build()
            .map_err(std::io::Error::other)?;
        // Two lanes at least: one that ingest cannot take.
        let lanes = threads.max(2);
        let shared = Arc::new(Shared { rayon, lanes, jobs_max, queue: Mutex::default(), arrived: Condvar::new() });
        for lane in 0..lanes {
            let lane_shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("lane-{lane}")).spawn(move || while lane_shared.serve_one() {})?;
        }
        Ok(Pool { _closer: Arc::new(Closer(Arc::clone(&shared))), shared })
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.shared.rayon.current_num_threads()
    }

    /// Runs `work` in the pool at the context's priority. A job whose caller has left before it starts is skipped.
    ///
    /// # Errors
    /// [`PoolError`]: queue full, stopped before the start, or a panic in `work`.
    pub async fn run<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        ctx.check()?;
        let (sender, receiver) = oneshot::channel();
        let own = ctx.clone();
        let job = move || {
            // Nobody listens any more, or the deadline has passed while the job waited.
            if sender.is_canceled() {
                return;
            }
            let result = match own.check() {
                Err(stopped) => Err(PoolError::Stopped(stopped)),
                Ok(()) => catch(work),
            };
            // The receiver may have left meanwhile: then the result is of no use to anyone.
            let _ = sender.send(result);
        };
        self.shared.push(ctx.priority(), Box::new(job))?;
        receiver.await.unwrap_or(Err(PoolError::Stopped(Stopped::Cancelled)))
    }

    /// Runs `work` inside the pool at once and waits for it: for threads of our own that do nothing else meanwhile.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.shared.rayon.install(work)
    }
}

fn catch<T>(work: impl FnOnce() -> T) -> Result<T, PoolError> {
    // A job owns what it touches, so that a panic leaves nothing half changed behind that others see.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        PoolError::Panicked { message }
    })
}

impl Shared {
    fn push(&self, priority: Priority, work: Box<dyn FnOnce() + Send>) -> Result<(), PoolError> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.jobs.len() >= self.jobs_max {
            return Err(PoolError::Full { queued: queue.jobs.len() });
        }
        let order = queue.next;
        queue.next += 1;
        queue.jobs.push(Job { rank: (priority, Reverse(order)), work });
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for a job and runs it. `false` once the pool is closed.
    fn serve_one(&self) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            return false;
        }
        let ingest_full = queue.ingest_running + 1 >= self.lanes;
        let next_may_run = queue.jobs.peek().is_some_and(|job| job.rank.0 != Priority::Ingest || !ingest_full);
        if !next_may_run {
            drop(self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner));
            return true;
        }
        let Some(job) = queue.jobs.pop() else { return true };
        let ingest = job.rank.0 == Priority::Ingest;
        queue.ingest_running += usize::from(ingest);
        drop(queue);
        self.rayon.install(job.work);
        if ingest {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).ingest_running -= 1;
            self.arrived.notify_one();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, SystemClock};
    use futures::executor::block_on;
    use std::time::Duration;

    fn ctx(priority: Priority) -> Ctx {
        Ctx::new(Arc::new(SystemClock::new()), priority, None)
    }

    #[test]
    fn a_panic_is_an_error_and_the_pool_goes_on() {
        let pool = Pool::new(2, 8).unwrap();
        let panicked = block_on(pool.run(&ctx(Priority::Query), || panic!("boom")));
        assert!(matches!(panicked, Err::<(), _>(PoolError::Panicked { message }) if message == "boom"));
        assert_eq!(block_on(pool.run(&ctx(Priority::Query), || 1)).unwrap(), 1);
    }

    #[test]
    fn a_question_overtakes_documents_and_ingest_leaves_a_lane() {
        let pool = Pool::new(2, 64).unwrap();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let ingest = ctx(Priority::Ingest);
        let blocked = pool.run(&ingest, move || wait.recv_timeout(Duration::from_secs(20)).is_ok());
        let behind = pool.run(&ingest, || ());
        let query = ctx(Priority::Query);
        let answered = async {
            let one = pool.run(&query, || 42).await.unwrap();
            release.send(()).unwrap();
            one
        };
        let (freed, _, answer) = block_on(async { futures::join!(blocked, behind, answered) });
        assert!(freed.unwrap(), "the question ran while a document held a lane");
        assert_eq!(answer, 42);
    }

    #[test]
    fn what_is_late_is_not_started_and_what_is_too_much_is_refused() {
        let clock = Arc::new(ManualClock::at(0));
        let late = Ctx::new(clock, Priority::Query, Some(Duration::ZERO));
        let pool = Pool::new(1, 0).unwrap();
        assert!(matches!(block_on(pool.run(&late, || ())), Err(PoolError::Stopped(Stopped::Deadline))));
        assert!(matches!(block_on(pool.run(&ctx(Priority::Query), || ())), Err(PoolError::Full { .. })));
    }
}
