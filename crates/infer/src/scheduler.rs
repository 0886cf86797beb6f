//! One scheduler a model: texts of different calls share forward passes, the pool decides who goes first.
//!
//! A call goes by slices. A slice's tokens are made in the pool and queue up at the call's priority; then the call sends
//! turns to the pool until none of its texts waits. A turn is one forward pass over what waits at its priority when it
//! begins, whoever sent it: the text that waits longest, and those nearest to it in length. Between its products it makes way
//! for a better priority ([`Lane::make_way`]).
//!
//! Bounds: tokens of a pass, texts of one call in the queue (a longer call is fed in slices), texts of all calls at one
//! priority. A call that finds no room is refused before it costs anything; one that was let in keeps its room. A text whose
//! caller has left, or whose deadline has passed, is dropped before its pass.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use ibid_core::{ModelError, ModelId};
use ibid_runtime::{Ctx, Lane, Pool, PoolError, Priority, StageTime};

use crate::product::Spread;
use crate::{InferError, Tokens};

/// Texts of one slice: what one job tokenizes.
const SLICE_TEXTS: usize = 64;
/// Slices of one call under way: the next is tokenized while the threads are still busy with one.
const SLICES_MAX: usize = 2;
/// Texts that may queue at one priority, of all calls: a few megabytes of tokens.
const QUEUE_TEXTS_MAX: usize = 4_096;
/// How far from the oldest text a pass looks for others of its length.
const WINDOW_TEXTS: usize = 256;
/// Fewer tokens are not shared out to several threads: each would read all weights for little.
const SHARE_TOKENS_MIN: usize = 64;

/// A model that reads tokens.
pub(crate) trait Head: Send + Sync + 'static {
    /// What it makes of a text.
    type Output: Send + 'static;
    /// One forward pass: one result a text, in order, which does not depend on the texts beside it nor on `spread`. Calls
    /// `make_way` every few milliseconds, on each thread that computes, holding no lock.
    fn forward(
        &self,
        texts: &[Tokens],
        spread: Spread,
        make_way: &(dyn Fn() + Sync),
    ) -> Result<Vec<Self::Output>, InferError>;
}

/// A loaded model, and who waits for it.
pub(crate) struct Served<H: Head> {
    id: ModelId,
    revision: String,
    pool: Pool,
    shared: Arc<Shared<H>>,
}

struct Shared<H: Head> {
    model: H,
    threads: usize,
    batch_tokens_max: usize,
    /// By priority.
    queues: [Mutex<VecDeque<Waiting<H::Output>>>; 3],
    /// Room taken by the calls of each priority, in texts.
    held: [AtomicUsize; 3],
    queue_texts_max: usize,
}

/// A text in the queue.
struct Waiting<O> {
    slice: Arc<Slice>,
    ordinal: usize,
    tokens: Tokens,
    reply: mpsc::UnboundedSender<(usize, O)>,
}

/// What the texts of one slice have in common.
struct Slice {
    ctx: Ctx,
    /// In the request's time.
    came: Duration,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Texts in the queue.
    waiting: usize,
    /// When the first pass with one of its texts began.
    started: Option<Duration>,
    /// The most of its texts in one pass.
    largest: usize,
}

/// A slice in its caller's hands: dropped, it takes its texts out of the queue.
struct Submitted<H: Head> {
    shared: Arc<Shared<H>>,
    slice: Arc<Slice>,
    texts: usize,
    results: mpsc::UnboundedReceiver<(usize, H::Output)>,
}

/// Room in the queue, until it is dropped.
struct Room<'a> {
    held: &'a AtomicUsize,
    texts: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.held.fetch_sub(self.texts, Ordering::Relaxed);
    }
}

impl<H: Head> std::fmt::Debug for Served<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<H: Head> Served<H> {
    /// `model`, computing on `pool`: at most `batch_tokens_max` tokens (at least one text) a thread in one pass.
    pub(crate) fn new(id: ModelId, revision: String, model: H, pool: &Pool, batch_tokens_max: usize) -> Served<H> {
        let shared = Shared {
            model,
            threads: pool.threads(),
            batch_tokens_max,
            queues: Default::default(),
            held: Default::default(),
            queue_texts_max: QUEUE_TEXTS_MAX,
        };
        Served { id, revision, pool: pool.clone(), shared: Arc::new(shared) }
    }

    pub(crate) fn id(&self) -> &ModelId {
        &self.id
    }

    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    pub(crate) fn model(&self) -> &H {
        &self.shared.model
    }

    /// One result a text, in order, for `texts` texts: `slice` gives what makes the tokens of some of them, in the pool.
    pub(crate) async fn call<J>(
        &self,
        ctx: &Ctx,
        texts: usize,
        slice: impl Fn(Range<usize>) -> J + Send,
    ) -> Result<Vec<H::Output>, ModelError>
    where
        J: FnOnce(&H) -> Vec<Tokens> + Send + 'static,
    {
        let _room = self.admit(ctx.priority(), texts.min(SLICES_MAX * SLICE_TEXTS))?;
        let slices = (0..texts).step_by(SLICE_TEXTS).map(|start| {
            let make = slice(start..texts.min(start + SLICE_TEXTS));
            self.slice(ctx, make)
        });
        stream::iter(slices).buffered(SLICES_MAX).try_concat().await
    }

    /// What `work` makes of the model, in the pool.
    pub(crate) async fn prepare<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        work: impl FnOnce(&H) -> T + Send + 'static,
    ) -> Result<T, ModelError> {
        let shared = Arc::clone(&self.shared);
        self.pool.run(ctx, move || work(&shared.model)).await.map_err(|error| self.error(error))
    }

    fn admit(&self, priority: Priority, texts: usize) -> Result<Room<'_>, ModelError> {
        let held = &self.shared.held[priority as usize];
        let with = |before: usize| Some(before + texts).filter(|held| *held <= self.shared.queue_texts_max);
        match held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with) {
            Ok(_) => Ok(Room { held, texts }),
            Err(_) => Err(self.overloaded("too many texts wait for it")),
        }
    }

    async fn slice(
        &self,
        ctx: &Ctx,
        make: impl FnOnce(&H) -> Vec<Tokens> + Send + 'static,
    ) -> Result<Vec<H::Output>, ModelError> {
        let (shared, own, came) = (Arc::clone(&self.shared), ctx.clone(), ctx.elapsed());
        let submit = move |lane: &Lane<'_>| {
            let tokens = make(&shared.model);
            let alone = tokens.len() == 1;
            let submitted = shared.submit(own, came, tokens);
            // A question does not wait for the pool twice.
            if alone {
                submitted.shared.turn(lane);
            }
            submitted
        };
        let submitted = self.pool.run_in_parts(ctx, submit).await.map_err(|error| self.error(error))?;
        let turns = (0..self.shared.threads).map(|_| async {
            while submitted.slice.progress().waiting > 0 {
                let shared = Arc::clone(&self.shared);
                self.pool.run_in_parts(ctx, move |lane| shared.turn(lane)).await?;
            }
            Ok(())
        });
        try_join_all(turns).await.map_err(|error| self.error(error))?;
        let outputs = submitted.outputs().await;
        outputs.ok_or_else(|| match ctx.check() {
            Err(stopped) => ModelError::Stopped(stopped),
            Ok(()) => ModelError::Failed { model: self.id.to_string(), detail: "a forward pass failed".to_owned() },
        })
    }

    /// What the pool's refusal means to who asked the model.
    fn error(&self, error: PoolError) -> ModelError {
        match error {
            // Not how many: others' texts are among them.
            PoolError::Full { .. } => self.overloaded("too much waits for the compute pool"),
            PoolError::Stopped(stopped) => ModelError::Stopped(stopped),
            PoolError::Panicked { .. } => ModelError::Failed { model: self.id.to_string(), detail: error.to_string() },
        }
    }

    fn overloaded(&self, detail: &str) -> ModelError {
        ModelError::Overloaded { model: self.id.to_string(), detail: detail.to_owned() }
    }
}

impl<H: Head> Shared<H> {
    fn queue(&self, priority: Priority) -> MutexGuard<'_, VecDeque<Waiting<H::Output>>> {
        self.queues[priority as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: Arc<Self>, ctx: Ctx, came: Duration, texts: Vec<Tokens>) -> Submitted<H> {
        let (reply, results) = mpsc::unbounded();
        let progress = Mutex::new(Progress { waiting: texts.len(), ..Progress::default() });
        let slice = Arc::new(Slice { ctx, came, progress });
        let count = texts.len();
        let waiting = texts.into_iter().enumerate().map(|(ordinal, tokens)| Waiting {
            slice: Arc::clone(&slice),
            ordinal,
            tokens,
            reply: reply.clone(),
        });
        self.queue(slice.ctx.priority()).extend(waiting);
        Submitted { shared: self, slice, texts: count, results }
    }

    /// One forward pass over what waits at the lane's priority.
    fn turn(&self, lane: &Lane<'_>) {
        let mut batch = self.take(lane);
        if batch.is_empty() {
            return;
        }
        let texts: Vec<Tokens> = batch.iter_mut().map(|waiting| std::mem::take(&mut waiting.tokens)).collect();
        tracing::trace!(
            priority = ?lane.priority(),
            texts = texts.len(),
            tokens = texts.iter().map(|text| text.ids.len()).sum::<usize>(),
            threads = lane.threads(),
            "infer.batch"
        );
        let spread = if lane.threads() > 1 { Spread::Pool } else { Spread::Alone };
        let pass = || self.model.forward(&texts, spread, &|| lane.make_way());
        // Not the error of the call whose turn it is, but of the texts in the pass: they get no result.
        let outputs = match catch_unwind(AssertUnwindSafe(pass)) {
            Ok(Ok(outputs)) => outputs,
            Ok(Err(error)) => return tracing::error!(%error, "a forward pass failed"),
            Err(_) => return,
        };
        for (waiting, output) in batch.into_iter().zip(outputs) {
            // Who has left meanwhile needs none.
            let _ = waiting.reply.unbounded_send((waiting.ordinal, output));
        }
    }

    /// The texts of the next pass: the oldest, and those nearest to it in length.
    fn take(&self, lane: &Lane<'_>) -> Vec<Waiting<H::Output>> {
        let mut queue = self.queue(lane.priority());
        queue.retain(|waiting| waiting.slice.ctx.check().is_ok());
        let lengths: Vec<usize> = queue.iter().map(|waiting| waiting.tokens.ids.len()).collect();
        let mut places = nearest(&lengths, self.tokens_of_pass(lane, lengths.iter().sum()));
        // From the last, so that removing one does not move the others.
        places.sort_unstable_by(|a, b| b.cmp(a));
        let batch: Vec<Waiting<H::Output>> = places.into_iter().filter_map(|place| queue.remove(place)).collect();
        drop(queue);
        for waiting in &batch {
            let mates = batch.iter().filter(|other| Arc::ptr_eq(&other.slice, &waiting.slice)).count();
            let mut progress = waiting.slice.progress();
            progress.waiting -= 1;
            progress.started.get_or_insert_with(|| waiting.slice.ctx.elapsed());
            progress.largest = progress.largest.max(mates);
        }
        batch
    }

    /// A thread's share of what waits, so that all end together (guided self-scheduling, Polychronopoulos and Kuck 1987).
    fn tokens_of_pass(&self, lane: &Lane<'_>, waiting: usize) -> usize {
        let share = waiting.div_ceil(self.threads).max(SHARE_TOKENS_MIN).min(self.batch_tokens_max);
        if lane.threads() > 1 { self.batch_tokens_max * lane.threads() } else { share }
    }
}

/// The first text and the others of the window that are nearest to it in length, as many as `tokens_max` holds.
fn nearest(lengths: &[usize], tokens_max: usize) -> Vec<usize> {
    let Some(first) = lengths.first() else { return Vec::new() };
    let mut places: Vec<usize> = (0..lengths.len().min(WINDOW_TEXTS)).collect();
    // Stable: the first stays first.
    places.sort_by_key(|place| lengths[*place].abs_diff(*first));
    let mut tokens = 0;
    let fits = places.iter().take_while(|place| {
        tokens += lengths[**place];
        tokens <= tokens_max
    });
    let count = fits.count().max(1);
    places.truncate(count);
    places
}

impl Slice {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Head> Submitted<H> {
    /// The results in order. `None` if some text got none.
    async fn outputs(mut self) -> Option<Vec<H::Output>> {
        let mut outputs: Vec<Option<H::Output>> = std::iter::repeat_with(|| None).take(self.texts).collect();
        while let Some((ordinal, output)) = self.results.next().await {
            outputs[ordinal] = Some(output);
        }
        self.note();
        outputs.into_iter().collect()
    }

    /// How long the slice waited for its first pass, tokenizing included, and how long it took from there; of others' texts
    /// in its passes, nothing.
    fn note(&self) {
        let Slice { ctx, came, .. } = &*self.slice;
        let Progress { started: Some(started), largest, .. } = *self.slice.progress() else { return };
        let count = |texts: usize| u32::try_from(texts).unwrap_or(u32::MAX);
        let (waited, took) = (started.saturating_sub(*came), ctx.elapsed().saturating_sub(started));
        ctx.note(StageTime { stage: "infer.queue", start: *came, took: waited, count: count(self.texts) });
        ctx.note(StageTime { stage: "infer.forward", start: started, took, count: count(largest) });
    }
}

impl<H: Head> Drop for Submitted<H> {
    fn drop(&mut self) {
        if self.slice.progress().waiting > 0 {
            let mut queue = self.shared.queue(self.slice.ctx.priority());
            queue.retain(|waiting| !Arc::ptr_eq(&waiting.slice, &self.slice));
        }
    }
}

#[cfg(test)]
mod tests;
