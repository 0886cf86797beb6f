//! The log without what is of no use any more.

use clap::Args;
use serde_json::json;

use super::Global;
use super::session::{As, Session, explain};
use crate::proto::CompactRequest;

/// Erase what was deleted or replaced from the log now, and give its room back.
#[derive(Debug, Args)]
pub(super) struct Compact;

impl Compact {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let session = Session::open(global, As::Operator).await?;
        let done = session.operations().compact(CompactRequest {}).await.map_err(|status| explain(&status));
        session.close().await?;
        let done = done?.into_inner();
        if global.json {
            let report = json!({
                "segments": done.segments,
                "bytes_before": done.bytes_before,
                "bytes_after": done.bytes_after,
                "records_dropped": done.records_dropped,
            });
            println!("{report}");
            return Ok(());
        }
        println!(
            "{} records left out; {} log files, {} bytes, became {} bytes",
            done.records_dropped, done.segments, done.bytes_before, done.bytes_after
        );
        Ok(())
    }
}
