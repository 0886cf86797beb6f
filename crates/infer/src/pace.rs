//! How fast a model has been of late, and what the next texts will take.
//!
//! The work of a text is counted in tokens, each weighed by the attention it pays to the others. Time per work and how far
//! it strays are smoothed as TCP does with round trips (Jacobson 1988; gains 1/8 and 1/4), and two deviations are added:
//! what is expected is seldom exceeded, whatever else the machine does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a measurement is relied on. A slow moment would otherwise forbid the work that could show that it has passed.
const RELIED_ON_FOR: Duration = Duration::from_secs(10);
const PACE_GAIN: f64 = 1.0 / 8.0;
const DEVIATION_GAIN: f64 = 1.0 / 4.0;
const DEVIATIONS: f64 = 2.0;

/// Times of a model's forward passes.
#[derive(Debug)]
pub(crate) struct Pace {
    hidden: usize,
    measured: Mutex<Option<Measured>>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Seconds per unit of work.
    pace: f64,
    deviation: f64,
    last: Duration,
}

impl Pace {
    /// Of a model with states of `hidden` floats, of which nothing is known.
    pub(crate) fn new(hidden: usize) -> Pace {
        Pace { hidden, measured: Mutex::default() }
    }

    /// The work of texts of these lengths. A layer multiplies each token by `12 hidden^2` weights, and twice by `hidden`
    /// floats of each token of its text.
    #[allow(clippy::cast_precision_loss, reason = "lengths are far below 2^53")]
    pub(crate) fn work(&self, lengths: impl Iterator<Item = usize>) -> f64 {
        let attention = 1.0 / (6.0 * self.hidden as f64);
        lengths.map(|length| length as f64).map(|length| length * (1.0 + attention * length)).sum()
    }

    /// Notes that `work`, above 0, took `took` and ended at `now`.
    pub(crate) fn note(&self, work: f64, took: Duration, now: Duration) {
        let given = took.as_secs_f64() / work;
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        *measured = Some(match *measured {
            // A first one says nothing of how far the next will stray: half of it, as TCP assumes.
            None => Measured { pace: given, deviation: given / 2.0, last: now },
            Some(Measured { pace, deviation, last }) if now.saturating_sub(last) > RELIED_ON_FOR => {
                let deviation = deviation.max((given - pace).abs()).min(given / 2.0);
                Measured { pace: given, deviation, last: now }
            }
            Some(Measured { pace, deviation, .. }) => Measured {
                pace: pace + PACE_GAIN * (given - pace),
                deviation: deviation + DEVIATION_GAIN * ((given - pace).abs() - deviation),
                last: now,
            },
        });
    }

    /// What `work` is unlikely to exceed. `None` if nothing was noted of late.
    pub(crate) fn expected(&self, work: f64, now: Duration) -> Option<Duration> {
        let measured = *self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let Measured { pace, deviation, last } = measured?;
        let recent = now.saturating_sub(last) <= RELIED_ON_FOR;
        recent.then(|| Duration::from_secs_f64(work * (pace + DEVIATIONS * deviation)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(paces_ms: &[u64]) -> Pace {
        let pace = Pace::new(384);
        for (ordinal, ms) in (0..).zip(paces_ms) {
            pace.note(10.0, Duration::from_millis(10 * ms), Duration::from_millis(ordinal));
        }
        pace
    }

    #[test]
    fn steady_work_is_expected_to_take_what_it_took() {
        let pace = after(&[2; 64]);
        let expected = pace.expected(100.0, SECOND).unwrap();
        assert!(expected >= Duration::from_millis(200) && expected < Duration::from_millis(201), "{expected:?}");
        assert!(pace.work([256].into_iter()) > 2.0 * pace.work([128].into_iter()));
    }

    #[test]
    fn what_strays_is_expected_with_care_and_a_slow_moment_is_forgotten() {
        let mut paces = vec![2; 64];
        paces.extend([2, 4, 2, 4, 2, 4]);
        let strays = after(&paces);
        assert!(strays.expected(1.0, SECOND).unwrap() > Duration::from_millis(4));
        assert_eq!(strays.expected(1.0, 12 * SECOND), None);
        assert_eq!(Pace::new(384).expected(1.0, Duration::ZERO), None);

        let slow = after(&[50; 64]);
        slow.note(1.0, Duration::from_millis(2), 12 * SECOND);
        assert!(slow.expected(1.0, 12 * SECOND).unwrap() <= Duration::from_millis(4));
        let steady = after(&[2; 64]);
        steady.note(1.0, Duration::from_millis(2), 12 * SECOND);
        assert!(steady.expected(100.0, 12 * SECOND).unwrap() < Duration::from_millis(201), "a pause changes nothing");
    }
}
