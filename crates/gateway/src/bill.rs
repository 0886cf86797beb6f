//! What a call costs, attempt by attempt, while it runs: so that a call which is given up pays what it used.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ibid_core::{GenerateRequest, Usage};

use crate::count::{self, CountTokens};
use crate::money::{Microdollars, Prices, Tokens};

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Bill {
    attempts_left: AtomicU32,
    meters: Mutex<Vec<Arc<Meter>>>,
}

impl Bill {
    /// A call that may ask providers `attempts_max` times in all.
    pub(crate) fn new(attempts_max: u32) -> Bill {
        Bill { attempts_left: AtomicU32::new(attempts_max), meters: Mutex::default() }
    }

    /// Whether somebody may be asked once more.
    pub(crate) fn has_attempts(&self) -> bool {
        self.attempts_left.load(Ordering::Relaxed) > 0
    }

    /// One attempt; `None` when there is none left.
    pub(crate) fn attempt(&self, tariff: &Tariff, request: &GenerateRequest) -> Option<Arc<Meter>> {
        let take = |left: u32| left.checked_sub(1);
        self.attempts_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        let prompt = count::prompt(tariff.counter.as_deref(), request);
        let output_max = u64::from(request.tokens_max);
        let meter = Arc::new(Meter { tariff: tariff.clone(), prompt, output_max, reading: Mutex::default() });
        self.lock().push(Arc::clone(&meter));
        Some(meter)
    }

    /// What all attempts have cost so far.
    pub(crate) fn cost(&self) -> Microdollars {
        self.lock().iter().map(|meter| meter.cost()).sum()
    }

    /// Tokens of all attempts so far.
    pub(crate) fn tokens(&self) -> u64 {
        self.lock().iter().map(|meter| meter.tokens()).map(|tokens| tokens.input + tokens.output).sum()
    }

    /// How many requests were sent.
    pub(crate) fn attempts(&self) -> u32 {
        u32::try_from(self.lock().len()).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Meter>>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt at a deployment is charged by.
#[derive(Debug, Clone)]
pub(crate) struct Tariff {
    pub(crate) prices: Prices,
    pub(crate) counter: Option<Arc<dyn CountTokens>>,
}

impl Tariff {
    /// The most that one attempt can cost.
    pub(crate) fn cost_max(&self, request: &GenerateRequest) -> Microdollars {
        let prompt = count::prompt(self.counter.as_deref(), request);
        self.prices.cost_max(prompt.max, u64::from(request.tokens_max))
    }
}

/// What one attempt has used so far.
#[derive(Debug)]
pub(crate) struct Meter {
    tariff: Tariff,
    prompt: count::Prompt,
    output_max: u64,
    reading: Mutex<Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    /// Whether the provider may charge for the prompt: it has, or may have, read it.
    charged: bool,
    input: Option<Reported>,
    output: Option<u64>,
    /// What was written, where there is a tokenizer to count it.
    text: String,
    bytes: u64,
}

/// What a provider says it has read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reported {
    /// All tokens.
    pub(crate) input: u64,
    /// Of these, from its cache.
    pub(crate) cached: u64,
    /// Of these, put into its cache.
    pub(crate) cache_write: u64,
}

impl Meter {
    /// The request is on its way. Whether the provider works on it will not be known if no answer comes, so from here on
    /// the prompt counts as read.
    pub(crate) fn sent(&self) {
        self.lock().charged = true;
    }

    /// The provider has refused, or was not reached: it charges nothing.
    pub(crate) fn free(&self) {
        self.lock().charged = false;
    }

    /// The provider says what it has read.
    pub(crate) fn read(&self, reported: Reported) {
        self.lock().input = Some(reported);
    }

    /// The provider says what it has written, in all.
    pub(crate) fn written(&self, tokens: u64) {
        self.lock().output = Some(tokens);
    }

    /// A piece of the reply.
    pub(crate) fn piece(&self, text: &str) {
        let mut reading = self.lock();
        reading.bytes += text.len() as u64;
        if self.tariff.counter.is_some() {
            reading.text.push_str(text);
        }
    }

    /// What it has used. A provider that reports what cannot be (more than the prompt's bytes or the tokens it was allowed,
    /// nothing for a text) is not believed.
    pub(crate) fn usage(&self) -> Usage {
        let (tokens, reported) = self.read_off();
        Usage { input_tokens: tokens.input, cached_tokens: tokens.cached, output_tokens: tokens.output, reported }
    }

    /// What it has cost.
    pub(crate) fn cost(&self) -> Microdollars {
        self.tariff.prices.cost(self.tokens())
    }

    fn tokens(&self) -> Tokens {
        self.read_off().0
    }

    fn read_off(&self) -> (Tokens, bool) {
        let reading = self.lock();
        if !reading.charged {
            return (Tokens::default(), false);
        }
        let believed = reading
            .input
            .filter(|said| said.input <= self.prompt.max && said.cached.saturating_add(said.cache_write) <= said.input);
        let Reported { input, cached, cache_write } =
            believed.unwrap_or(Reported { input: self.prompt.likely, cached: 0, cache_write: 0 });
        let counted = match &self.tariff.counter {
            Some(counter) => counter.count(&reading.text),
            None => count::estimate(reading.bytes),
        };
        let possible = |said: &u64| *said <= self.output_max && (*said > 0 || reading.bytes == 0);
        let written = reading.output.filter(possible);
        let output = written.unwrap_or(counted.min(self.output_max));
        (Tokens { input, cached, cache_write, output }, believed.is_some() && written.is_some())
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;

    const PRICES: Prices = Prices { input: 1_000_000, output: 2_000_000, cached: 500_000, cache_write: 1_000_000 };

    fn tariff() -> Tariff {
        Tariff { prices: PRICES, counter: None }
    }

    #[test]
    fn an_attempt_pays_for_what_it_used_and_a_refused_one_for_nothing() {
        let bill = Bill::new(2);
        let request = request("12345678");
        let first = bill.attempt(&tariff(), &request).unwrap();
        first.sent();
        assert_eq!(bill.cost(), Microdollars(2), "two tokens of four bytes");
        first.free();
        assert_eq!(bill.cost(), Microdollars(0));

        let second = bill.attempt(&tariff(), &request).unwrap();
        second.sent();
        second.piece("abcdefgh");
        assert_eq!(bill.cost(), Microdollars(2 + 2 * 2));
        second.read(Reported { input: 10, cached: 4, cache_write: 0 });
        second.written(3);
        assert_eq!(bill.cost(), Microdollars(6 + 2 + 3 * 2));
        assert!(second.usage().reported);
        assert!(bill.attempt(&tariff(), &request).is_none(), "two attempts were allowed");
    }

    /// Counts words.
    #[derive(Debug)]
    struct Words;

    impl CountTokens for Words {
        fn count(&self, text: &str) -> u64 {
            text.split_whitespace().count() as u64
        }
    }

    #[test]
    fn a_tokenizer_counts_what_the_provider_does_not() {
        let tariff = Tariff { counter: Some(Arc::new(Words)), ..tariff() };
        let request = request("how many words are these?");
        let meter = Bill::new(1).attempt(&tariff, &request).unwrap();
        meter.sent();
        // A word in two pieces is one.
        ["two wo", "rds"].iter().for_each(|piece| meter.piece(piece));
        let usage = meter.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.reported), (5, 2, false));
        assert!(meter.cost() <= tariff.cost_max(&request));
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let bill = Bill::new(1);
        let request = request("12345678");
        let meter = bill.attempt(&tariff(), &request).unwrap();
        meter.sent();
        meter.piece("abcd");
        for (input, output) in [(u64::MAX, 1), (2, u64::MAX), (2, 0)] {
            meter.read(Reported { input, cached: 0, cache_write: 0 });
            meter.written(output);
            let usage = meter.usage();
            assert_eq!((usage.input_tokens, usage.output_tokens, usage.reported), (2, 1, false));
            assert!(meter.cost() <= tariff().cost_max(&request));
        }
    }
}
