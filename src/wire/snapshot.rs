//! Snapshots of the data folder.

use ibid_engine::Invalid;
use ibid_engine::snapshots::{Manifest, SnapshotId};

use super::time;
use crate::proto as pb;

/// Snapshots of a list where the request does not say.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

pub(crate) fn limit(given: u32) -> Result<usize, Invalid> {
    match given as usize {
        0 => Ok(LIMIT),
        limit @ 1..=LIMIT_MAX => Ok(limit),
        beyond => Err(Invalid::new("limit", format!("is {beyond}, expected at most {LIMIT_MAX}"))),
    }
}

/// One without a manifest cannot be read.
pub(crate) fn render(id: &SnapshotId, manifest: Option<&Manifest>) -> pb::Snapshot {
    let Some(manifest) = manifest else {
        return pb::Snapshot { id: id.to_string(), unreadable: true, ..Default::default() };
    };
    pb::Snapshot {
        id: id.to_string(),
        created_at: Some(time::render_ours(manifest.created_ms)),
        last_sequence: manifest.last_sequence,
        bytes: manifest.bytes(),
        damaged_records: manifest.damaged_records,
        folder: manifest.folder.clone(),
        unreadable: false,
    }
}
