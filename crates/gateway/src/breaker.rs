//! The layer that leaves a deployment alone which fails or is slow too often, and tries it again after a while.
//!
//! What counts is the share of failures and of slow first tokens among its last calls (as in resilience4j). A reply that
//! breaks off counts as a failure beside its first token's success.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use ibid_core::{GenerationStream, ModelError};
use tower::{Layer, Service, ServiceExt};

use crate::call::{Answer, Call, Door, always_ready};
use crate::config::BreakerConfig;
use crate::failure::{Failure, Kind};

/// Whether a deployment is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is left alone.
    Open,
    /// A few calls try whether it is back.
    HalfOpen,
}

/// One deployment's breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Counts the changes of phase, so that a call is only counted in the phase it began in.
    epoch: u64,
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    Open { until: Duration },
    HalfOpen { running: u32, succeeded: u32 },
}

impl Default for Phase {
    fn default() -> Phase {
        Phase::Closed(Window::default())
    }
}

/// The last calls: whether each failed, and whether it was slow.
#[derive(Debug, Default)]
struct Window {
    calls: VecDeque<(bool, bool)>,
    failed: u32,
    slow: u32,
}

impl Window {
    fn push(&mut self, failed: bool, slow: bool, calls_max: u32) {
        if self.calls.len() >= calls_max as usize
            && let Some((failed, slow)) = self.calls.pop_front()
        {
            self.failed -= u32::from(failed);
            self.slow -= u32::from(slow);
        }
        self.calls.push_back((failed, slow));
        self.failed += u32::from(failed);
        self.slow += u32::from(slow);
    }

    fn is_too_bad(&self, config: &BreakerConfig) -> bool {
        let calls = self.calls.len() as f32;
        let enough = self.calls.len() as u64 >= u64::from(config.calls_min);
        enough && (self.failed as f32 >= config.failure_rate * calls || self.slow as f32 >= config.slow_rate * calls)
    }
}

/// The right to make one call.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    epoch: u64,
    told: bool,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Breaker {
        Breaker { config, state: Mutex::default() }
    }

    /// Its state, at `now` by the clock's monotonic time.
    pub(crate) fn state(&self, now: Duration) -> BreakerState {
        match self.lock().phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open { until } if now < until => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// A permit for one call.
    ///
    /// # Errors
    /// How long to leave it alone; zero while others try it.
    fn admit(self: &Arc<Breaker>, now: Duration) -> Result<Permit, Duration> {
        let mut state = self.lock();
        // Open => HalfOpen once its time is over
        if let Phase::Open { until } = state.phase {
            if now < until {
                return Err(until - now);
            }
            state.enter(Phase::HalfOpen { running: 0, succeeded: 0 });
        }
        // HalfOpen => HalfOpen with one more that tries
        if let Phase::HalfOpen { running, succeeded } = &mut state.phase {
            if *running + *succeeded >= self.config.probes {
                return Err(Duration::ZERO);
            }
            *running += 1;
        }
        Ok(Permit { breaker: Arc::clone(self), epoch: state.epoch, told: false })
    }

    fn count(&self, epoch: u64, failed: bool, slow: bool, now: Duration) {
        let mut state = self.lock();
        if state.epoch != epoch {
            return;
        }
        let opens = match &mut state.phase {
            // Closed => (Closed or Open)
            Phase::Closed(window) => {
                window.push(failed, slow, self.config.window_calls);
                window.is_too_bad(&self.config)
            }
            // HalfOpen => (HalfOpen or Closed or Open)
            Phase::HalfOpen { running, succeeded } => {
                *running = running.saturating_sub(1);
                *succeeded += u32::from(!failed && !slow);
                failed || slow
            }
            Phase::Open { .. } => false,
        };
        if opens {
            state.enter(Phase::Open { until: now.saturating_add(self.config.open_for) });
        } else if let Phase::HalfOpen { succeeded, .. } = state.phase
            && succeeded >= self.config.probes
        {
            state.enter(Phase::default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Permit {
    /// The first token came after `took`.
    fn answered(&mut self, took: Duration, now: Duration) {
        self.told = true;
        self.breaker.count(self.epoch, false, took >= self.breaker.config.slow_after, now);
    }

    /// It failed.
    fn failed(&mut self, now: Duration) {
        self.told = true;
        self.breaker.count(self.epoch, true, false, now);
    }
}

impl Drop for Permit {
    /// A call that was given up says nothing, but somebody else may try now.
    fn drop(&mut self) {
        let mut state = self.breaker.lock();
        if self.told || state.epoch != self.epoch {
            return;
        }
        if let Phase::HalfOpen { running, .. } = &mut state.phase {
            *running = running.saturating_sub(1);
        }
    }
}

/// Asks for permits.
#[derive(Debug, Clone)]
pub(crate) struct BreakerLayer {
    pub(crate) deployment: Arc<str>,
    pub(crate) breaker: Arc<Breaker>,
}

#[derive(Debug, Clone)]
pub(crate) struct BreakerService<S> {
    layer: BreakerLayer,
    inner: S,
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;
    fn layer(&self, inner: S) -> BreakerService<S> {
        BreakerService { layer: self.clone(), inner }
    }
}

impl<S: Door> Service<Call> for BreakerService<S> {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let BreakerLayer { deployment, breaker } = self.layer.clone();
        Box::pin(async move {
            let clock = Arc::clone(call.ctx.clock());
            let start = clock.monotonic();
            let mut permit = breaker.admit(start).map_err(|left| {
                let detail = "it failed too often of late and is left alone for a while";
                let mut shut = Failure::unavailable(Kind::Shut, &deployment, detail);
                shut.retry_after = (!left.is_zero()).then_some(left);
                shut
            })?;
            let answer = inner.oneshot(call).await;
            let now = clock.monotonic();
            match &answer {
                Ok(_) => permit.answered(now.saturating_sub(start), now),
                Err(failure) if failure.is_illness() => permit.failed(now),
                // It answered, if only that it will not: it is there.
                Err(failure) if matches!(failure.kind, Kind::BadRequest | Kind::TooLong) => {
                    permit.answered(Duration::ZERO, now);
                }
                Err(_) => {}
            }
            let listen = move |piece: Result<_, ModelError>| {
                if matches!(piece, Err(ModelError::Unavailable { .. } | ModelError::Overloaded { .. })) {
                    permit.failed(clock.monotonic());
                }
                piece
            };
            Ok(answer?.map(listen).boxed())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CONFIG: BreakerConfig = BreakerConfig {
        window_calls: 4,
        calls_min: 3,
        failure_rate: 0.5,
        slow_rate: 0.75,
        slow_after: SECOND,
        open_for: Duration::from_secs(10),
        probes: 2,
    };

    fn breaker() -> Arc<Breaker> {
        Arc::new(Breaker::new(CONFIG))
    }

    fn call(breaker: &Arc<Breaker>, fails: bool, took: Duration, now: Duration) {
        let mut permit = breaker.admit(now).expect("it is closed");
        if fails { permit.failed(now) } else { permit.answered(took, now) }
    }

    #[test]
    fn it_opens_by_failures_and_by_slowness_but_not_by_a_few_calls() {
        let failing = breaker();
        call(&failing, true, SECOND, SECOND);
        call(&failing, true, SECOND, SECOND);
        assert_eq!(failing.state(SECOND), BreakerState::Closed, "two calls say nothing");
        call(&failing, false, Duration::ZERO, SECOND);
        assert_eq!(failing.state(SECOND), BreakerState::Open);
        assert_eq!(failing.admit(3 * SECOND).unwrap_err(), 8 * SECOND);

        let slow = breaker();
        (0..3).for_each(|_| call(&slow, false, SECOND, SECOND));
        assert_eq!(slow.state(SECOND), BreakerState::Open);

        let fine = breaker();
        call(&fine, true, SECOND, SECOND);
        (0..9).for_each(|_| call(&fine, false, Duration::ZERO, SECOND));
        call(&fine, true, SECOND, SECOND);
        assert_eq!(fine.state(SECOND), BreakerState::Closed, "only the last four count");
    }

    fn open() -> Arc<Breaker> {
        let breaker = breaker();
        (0..3).for_each(|_| call(&breaker, true, SECOND, Duration::ZERO));
        breaker
    }

    #[test]
    fn a_few_calls_try_it_and_one_that_fails_opens_it_again() {
        let (breaker, later) = (open(), 10 * SECOND);
        let mut first = breaker.admit(later).unwrap();
        let given_up = breaker.admit(later).unwrap();
        assert_eq!(breaker.admit(later).unwrap_err(), Duration::ZERO, "two try it, nobody else");
        drop(given_up);
        let mut second = breaker.admit(later).unwrap();
        first.answered(Duration::ZERO, later);
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        second.answered(Duration::ZERO, later);
        assert_eq!(breaker.state(later), BreakerState::Closed);

        let breaker = open();
        let (mut first, mut second) = (breaker.admit(later).unwrap(), breaker.admit(later).unwrap());
        first.failed(later);
        assert_eq!(breaker.state(later), BreakerState::Open);
        second.answered(Duration::ZERO, later);
        assert_eq!(breaker.state(later), BreakerState::Open, "what began before says nothing");
    }
}
