//! Time, as the house sees it.
#![allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// Time since this clock was made. Never goes back.
    fn monotonic(&self) -> Duration;
    /// Milliseconds since the Unix epoch. May jump when the machine's clock is set.
    fn unix_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(clippy::new_without_default, reason = "a default that reads the clock would hide a side effect")]
    pub fn new() -> SystemClock {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    elapsed_ms: AtomicU64,
    epoch_ms: u64,
}

impl ManualClock {
    /// A clock that stands at `unix_ms`.
    pub fn at(unix_ms: u64) -> ManualClock {
        ManualClock { elapsed_ms: AtomicU64::new(0), epoch_ms: unix_ms }
    }

    /// Moves the clock on by `step` (whole milliseconds).
    pub fn advance(&self, step: Duration) {
        self.elapsed_ms.fetch_add(u64::try_from(step.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        self.epoch_ms + self.elapsed_ms.load(Ordering::Relaxed)
    }
}
