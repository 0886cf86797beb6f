//! How a deployment has been doing of late.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The weight of the newest call in the moving averages.
const NEWEST: f64 = 0.2;

/// Moving averages (EWMA) of one deployment, and how long it asked to be left alone.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    first_token: Option<f64>,
    failures: f64,
    quiet_until: Duration,
}

impl Health {
    /// The first token came after `took`.
    pub(crate) fn answered(&self, took: Duration) {
        let mut state = self.lock();
        let took = took.as_secs_f64();
        state.first_token = Some(state.first_token.map_or(took, |average| average + NEWEST * (took - average)));
        state.failures -= NEWEST * state.failures;
    }

    /// It failed, before or after its first token.
    pub(crate) fn failed(&self) {
        let mut state = self.lock();
        state.failures += NEWEST * (1.0 - state.failures);
    }

    /// The provider asks to be left alone until `end`, by the clock's monotonic time.
    pub(crate) fn quiet_until(&self, end: Duration) {
        let mut state = self.lock();
        state.quiet_until = state.quiet_until.max(end);
    }

    /// How long it is to be left alone; `None` if it may be asked at `now`.
    pub(crate) fn quiet(&self, now: Duration) -> Option<Duration> {
        self.lock().quiet_until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Seconds to the first token; 0 for one that never answered, so that it is tried.
    pub(crate) fn first_token_seconds(&self) -> f64 {
        self.lock().first_token.unwrap_or(0.0)
    }

    /// The share of calls that fail, 0 to 1.
    pub(crate) fn failure_share(&self) -> f64 {
        self.lock().failures
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_averages_follow_the_calls() {
        let health = Health::default();
        assert_eq!(health.first_token_seconds(), 0.0);
        health.answered(Duration::from_secs(1));
        health.answered(Duration::from_secs(2));
        assert!((health.first_token_seconds() - 1.2).abs() < 1e-9);
        health.failed();
        assert!((health.failure_share() - 0.2).abs() < 1e-9);
        health.quiet_until(Duration::from_secs(5));
        health.quiet_until(Duration::from_secs(3));
        assert_eq!(health.quiet(Duration::from_secs(4)), Some(Duration::from_secs(1)));
        assert_eq!(health.quiet(Duration::from_secs(5)), None);
    }
}
