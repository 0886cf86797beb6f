//! The one compute pool. tokio waits, this computes.
//!
//! As many lanes as threads take jobs from one queue and run each inside the rayon pool, so that a job may use rayon,
//! hnsw_rs or candle and stay on these threads. Who goes first:
//!
//! 1. The higher priority, and the older job among equals.
//! 2. But a priority of which nothing was started for [`PATIENCE`] although it waited gets the next free lane, for one job:
//!    however many questions come, documents go on.
//! 3. A job of [`Priority::Ingest`] never takes the last lane, unless it is a job in parts: that one makes way between its
//!    parts ([`Lane::make_way`]), for one waiting job of a higher priority at a time, so that it goes on as well.
//! 4. A job in parts has one thread, so that each part's end is near. But a question or rerank has all of them if no other
//!    job in parts of its priority runs or waits and nothing below: then nothing below starts until it ends, and beside a
//!    rerank nothing at all, for it makes way for questions.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;

use crate::{Clock, Ctx, Priority, Stopped};

/// Work on at most so many bytes is done by whoever asks for it.
const BYTES_IN_PASSING: usize = 32 << 10;
/// How long a priority is passed over before it gets a lane.
const PATIENCE: Duration = Duration::from_millis(200);

/// Who goes first, from the first.
const PRIORITIES: [Priority; 3] = [Priority::Query, Priority::Rerank, Priority::Ingest];

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
        self.0.queue().closed = true;
        self.0.arrived.notify_all();
    }
}

struct Shared {
    rayon: rayon::ThreadPool,
    jobs_max: usize,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

struct Queue {
    lanes: usize,
    levels: [Level; PRIORITIES.len()],
    /// The priority of the job that has all threads.
    spread: Option<Priority>,
    closed: bool,
}

/// What there is of one priority.
#[derive(Default)]
struct Level {
    waiting: VecDeque<Job>,
    /// Jobs in the lanes that are not in parts.
    whole: usize,
    /// Jobs in the lanes that are.
    in_parts: usize,
    /// When its last job was started.
    served: Duration,
}

struct Job {
    in_parts: bool,
    clock: Arc<dyn Clock>,
    arrived: Duration,
    work: Box<dyn FnOnce(&Lane<'_>) -> Delivery + Send>,
}

/// Hands a job's result to its caller. Not before the job has given its place back: the caller's next job, sent at once, would
/// find the pool busy with the last.
type Delivery = Box<dyn FnOnce() + Send>;

/// The place that a running job has in the pool.
pub struct Lane<'a> {
    shared: &'a Shared,
    priority: Priority,
    spread: bool,
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
        let lanes = threads.max(1);
        let rayon = rayon::ThreadPoolBuilder::new()
            .num_threads(lanes)
            .thread_name(|n| format!("compute-{n}"))
            .build()
            .map_err(std::io::Error::other)?;
        let queue = Queue { lanes, levels: Default::default(), spread: None, closed: false };
        let shared = Arc::new(Shared { rayon, jobs_max, queue: Mutex::new(queue), arrived: Condvar::new() });
        for lane in 0..lanes {
            let lane_shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("lane-{lane}")).spawn(move || lane_shared.serve())?;
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
        self.job(ctx, false, move |_| work()).await
    }

    /// As [`Pool::run`], for work on `bytes` bytes: a little is done by whoever asks, because two threads that wake each other
    /// cost more than the tens of microseconds that it takes.
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub async fn run_on_bytes<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        if bytes > BYTES_IN_PASSING {
            return self.run(ctx, work).await;
        }
        ctx.check()?;
        catch(work)
    }

    /// As [`Pool::run`], for work in parts: it calls [`Lane::make_way`] between them, and stays on the threads that
    /// [`Lane::threads`] says.
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub async fn run_in_parts<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        work: impl FnOnce(&Lane<'_>) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        self.job(ctx, true, work).await
    }

    async fn job<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        in_parts: bool,
        work: impl FnOnce(&Lane<'_>) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        ctx.check()?;
        let (sender, receiver) = oneshot::channel();
        let own = ctx.clone();
        let job = move |lane: &Lane<'_>| -> Delivery {
            // Nobody listens any more, or the deadline has passed while the job waited.
            if sender.is_canceled() {
                return Box::new(|| ());
            }
            let result = match own.check() {
                Err(stopped) => Err(PoolError::Stopped(stopped)),
                Ok(()) => catch(|| work(lane)),
            };
            // The receiver may have left meanwhile: then the result is of no use to anyone.
            Box::new(move || drop(sender.send(result)))
        };
        let (clock, arrived) = (Arc::clone(ctx.clock()), ctx.clock().monotonic());
        self.shared.push(ctx.priority(), Job { in_parts, clock, arrived, work: Box::new(job) })?;
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

impl std::fmt::Debug for Lane<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("priority", &self.priority).field("threads", &self.threads()).finish()
    }
}

impl Lane<'_> {
    /// The job's priority.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// How many threads the job may keep busy: all of the pool's, or the one it runs on.
    pub fn threads(&self) -> usize {
        if self.spread { self.shared.rayon.current_num_threads() } else { 1 }
    }

    /// Between two parts of a job: runs the first waiting job of a higher priority, if there is one, on this thread. Whoever
    /// calls holds no lock that such a job may want.
    pub fn make_way(&self) {
        let Some((priority, job)) = self.shared.queue().take_above(self.priority) else { return };
        let deliver = (job.work)(&Lane { shared: self.shared, priority, spread: false });
        deliver();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, priority: Priority, job: Job) -> Result<(), PoolError> {
        let mut queue = self.queue();
        let queued = queue.levels.iter().map(|level| level.waiting.len()).sum();
        if queued >= self.jobs_max {
            return Err(PoolError::Full { queued });
        }
        queue.level(priority).waiting.push_back(job);
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Runs jobs until the pool is closed.
    fn serve(&self) {
        let mut queue = self.queue();
        while !queue.closed {
            let Some((priority, job)) = queue.next() else {
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let in_parts = job.in_parts;
            let spread = in_parts && queue.may_spread(priority);
            if spread {
                queue.spread = Some(priority);
            }
            *queue.level(priority).running(in_parts) += 1;
            drop(queue);
            let deliver = self.rayon.install(|| (job.work)(&Lane { shared: self, priority, spread }));
            queue = self.queue();
            *queue.level(priority).running(in_parts) -= 1;
            if spread {
                queue.spread = None;
            }
            if spread || !in_parts {
                // Lanes may wait for this rather than for a job.
                self.arrived.notify_all();
            }
            drop(queue);
            deliver();
            queue = self.queue();
        }
    }
}

impl Queue {
    fn level(&mut self, priority: Priority) -> &mut Level {
        &mut self.levels[priority as usize]
    }

    /// The next job for a free lane, if one may start.
    fn next(&mut self) -> Option<(Priority, Job)> {
        for priority in PRIORITIES.into_iter().rev() {
            if self.level(priority).is_passed_over()
                && let Some(job) = self.start(priority)
            {
                return Some((priority, job));
            }
        }
        PRIORITIES.into_iter().find_map(|priority| Some((priority, self.start(priority)?)))
    }

    fn start(&mut self, priority: Priority) -> Option<Job> {
        if self.spread.is_some_and(|spread| spread == Priority::Rerank || priority < spread) {
            return None;
        }
        let last_lane = priority == Priority::Ingest && self.level(priority).whole + 1 >= self.lanes.max(2);
        let level = self.level(priority);
        let place = level.waiting.iter().position(|job| job.in_parts || !last_lane)?;
        level.take(place)
    }

    /// The first job above `own`.
    fn take_above(&mut self, own: Priority) -> Option<(Priority, Job)> {
        let mut above = PRIORITIES.into_iter().take_while(|priority| *priority > own);
        above.find_map(|priority| Some((priority, self.level(priority).take(0)?)))
    }

    /// Whether a job in parts that starts now has all threads.
    fn may_spread(&self, priority: Priority) -> bool {
        let (below, own) = (&self.levels[..priority as usize], &self.levels[priority as usize]);
        let idle = |level: &Level| level.waiting.is_empty() && level.whole + level.in_parts == 0;
        priority != Priority::Ingest
            && below.iter().all(idle)
            && own.in_parts == 0
            && own.waiting.iter().all(|job| !job.in_parts)
    }
}

impl Level {
    fn running(&mut self, in_parts: bool) -> &mut usize {
        if in_parts { &mut self.in_parts } else { &mut self.whole }
    }

    fn take(&mut self, place: usize) -> Option<Job> {
        let job = self.waiting.remove(place)?;
        self.served = job.clock.monotonic();
        Some(job)
    }

    fn is_passed_over(&self) -> bool {
        let since = |job: &Job| job.clock.monotonic().saturating_sub(job.arrived.max(self.served));
        self.waiting.front().is_some_and(|job| since(job) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests;
