//! Questions to be answered, and the events of an answer.

use ibid_answer::{Event, Finish, NumberedSource};
use ibid_core::{Citation, FinishReason, Message, Role, Usage, Verdict};
use ibid_engine::Invalid;
use ibid_retrieve::Searched;
use ibid_runtime::Ctx;

use super::search::{Defaults, Search};
use super::{hit, search, text, value};
use crate::proto as pb;
use crate::proto::answer_response::Event as PbEvent;
use crate::status;

const TURNS_MAX: usize = 32;
const TURN_BYTES_MAX: usize = 16_384;
const TOKENS_DEFAULT: u32 = 512;
const TOKENS_MAX: u32 = 8_192;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// A question to be answered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) search: Search,
    pub(crate) history: Vec<Message>,
    /// One of the server's; empty for its default.
    pub(crate) generator: String,
    pub(crate) tokens_max: u32,
}

/// `generators` are the names of those there are.
pub(crate) fn asked(
    request: pb::AnswerRequest,
    defaults: Defaults<'_>,
    generators: &[String],
) -> Result<Asked, Invalid> {
    let question = search::question(request.question)?;
    let mut search = search::settings("search", request.search, question, None, defaults)?;
    search.query.generation = search::generation(request.generation);
    text::at_most("idempotency_key", request.idempotency_key.len(), IDEMPOTENCY_KEY_BYTES_MAX)?;
    let tokens_max = match request.tokens_max {
        0 => TOKENS_DEFAULT,
        tokens @ 1..=TOKENS_MAX => tokens,
        tokens => return Err(Invalid::new("tokens_max", format!("is {tokens}, expected 1 to {TOKENS_MAX}, or 0"))),
    };
    let generator = request.generator;
    if !generator.is_empty() && !generators.contains(&generator) {
        return Err(Invalid::new("generator", format!("is not one of {}", generators.join(", "))));
    }
    Ok(Asked { search, history: history(request.history)?, generator, tokens_max })
}

fn history(turns: Vec<pb::Turn>) -> Result<Vec<Message>, Invalid> {
    text::no_more_than("history", turns.len(), TURNS_MAX)?;
    let message = |(ordinal, turn): (usize, pb::Turn)| {
        let (role, said) = (format!("history[{ordinal}].role"), format!("history[{ordinal}].text"));
        let role = match text::known(&role, turn.role)? {
            pb::Role::Unspecified => return Err(Invalid::new(role, "is not given")),
            pb::Role::User => Role::User,
            pb::Role::Assistant => Role::Assistant,
        };
        text::at_most(&said, turn.text.len(), TURN_BYTES_MAX)?;
        Ok(Message { role, content: text::utf8(&said, turn.text)? })
    };
    turns.into_iter().enumerate().map(message).collect()
}

/// Gives the events of one answer their numbers.
pub(crate) struct Events {
    ctx: Ctx,
    job: String,
    sent: u64,
    searched: Vec<Searched>,
}

impl Events {
    /// `job` is the answer's id, `searched` what its sources come from.
    pub(crate) fn new(ctx: Ctx, job: [u8; 16], searched: Vec<Searched>) -> Events {
        let job = job.iter().map(|byte| format!("{byte:02x}")).collect();
        Events { ctx, job, sent: 0, searched }
    }

    pub(crate) fn render(&mut self, event: Event) -> pb::AnswerResponse {
        self.sent += 1;
        let event = match event {
            Event::Retrieved(sources) => PbEvent::Retrieved(pb::Retrieved {
                sources: sources.into_iter().map(|NumberedSource { number, hit }| hit::render(number, hit)).collect(),
                collections: hit::render_searched(std::mem::take(&mut self.searched)),
            }),
            Event::Delta(text) => PbEvent::Delta(pb::Delta { text }),
            Event::Citation(citation) => PbEvent::Citation(render_citation(*citation)),
            Event::Usage(Usage { input_tokens, output_tokens, reported, .. }) => {
                PbEvent::Usage(pb::Usage { input_tokens, output_tokens, reported })
            }
            Event::Done(finish) => PbEvent::Done(self.render_done(finish)),
            Event::Error(error) => PbEvent::Error(status::to_rpc(&status::ToStatus::to_status(&error))),
        };
        pb::AnswerResponse { job: self.job.clone(), attempt: 1, n: self.sent, event: Some(event) }
    }

    fn render_done(&self, finish: Finish) -> pb::Done {
        let reason = match finish.reason {
            // Without a source nobody is asked.
            FinishReason::Stop if finish.generator.is_empty() => pb::FinishReason::NoSource,
            // No tool is offered to a model, so it waits for none.
            FinishReason::Stop | FinishReason::ToolCalls => pb::FinishReason::Stop,
            FinishReason::Length => pb::FinishReason::Length,
            FinishReason::ContentFilter => pb::FinishReason::ContentFilter,
        };
        pb::Done {
            finish_reason: reason.into(),
            generator: finish.generator,
            extractive: finish.extractive,
            unknown_markers: finish.unknown_markers,
            timings: Some(hit::timings(&self.ctx)),
        }
    }
}

fn render_citation(citation: Citation) -> pb::Citation {
    let byte = |byte: usize| u32::try_from(byte).expect("an answer is far shorter than 4 GiB");
    let verdict = match citation.verdict {
        Verdict::Unchecked => pb::Verdict::Unspecified,
        Verdict::Quoted => pb::Verdict::Quoted,
        Verdict::Related => pb::Verdict::Related,
        Verdict::Contradicted => pb::Verdict::Contradicted,
    };
    pb::Citation {
        answer_span: Some(pb::Span { start_byte: byte(citation.answer.start), end_byte: byte(citation.answer.end) }),
        source: citation.source,
        collection: citation.collection.to_string(),
        document_id: citation.document.to_string(),
        revision: citation.revision.0,
        chunk_id: citation.chunk.to_string(),
        source_span: Some(value::render_span(citation.span)),
        quote: citation.quote.into(),
        quote_blake3: citation.quote_hash.to_vec().into(),
        verdict: verdict.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl Fn(&mut pb::AnswerRequest), expected: &str) {
        let mut request = pb::AnswerRequest { question: "why?".into(), ..Default::default() };
        change(&mut request);
        let defaults = Defaults { top_k: 6, rerank: &crate::config::Rerank { depth: 20, budget: None } };
        let refused = asked(request, defaults, &["extractive".to_owned()]).unwrap_err();
        assert_eq!(refused.field, expected);
    }

    fn turn(role: pb::Role, text: &'static [u8]) -> pb::Turn {
        pb::Turn { role: role.into(), text: bytes::Bytes::from_static(text) }
    }

    #[test]
    fn every_refused_field_is_named() {
        check(|request| request.question = b"\xff".to_vec().into(), "question");
        check(|request| request.tokens_max = 8_193, "tokens_max");
        check(|request| request.generator = "nobody".to_owned(), "generator");
        check(|request| request.idempotency_key = "x".repeat(129), "idempotency_key");
        check(|request| request.history = vec![turn(pb::Role::Unspecified, b"")], "history[0].role");
        check(|request| request.history = vec![turn(pb::Role::User, b"a\xff")], "history[0].text");
        check(|request| request.history = vec![turn(pb::Role::User, &[b'a'; 16_385])], "history[0].text");
        check(|request| request.history = vec![turn(pb::Role::User, b""); 33], "history");
    }
}
