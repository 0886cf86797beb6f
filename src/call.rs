//! One call: its deadline from the header, its stop when the caller leaves.

use std::sync::Arc;
use std::time::Duration;

use ibid_runtime::{Clock, Ctx, Priority};
use tonic::metadata::MetadataMap;

/// A call under way. Whoever serves the caller holds it: when it is dropped, the work for it stops.
pub(crate) struct Call {
    pub(crate) ctx: Ctx,
}

impl Call {
    /// A call that starts now, with the time that its `grpc-timeout` header leaves.
    pub(crate) fn start(clock: &Arc<dyn Clock>, metadata: &MetadataMap) -> Call {
        let timeout = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(timeout);
        Call::within(clock, timeout)
    }

    /// A call that starts now and may take `timeout`.
    pub(crate) fn within(clock: &Arc<dyn Clock>, timeout: Option<Duration>) -> Call {
        Call { ctx: Ctx::new(Arc::clone(clock), Priority::Query, timeout) }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ctx.stop();
    }
}

/// Reads `1 to 8 digits, unit`, as the gRPC protocol writes timeouts. `None` for anything else: tonic refuses it.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibid_runtime::{ManualClock, Stopped};

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for text in ["", "m", "1", "1x", "-1m", "123456789m", "1ä"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }

    #[test]
    fn a_dropped_call_stops_its_work() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", "5S".parse().unwrap());
        let call = Call::start(&clock, &metadata);
        let ctx = call.ctx.clone();
        assert_eq!(ctx.left(), Some(Duration::from_secs(5)));
        drop(call);
        assert_eq!(ctx.check(), Err(Stopped::Cancelled));
    }
}
