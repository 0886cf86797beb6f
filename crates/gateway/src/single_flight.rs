//! Equal requests at the same time are one call: the first asks, the others listen.
//!
//! The call belongs to nobody: it has its own stop flag, ends when the last listener has left, and goes on when the one
//! who started it leaves. A listener who has more time than the call joins none that could end before.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use futures::stream::{self, Stream, StreamExt};
use futures::task::ArcWake;
use ibid_core::{CacheState, Generated, GenerationStream, ModelError};
use ibid_runtime::Ctx;
use tower::{Layer, Service, ServiceExt};

use crate::call::{Answer, CacheKey, Call, Door, always_ready};
use crate::failure::Failure;
use crate::pace::unless_stopped;

type Landing = Result<Arc<Flight>, Failure>;
type Take = BoxFuture<'static, Landing>;

/// The calls under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<CacheKey, UnderWay>>,
}

struct UnderWay {
    call: WeakShared<Take>,
    /// When its time is over, by the clock's monotonic time; `None`: never.
    end: Option<Duration>,
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnderWay").field("end", &self.end).finish_non_exhaustive()
    }
}

/// A reply that several read.
struct Flight {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
}

struct State {
    stream: Option<GenerationStream>,
    said: Vec<Result<Generated, ModelError>>,
}

/// Everybody who waits for the next piece.
#[derive(Default)]
struct Wakers(Mutex<Vec<Waker>>);

impl Wakers {
    fn add(&self, waker: &Waker) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|known| known.will_wake(waker)) {
            all.push(waker.clone());
        }
    }
}

impl ArcWake for Wakers {
    fn wake_by_ref(all: &Arc<Wakers>) {
        let waiting = std::mem::take(&mut *all.0.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Flight {
    fn new(stream: GenerationStream) -> Flight {
        Flight { state: Mutex::new(State { stream: Some(stream), said: Vec::new() }), wakers: Arc::default() }
    }

    /// The piece at `at`, which may have to be waited for.
    fn poll(&self, at: usize, context: &Context<'_>) -> Poll<Option<Result<Generated, ModelError>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = state.said.get(at) {
            return Poll::Ready(Some(piece.clone()));
        }
        let Some(stream) = &mut state.stream else { return Poll::Ready(None) };
        // Whoever polls, all are woken: the one who polled last may have left by then.
        self.wakers.add(context.waker());
        let waker = futures::task::waker(Arc::clone(&self.wakers));
        match stream.poll_next_unpin(&mut Context::from_waker(&waker)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(piece) => {
                let ended = match &piece {
                    None | Some(Err(_) | Ok(Generated::Done(_))) => true,
                    Some(Ok(_)) => false,
                };
                if ended {
                    state.stream = None;
                }
                state.said.extend(piece.clone());
                drop(state);
                ArcWake::wake_by_ref(&self.wakers);
                Poll::Ready(piece)
            }
        }
    }
}

/// One who listens.
struct Listener {
    flight: Arc<Flight>,
    at: usize,
}

impl Stream for Listener {
    type Item = Result<Generated, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.flight.poll(self.at, context);
        if let Poll::Ready(Some(_)) = piece {
            self.at += 1;
        }
        piece
    }
}

impl Flights {
    /// The call under way that `ctx` can join, or the one that `start` makes, and whether it was started here.
    fn join(&self, key: CacheKey, ctx: &Ctx, start: impl FnOnce() -> Take) -> (Shared<Take>, bool) {
        let end = ctx.left().map(|left| ctx.clock().monotonic().saturating_add(left));
        let mut under_way = self.lock();
        if let Some(known) = under_way.get(&key)
            && known.end.is_none_or(|known| end.is_some_and(|own| own <= known))
            && let Some(call) = known.call.upgrade()
        {
            return (call, false);
        }
        under_way.retain(|_, known| known.call.upgrade().is_some());
        let call = start().shared();
        if let Some(weak) = call.downgrade() {
            under_way.insert(key, UnderWay { call: weak, end });
        }
        (call, true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins calls.
#[derive(Debug, Clone)]
pub(crate) struct SingleFlightLayer {
    pub(crate) flights: Arc<Flights>,
}

#[derive(Debug, Clone)]
pub(crate) struct SingleFlight<S> {
    flights: Arc<Flights>,
    inner: S,
}

impl<S> Layer<S> for SingleFlightLayer {
    type Service = SingleFlight<S>;
    fn layer(&self, inner: S) -> SingleFlight<S> {
        SingleFlight { flights: Arc::clone(&self.flights), inner }
    }
}

impl<S: Door> Service<Call> for SingleFlight<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let Some(key) = call.key else { return Box::pin(inner.oneshot(call)) };
        let flights = Arc::clone(&self.flights);
        Box::pin(async move {
            let ctx = call.ctx.clone();
            let take = || {
                let own = Ctx::new(Arc::clone(ctx.clock()), ctx.priority(), ctx.left());
                let call = Call { ctx: own, ..call };
                inner.oneshot(call).map(|landed| landed.map(|stream| Arc::new(Flight::new(stream)))).boxed()
            };
            let (shared, first) = flights.join(key, &ctx, take);
            // Held as long as anybody listens: the call can be joined until then.
            let held = shared.clone();
            let flight = unless_stopped(&ctx, shared).await??;
            let listener = Listener { flight, at: 0 };
            Ok(listen(listener, ctx, held, first))
        })
    }
}

fn listen(listener: Listener, ctx: Ctx, held: Shared<Take>, first: bool) -> GenerationStream {
    let listening = stream::unfold(Some((listener, held)), move |state| {
        let ctx = ctx.clone();
        async move {
            let (mut listener, held) = state?;
            match unless_stopped(&ctx, listener.next()).await {
                Ok(piece) => piece.map(|piece| (piece, Some((listener, held)))),
                Err(stopped) => Some((Err(stopped.error), None)),
            }
        }
    });
    let mark = move |mut piece: Result<Generated, ModelError>| {
        // The call is paid once, by whoever started it.
        if let Ok(Generated::Call(record)) = &mut piece
            && !first
        {
            record.cache = CacheState::Shared;
            record.cost_microdollars = 0;
            record.attempts = 0;
        }
        piece
    };
    listening.map(mark).boxed()
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::unbounded;

    use super::*;

    fn delta(text: &str) -> Result<Generated, ModelError> {
        Ok(Generated::Delta(text.to_owned()))
    }

    #[tokio::test]
    async fn everybody_hears_everything_whoever_is_quick_slow_late_or_gone() {
        let (said, heard) = unbounded();
        let flight = Arc::new(Flight::new(heard.boxed()));
        let listen = || Listener { flight: Arc::clone(&flight), at: 0 };
        let (mut quick, gone, slow) = (listen(), listen(), listen());
        // The one who polls last is the one who leaves: the others must be woken all the same.
        let all = tokio::spawn(slow.collect::<Vec<_>>());
        tokio::task::yield_now().await;
        let mut leaving = Box::pin(gone.collect::<Vec<_>>());
        assert!(futures::poll!(&mut leaving).is_pending());
        drop(leaving);
        said.unbounded_send(delta("a")).unwrap();
        assert_eq!(quick.next().await, Some(delta("a")));
        said.unbounded_send(delta("b")).unwrap();
        drop(said);
        assert_eq!(all.await.unwrap(), [delta("a"), delta("b")]);
        assert_eq!((quick.next().await, quick.next().await), (Some(delta("b")), None));
        assert_eq!(listen().collect::<Vec<_>>().await, [delta("a"), delta("b")], "who comes late");
    }
}
