//! An answer as it comes, with numbered footnotes.

use std::io::Write;

use anyhow::bail;
use clap::Args;
use tonic::Request;

use super::Global;
use super::search::{Settings, original, place, timing_line};
use super::session::{As, Session, explain};
use super::terminal::{bold, cyan, dim, one_line, plain};
use crate::proto;
use crate::proto::answer_response::Event;

/// Answer a question from the documents.
#[derive(Debug, Args)]
pub(super) struct Ask {
    /// The question
    question: String,
    #[command(flatten)]
    settings: Settings,
    /// Who writes the answer: a generator of the configuration, or `extractive` [default: the server's]
    #[arg(long, default_value = "")]
    generator: String,
}

/// Everything that came.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) sources: Vec<proto::Hit>,
    pub(super) text: String,
    pub(super) citations: Vec<proto::Citation>,
    pub(super) done: Option<proto::Done>,
}

impl Ask {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let session = Session::open(global, As::Tenant).await?;
        let request = proto::AnswerRequest {
            question: self.question.into_bytes().into(),
            generation: self.settings.generation,
            search: Some(self.settings.into_proto(None)),
            generator: self.generator,
            ..proto::AnswerRequest::default()
        };
        let answer = ask(&session, request, !global.json).await?;
        session.close().await?;
        if global.json {
            println!("{}", answer.json());
        } else {
            answer.footnotes();
        }
        Ok(())
    }
}

/// Asks, and with `show` prints the text as it comes.
pub(super) async fn ask(session: &Session, request: proto::AnswerRequest, show: bool) -> anyhow::Result<Answer> {
    let stream = session.answers().answer(Request::new(request)).await;
    let mut stream = stream.map_err(|status| explain(&status))?.into_inner();
    let mut answer = Answer::default();
    while let Some(reply) = stream.message().await.map_err(|status| explain(&status))? {
        match reply.event {
            Some(Event::Retrieved(retrieved)) => answer.sources = retrieved.sources,
            Some(Event::Delta(delta)) => {
                if show {
                    print!("{}", plain(&delta.text).replace("[doc_", "["));
                    std::io::stdout().flush()?;
                }
                answer.text.push_str(&delta.text);
            }
            Some(Event::Citation(citation)) => answer.citations.push(citation),
            Some(Event::Done(done)) => answer.done = Some(done),
            Some(Event::Error(error)) => bail!("the answer broke off: {}", error.message),
            Some(Event::Usage(_)) | None => {}
        }
    }
    if show {
        println!();
    }
    Ok(answer)
}

impl Answer {
    /// Each source that was cited: where it is, and the words that were used.
    pub(super) fn footnotes(&self) {
        let mut numbers: Vec<u32> = self.citations.iter().map(|citation| citation.source).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let Some(hit) = self.sources.get(number as usize - 1) else { continue };
            let originals = hit.places.iter().map(original).collect::<Vec<_>>().join(", ");
            let originals = if originals.is_empty() { originals } else { format!(" ({originals})") };
            println!("{} {}{}", bold(format!("[{number}]")), cyan(place(hit)), plain(&originals));
            for citation in self.citations.iter().filter(|citation| citation.source == number) {
                let span = citation.source_span.unwrap_or_default();
                let quote = one_line(&String::from_utf8_lossy(&citation.quote), 160);
                let verdict = match citation.verdict() {
                    proto::Verdict::Contradicted => "  (differs from the source)",
                    proto::Verdict::Quoted | proto::Verdict::Related | proto::Verdict::Unspecified => "",
                };
                println!("    {}{verdict}", dim(format!("bytes {}..{}: \"{quote}\"", span.start_byte, span.end_byte)));
            }
        }
        let Some(done) = &self.done else { return };
        if done.extractive && !self.citations.is_empty() {
            println!("{}", dim("extractive: the sentences are the sources' own; connect a language model for prose"));
        }
        if let Some(timings) = &done.timings {
            println!("{}", dim(timing_line(timings)));
        }
    }

    fn json(&self) -> serde_json::Value {
        let citation = |citation: &proto::Citation| {
            let (answer, source) = (citation.answer_span.unwrap_or_default(), citation.source_span.unwrap_or_default());
            serde_json::json!({
                "answer_start_byte": answer.start_byte, "answer_end_byte": answer.end_byte, "source": citation.source,
                "collection": citation.collection, "document_id": citation.document_id, "revision": citation.revision,
                "chunk_id": citation.chunk_id, "start_byte": source.start_byte, "end_byte": source.end_byte,
                "quote": String::from_utf8_lossy(&citation.quote), "verdict": citation.verdict().as_str_name(),
            })
        };
        let done = self.done.clone().unwrap_or_default();
        serde_json::json!({
            "answer": self.text,
            "citations": self.citations.iter().map(citation).collect::<Vec<_>>(),
            "generator": done.generator, "extractive": done.extractive,
            "finish_reason": done.finish_reason().as_str_name(),
        })
    }
}
