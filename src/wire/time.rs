//! Points in time: protobuf's seconds and nanoseconds, our milliseconds.

use ibid_engine::Invalid;
use prost_types::Timestamp;

/// 0001-01-01 and 9999-12-31, the range of a protobuf timestamp, in seconds from the Unix epoch.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Milliseconds since the Unix epoch; what is finer is cut off.
pub(crate) fn unix_ms(field: &str, time: Timestamp) -> Result<i64, Invalid> {
    if !SECONDS.contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Invalid::new(
            field,
            "is no valid timestamp, expected the years 1 to 9999 and nanos 0 to 999999999",
        ));
    }
    Ok(time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
}

/// As [`unix_ms`], refusing times before 1970.
pub(crate) fn since_1970_ms(field: &str, time: Timestamp) -> Result<u64, Invalid> {
    u64::try_from(unix_ms(field, time)?).map_err(|_| Invalid::new(field, "is before 1970"))
}

/// The timestamp at `unix_ms`.
pub(crate) fn render(unix_ms: i64) -> Timestamp {
    let nanos = i32::try_from(unix_ms.rem_euclid(1_000)).expect("below 1,000") * 1_000_000;
    Timestamp { seconds: unix_ms.div_euclid(1_000), nanos }
}

/// The timestamp at `unix_ms`, which our own clock gave.
pub(crate) fn render_ours(unix_ms: u64) -> Timestamp {
    render(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn milliseconds_survive_the_way_out_and_back(ms in -62_135_596_800_000i64..253_402_300_799_999) {
            prop_assert_eq!(unix_ms("t", render(ms)), Ok(ms));
        }
    }

    #[test]
    fn a_time_before_1970_is_no_expiry() {
        assert!(since_1970_ms("t", Timestamp { seconds: -1, nanos: 0 }).is_err());
        assert_eq!(since_1970_ms("t", Timestamp { seconds: 1, nanos: 999_999 }), Ok(1_000));
        assert!(unix_ms("t", Timestamp { seconds: i64::MAX, nanos: 0 }).is_err());
    }
}
