//! Whether something deleted is gone.

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::Global;
use super::session::{As, Session, explain};
use super::terminal::{plain, print_table};
use crate::proto::verify_erasure_request::Erased;
use crate::proto::{ErasedDocument, ErasurePlace, VerifyErasureRequest, VerifyErasureResponse};

/// Look whether something deleted is gone from the log, the indexes and the snapshots.
///
/// The exit status is 1 while something is left. A tenant's key verifies what was the tenant's; for a deleted tenant, name
/// the operator's with --key-file.
#[derive(Debug, Args)]
pub(super) struct Erasure {
    /// What the deletion was answered with
    #[arg(required_unless_present = "document", conflicts_with = "document")]
    id: Option<String>,
    /// A document, by its id
    #[arg(long)]
    document: Option<String>,
    /// The document's collection
    #[arg(long, default_value = "default")]
    collection: String,
}

impl Erasure {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let Erasure { id, document, collection } = self;
        let erased = match (id, document) {
            (_, Some(document_id)) => Erased::Document(ErasedDocument { collection, document_id }),
            (id, None) => Erased::ErasureId(id.unwrap_or_default()),
        };
        // Of a tenant nobody is left who could ask but an operator.
        let who = match &erased {
            Erased::ErasureId(id) if id.starts_with("t-") => As::Operator,
            Erased::ErasureId(_) | Erased::Document(_) => As::Tenant,
        };
        let session = Session::open(global, who).await?;
        let request = VerifyErasureRequest { erased: Some(erased) };
        let reply = session.documents().verify_erasure(request).await.map_err(|status| explain(&status));
        session.close().await?;
        let reply = reply?.into_inner();
        show(&reply, global.json);
        if reply.erased { Ok(()) } else { bail!("not everything is gone") }
    }
}

fn show(reply: &VerifyErasureResponse, as_json: bool) {
    let deleted_at = reply.deleted_at.map(|at| at.to_string()).unwrap_or_default();
    if as_json {
        let check = |check: &crate::proto::ErasureCheck| {
            json!({
                "place": name(check.place()),
                "found": check.found,
                "unclear": check.unclear,
                "until": check.until.map(|at| at.to_string()),
            })
        };
        let report = json!({
            "erasure_id": reply.erasure_id,
            "deleted_at": deleted_at,
            "erased": reply.erased,
            "key_destroyed": reply.key_destroyed,
            "checks": reply.checks.iter().map(check).collect::<Vec<_>>(),
        });
        println!("{report}");
        return;
    }
    println!("{}, deleted {deleted_at}", plain(&reply.erasure_id));
    if reply.key_destroyed {
        println!("its key is destroyed: what was encrypted with it can be read by nobody");
    }
    let row = |check: &crate::proto::ErasureCheck| {
        let state = match (check.found, check.unclear) {
            (0, false) => "nothing".to_owned(),
            (0, true) => "cannot be told yet".to_owned(),
            (found, _) => found.to_string(),
        };
        let until = check.until.map(|at| at.to_string()).unwrap_or_default();
        vec![name(check.place()).to_owned(), state, until]
    };
    print_table(&["place", "left", "until"], &reply.checks.iter().map(row).collect::<Vec<_>>());
}

fn name(place: ErasurePlace) -> &'static str {
    match place {
        ErasurePlace::Unspecified => "",
        ErasurePlace::Log => "log",
        ErasurePlace::Words => "words",
        ErasurePlace::Vectors => "vectors",
        ErasurePlace::Snapshots => "snapshots",
    }
}
