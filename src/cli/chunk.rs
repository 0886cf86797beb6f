//! How a file is read and cut, in the terminal or as a page.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use ibid_chunk::{Chunked, Chunker, Config, Limits, Parsed, detect, parse};
use ibid_core::{BlockKind, MediaType, Place};

use super::Global;
use super::terminal::{bold, dim, one_line, plain};
use crate::house::Parts;

/// Colours of neighbouring chunks on the page: background, so that the text stays readable.
const COLOURS: [&str; 6] = ["#ffe8a3", "#c9e7ff", "#d5f2c8", "#ffd3d3", "#e5d6ff", "#cdf3ee"];

/// Show how a file is read and cut into chunks.
#[derive(Debug, Args)]
pub(super) struct Chunk {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read it as this media type [default: found out from content and name]
    #[arg(long, value_name = "TYPE")]
    media_type: Option<String>,
    /// The length that chunks aim at, in tokens [default: 200]
    #[arg(long, value_name = "TOKENS")]
    tokens: Option<u32>,
    /// Show the blocks that it is read into, not the chunks
    #[arg(long, conflicts_with = "html")]
    outline: bool,
    /// A page with the chunks coloured over the text
    #[arg(long)]
    html: bool,
}

/// The formats that are read, with their media types.
pub(super) fn list_formats() {
    for media in MediaType::ALL {
        println!("{}", media.as_str());
    }
}

impl Chunk {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let name = self.file.display().to_string();
        let bytes = std::fs::read(&self.file).with_context(|| format!("read {name}"))?;
        let media = match &self.media_type {
            Some(given) => {
                MediaType::parse(given).with_context(|| format!("{given} is not read; see `ibid formats`"))?
            }
            None => detect(&name, &bytes)
                .with_context(|| format!("{name} is of no kind that is read; see `ibid formats`"))?,
        };
        let parsed = parse(&bytes, media, &Limits::NONE).map_err(|error| anyhow::anyhow!("{name} {error}"))?;
        if self.outline {
            print!("{}", plain_lines(&parsed.outline.describe(&parsed.text)));
            return Ok(());
        }
        let Parsed { text, outline } = parsed;
        let config = global.config()?;
        let parts = Parts::of_this_machine(&config)?;
        let model = parts.models.get(&parts.models.default).context("the embedder is loaded")?;
        let left_out = outline.left_out.clone();
        let chunked =
            Chunker::new(self.tokens.map_or_else(Config::auto, Config::fixed))?.chunk(&text, outline, &**model);
        if self.html {
            println!("{}", page(&name, &text, &chunked));
        } else if global.json {
            println!("{}", json(media, &text, &chunked));
        } else {
            println!("{} {}", bold(&name), dim(media.as_str()));
            show(&text, &chunked);
            for one in left_out {
                println!("{}", dim(format!("left out ({:?}): {} pieces, {} bytes", one.reason, one.pieces, one.bytes)));
            }
        }
        Ok(())
    }
}

/// Lines that a terminal shows as they are.
fn plain_lines(text: &str) -> String {
    text.lines().map(|line| plain(line) + "\n").collect()
}

fn show(text: &str, chunked: &Chunked) {
    if let Some(title) = &chunked.title {
        println!("title: {}", plain(title));
    }
    for (n, chunk) in chunked.chunks.iter().enumerate() {
        let (start, end) = (chunk.span.start(), chunk.span.end());
        let places = chunk.places.iter().map(place).collect::<Vec<_>>().join(", ");
        println!("{} {start}..{end}, {} tokens, {} {places}", bold(n + 1), chunk.tokens, kind(chunk.kind));
        if !chunk.heading_path.is_empty() {
            println!("   {}", dim(plain(&chunk.heading_path.join(" › "))));
        }
        if let Some(context) = chunk.context.and_then(|span| span.quote(text)) {
            println!("   {}", dim(format!("with: {}", one_line(context, 200))));
        }
        println!("   {}", one_line(chunk.span.quote(text).unwrap_or_default(), 400));
    }
    for span in &chunked.dropped {
        let dropped = one_line(span.quote(text).unwrap_or_default(), 120);
        println!("{}", dim(format!("in no chunk {}..{}: {dropped}", span.start(), span.end())));
    }
}

fn kind(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Paragraph => "text",
        BlockKind::List => "list",
        BlockKind::Table => "table",
        BlockKind::Code => "code",
        BlockKind::Quote => "quote",
        BlockKind::Mixed => "mixed",
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Page { page, .. } => format!("page {page}"),
        Place::Slide { slide } => format!("slide {slide}"),
        Place::Rows { sheet, first, last } => format!("{} {first}..={last}", plain(sheet)),
        Place::Pointer(pointer) => plain(pointer),
        Place::Part { name } => plain(name),
    }
}

fn json(media: MediaType, text: &str, chunked: &Chunked) -> serde_json::Value {
    let chunk = |chunk: &ibid_core::Chunk| {
        serde_json::json!({
            "start_byte": chunk.span.start(), "end_byte": chunk.span.end(), "tokens": chunk.tokens,
            "kind": kind(chunk.kind), "heading_path": chunk.heading_path,
            "context": chunk.context.and_then(|span| span.quote(text)),
            "places": chunk.places.iter().map(place).collect::<Vec<_>>(),
            "text": chunk.span.quote(text),
        })
    };
    let dropped = |span: &ibid_core::Span| serde_json::json!({"start_byte": span.start(), "end_byte": span.end()});
    serde_json::json!({
        "media_type": media.as_str(), "title": chunked.title,
        "chunks": chunked.chunks.iter().map(chunk).collect::<Vec<_>>(),
        "dropped": chunked.dropped.iter().map(dropped).collect::<Vec<_>>(),
    })
}

/// One page without scripts or other files: the stored text, each chunk in the colour next to its neighbour's.
fn page(name: &str, text: &str, chunked: &Chunked) -> String {
    let mut out = String::new();
    let title = chunked.title.as_deref().unwrap_or(name);
    let head = "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
                pre{white-space:pre-wrap;font:13px/1.6 ui-monospace,monospace}mark{border-radius:3px;color:inherit}\
                sup{color:#555;font-size:10px}.no{color:#999;text-decoration:line-through}</style>";
    let _ = write!(out, "<!doctype html><meta charset=utf-8><title>{0}</title>{head}<h1>{0}</h1>", escaped(title));
    let _ = write!(
        out,
        "<p>{}: {} chunks. What is struck through is in none.</p><pre>",
        escaped(name),
        chunked.chunks.len()
    );
    let mut end = 0;
    for (n, chunk) in chunked.chunks.iter().enumerate() {
        let bytes = chunk.span.range();
        // What a chunk repeats of the one before is coloured once.
        let start = bytes.start.max(end);
        between(&mut out, &text[end..start]);
        let context = chunk.context.and_then(|span| span.quote(text)).unwrap_or_default();
        let about = format!("{} · {} tokens · {context}", chunk.heading_path.join(" › "), chunk.tokens);
        let colour = COLOURS[n % COLOURS.len()];
        let _ = write!(out, "<sup>{}</sup><mark style=background:{colour} title=\"{}\">", n + 1, escaped(&about));
        let _ = write!(out, "{}</mark>", escaped(&text[start..bytes.end]));
        end = bytes.end;
    }
    between(&mut out, &text[end..]);
    out.push_str("</pre>");
    out
}

fn between(out: &mut String, piece: &str) {
    if piece.trim().is_empty() {
        out.push_str(piece);
    } else {
        let _ = write!(out, "<span class=no>{}</span>", escaped(piece));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
