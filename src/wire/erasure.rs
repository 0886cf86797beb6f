//! What is left of something deleted.

use ibid_engine::{Erased, Erasure, ErasureCheck, ErasurePlace, Invalid};

use super::document::{self, Address};
use super::time;
use crate::proto as pb;
use crate::proto::verify_erasure_request::Erased as Given;

/// What a request names.
pub(crate) enum Asked {
    Id(Erased),
    Document(Address),
}

pub(crate) fn request(given: pb::VerifyErasureRequest) -> Result<Asked, Invalid> {
    match given.erased {
        None => Err(Invalid::new("erased", "is missing, expected erasure_id or document")),
        Some(Given::ErasureId(id)) => id.parse().map(Asked::Id),
        Some(Given::Document(named)) => {
            document::address(&named.collection, &named.document_id).map(Asked::Document).map_err(|mut invalid| {
                invalid.field.insert_str(0, "document.");
                invalid
            })
        }
    }
}

pub(crate) fn render(erasure: &Erasure) -> pb::VerifyErasureResponse {
    pb::VerifyErasureResponse {
        erasure_id: erasure.erased.to_string(),
        deleted_at: Some(time::render_ours(erasure.deleted_ms)),
        erased: erasure.is_done(),
        key_destroyed: erasure.key_destroyed,
        checks: erasure.checks.iter().map(render_check).collect(),
    }
}

fn render_check(check: &ErasureCheck) -> pb::ErasureCheck {
    let place = match check.place {
        ErasurePlace::Log => pb::ErasurePlace::Log,
        ErasurePlace::Words => pb::ErasurePlace::Words,
        ErasurePlace::Vectors => pb::ErasurePlace::Vectors,
        ErasurePlace::Snapshots => pb::ErasurePlace::Snapshots,
    };
    pb::ErasureCheck {
        place: place.into(),
        found: check.found,
        unclear: check.unclear,
        until: check.until_ms.map(time::render_ours),
    }
}
