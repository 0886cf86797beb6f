//! Medians, spread, tables, and the machine they were measured on.

use std::time::Duration;

use ibid_eval::percentile;
use ibid_infer::isa;
use serde_json::{Map, Value, json};

/// The middle of `values`, of an even number the mean of the two in the middle; 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => 0.0,
        Some(upper) if sorted.len().is_multiple_of(2) => f64::midpoint(sorted[middle - 1], *upper),
        Some(upper) => *upper,
    }
}

/// How far `values` lie apart: the widest distance as a share of the median.
pub(super) fn spread(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    if values.is_empty() { 0.0 } else { (max - min) / median(values) }
}

/// The median over rounds of `a / b`: what two engines gave in one round was measured closest together.
pub(super) fn ratio(a: &[f64], b: &[f64]) -> f64 {
    median(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>())
}

/// The time that `percent` percent of `times` do not exceed, in milliseconds; 0 of none.
pub(super) fn percentile_ms(times: &[Duration], percent: u8) -> f64 {
    milliseconds(percentile(times, percent).unwrap_or_default())
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// `value` with so many decimals, as a JSON number: what is read back is what the table shows.
pub(in crate::cli) fn rounded(value: f64, decimals: i32) -> Value {
    let unit = 10_f64.powi(decimals);
    json!((value * unit).round() / unit)
}

/// What figures were measured with.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Machine {
    /// The processor's name, where the system says it.
    cpu: String,
    /// Its instructions that the kernels use.
    isa: String,
    /// Compute threads, ours and each peer's.
    threads: usize,
    /// Of this program, Python and each library.
    versions: Map<String, Value>,
}

impl Machine {
    pub(in crate::cli) fn new(threads: usize, peers: Option<&Map<String, Value>>) -> Machine {
        let mut versions = Map::from_iter([("ibid".to_owned(), json!(env!("CARGO_PKG_VERSION")))]);
        versions.extend(peers.into_iter().flatten().map(|(name, version)| (name.clone(), version.clone())));
        Machine { cpu: cpu(), isa: isa().to_string(), threads, versions }
    }

    /// Its fields, to stand among those of a report.
    pub(in crate::cli) fn json(&self) -> Map<String, Value> {
        Map::from_iter([
            ("cpu".to_owned(), json!(self.cpu)),
            ("isa".to_owned(), json!(self.isa)),
            ("threads".to_owned(), json!(self.threads)),
            ("versions".to_owned(), Value::Object(self.versions.clone())),
        ])
    }

    /// A line for people.
    pub(in crate::cli) fn line(&self) -> String {
        let version = |(name, version): (&String, &Value)| format!("{name} {}", version.as_str().unwrap_or_default());
        let versions: Vec<String> = self.versions.iter().map(version).collect();
        format!("{}; {}; {} threads; {}", self.cpu, self.isa, self.threads, versions.join(", "))
    }
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Whether products of 8-bit codes are summed without saturation.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_vnni() -> bool {
    std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni")
}

/// Whether products of 8-bit codes are summed without saturation.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_vnni() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_how_far_apart() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(spread(&[4.0, 5.0, 6.0]), 0.4);
        assert_eq!(spread(&[]), 0.0);
    }

    #[test]
    fn a_ratio_is_of_one_round() {
        // The machine was slow for both in the second round: the ratio does not move.
        assert_eq!(ratio(&[10.0, 5.0, 10.0], &[5.0, 2.5, 5.0]), 2.0);
        assert_eq!(ratio(&[10.0, 6.0, 9.0], &[5.0, 2.0, 9.0]), 2.0);
    }
}
