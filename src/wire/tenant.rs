//! Tenants and how far their documents are.

use ibid_core::TenantName;
use ibid_engine::{IngestStatus, Invalid, TenantInfo};

use super::{text, time};
use crate::proto as pb;

pub(crate) fn name(field: &str, given: &str) -> Result<TenantName, Invalid> {
    text::name(field, given, TenantName::new)
}

/// `None` where none was given.
pub(crate) fn optional_name(field: &str, given: &str) -> Result<Option<TenantName>, Invalid> {
    if given.is_empty() { Ok(None) } else { name(field, given).map(Some) }
}

pub(crate) fn render(tenant: TenantInfo, ingest: Option<IngestStatus>) -> pb::Tenant {
    pb::Tenant {
        name: tenant.name.to_string(),
        created_at: Some(time::render_ours(tenant.created_ms)),
        ingest: ingest.map(render_status),
    }
}

fn render_status(status: IngestStatus) -> pb::IngestStatus {
    let IngestStatus {
        collections,
        collections_unopened,
        documents,
        chunks,
        chunks_embedded,
        documents_pending,
        documents_parked,
        documents_damaged,
    } = status;
    pb::IngestStatus {
        collections,
        documents,
        chunks,
        chunks_embedded,
        documents_pending,
        documents_parked,
        documents_damaged,
        collections_unopened,
    }
}
