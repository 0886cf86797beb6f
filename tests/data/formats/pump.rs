// Copyright the harbour office. All rights reserved.

//! Pumps of the ferry, and when they run.
//! Nothing here does input or output.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

/// The highest pressure, in bar.
const PRESSURE_MAX: f64 = 9.5;
const RETRIES: u32 = 3;

/// A pump.
#[derive(Debug, Clone)]
pub struct Pump {
    /// Its plate's number.
    pub number: u32,
    pressure: f64,
}

impl Pump {
    /// A pump at rest.
    pub fn new(number: u32) -> Pump {
        Pump { number, pressure: 0.0 }
    }

    // Kept small: callers inline it.
    pub fn is_running(&self) -> bool { self.pressure > 0.0 }

    /// Starts it.
    ///
    /// # Errors
    /// The pressure would be too high.
    pub fn start(&mut self, pressure: f64) -> Result<(), String> {
        // Checked first.
        if pressure > PRESSURE_MAX {
            let text = format!("{pressure} bar");
            return Err(text);
        }
        self.pressure = pressure;

        Ok(())
    }
}

impl<'a> fmt::Display for Station<'a> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} pumps", self.pumps.len())
    }
} // end of Display

pub struct Station<'a> {
    pumps: &'a BTreeMap<u32, Pump>,
}

pub mod plan {
    use super::Pump;

    pub trait Plan {
        fn next(&self) -> Option<u32>;
        /// Whether a pump is due.
        fn is_due(&self, pump: &Pump) -> bool;
    }
}

macro_rules! bar {
    ($value:expr) => { $value * 1.0 };
}
