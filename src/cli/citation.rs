//! What has become of something cited.

use std::io::Read;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::Global;
use super::session::{As, Session, explain};
use super::terminal::{one_line, plain};
use crate::proto::{CitationState, ResolveCitationRequest, ResolveCitationResponse, Span};

/// Look what has become of something cited: whether it is current, superseded or erased.
#[derive(Debug, Args)]
pub(super) struct Citation {
    /// One of the citations, or hits, that `ibid ask --json` and `ibid search --json` print; `-` reads it from standard input
    #[arg(value_name = "JSON")]
    citation: String,
}

impl Citation {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut text = self.citation;
        if text == "-" {
            text.clear();
            std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        }
        let request = request(&serde_json::from_str(&text).context("the citation is no JSON")?)?;
        let session = Session::open(global, As::Tenant).await?;
        let reply = session.documents().resolve_citation(request).await.map_err(|status| explain(&status));
        session.close().await?;
        show(&reply?.into_inner(), global.json);
        Ok(())
    }
}

/// What a printed citation, or hit, names.
fn request(citation: &Value) -> anyhow::Result<ResolveCitationRequest> {
    let text = |name: &str| citation[name].as_str().map(str::to_owned);
    let number = |name: &str| citation[name].as_u64();
    let byte = |name: &str| number(name).and_then(|byte| u32::try_from(byte).ok());
    let (Some(collection), Some(document_id), Some(revision)) =
        (text("collection"), text("document_id"), number("revision"))
    else {
        bail!("the citation lacks one of collection, document_id and revision");
    };
    let span = byte("start_byte").zip(byte("end_byte"));
    // A hit quotes all of its chunk.
    let quote = text("quote").or_else(|| text("text"));
    Ok(ResolveCitationRequest {
        collection,
        document_id,
        revision,
        chunk_id: text("chunk_id").unwrap_or_default(),
        span: span.map(|(start_byte, end_byte)| Span { start_byte, end_byte }),
        quote_blake3: quote.map_or_else(Vec::new, |quote| blake3::hash(quote.as_bytes()).as_bytes().to_vec()).into(),
    })
}

fn show(reply: &ResolveCitationResponse, as_json: bool) {
    let quote = String::from_utf8_lossy(&reply.quote);
    let place = reply.chunk_place.map(|place| (place.revision, place.span.unwrap_or_default()));
    if as_json {
        let place = place.map(
            |(revision, span)| json!({"revision": revision, "start_byte": span.start_byte, "end_byte": span.end_byte}),
        );
        let report = json!({
            "state": name(reply.state()),
            "current_revision": reply.current_revision,
            "stored": reply.stored,
            "quote": quote,
            "quote_matches": reply.quote_matches,
            "chunk_place": place,
        });
        println!("{report}");
        return;
    }
    match reply.current_revision {
        0 => println!("{}: there is no such document any more", name(reply.state())),
        newest => println!("{}: the newest revision is {newest}", name(reply.state())),
    }
    if !quote.is_empty() {
        let matches = if reply.quote_matches { "as it was cited" } else { "not as it was cited" };
        println!("stored, {matches}: \"{}\"", plain(&one_line(&quote, 240)));
    } else if !reply.stored {
        println!("that revision is not stored any more");
    }
    if let Some((revision, Span { start_byte, end_byte })) = place {
        println!("its chunk is in revision {revision}, bytes {start_byte}..{end_byte}");
    }
}

fn name(state: CitationState) -> &'static str {
    match state {
        CitationState::Unspecified => "",
        CitationState::Current => "current",
        CitationState::Superseded => "superseded",
        CitationState::Erased => "erased",
    }
}
