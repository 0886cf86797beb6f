//! The story of one answer, from hits to events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use ibid_core::{
    CallRecord, Caller, Citation, Fallback, FinishReason, Floor, Generate, GenerateRequest, Generated,
    GenerationStream, Hit, Message, ModelError, Origin, TenantKey, Usage,
};
use ibid_runtime::Ctx;

use crate::augment::{Prompt, augment};
use crate::cite::{Citer, Piece};
use crate::{Extractive, NO_INFORMATION, PROMPT_VERSION};

/// How answers are made.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The most sources of one answer.
    pub sources_max: usize,
    /// The most text of all sources together, in bytes; about four make a token. The first source counts whatever its length.
    pub sources_bytes_max: usize,
    /// The most tokens that a generator writes.
    pub tokens_max: u32,
    /// 0 for the most likely text.
    pub temperature: f32,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct AnswerRequest {
    /// For whom.
    pub tenant: TenantKey,
    /// Who asks within the tenant.
    pub caller: Caller,
    /// What was searched, and by which configuration; the prompt's version is [`crate::PROMPT_VERSION`], whatever it says.
    pub origin: Origin,
    /// The question.
    pub question: String,
    /// Earlier turns, oldest first.
    pub history: Vec<Message>,
    /// What a search found for the question, best first.
    pub hits: Vec<Hit>,
    /// The least score of a source.
    pub floor: Floor,
    /// The generator's public name; empty for the default one.
    pub generator: String,
}

/// A hit and its number in this answer.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedSource {
    /// From 1, as in `[doc_1]`.
    pub number: u32,
    /// The hit.
    pub hit: Hit,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// Why the generator stopped.
    pub reason: FinishReason,
    /// The generator's public name; empty if none was asked.
    pub generator: String,
    /// Whether the text is the sources' own words, put together without a language model.
    pub extractive: bool,
    /// How many markers named a source that there is not; they are not in the text.
    pub unknown_markers: u32,
    /// What the gateway knows of the call, if it went through one.
    pub call: Option<Box<CallRecord>>,
}

/// A piece of an answer. `Retrieved` comes first; `Done` or `Error` comes last, once.
#[derive(Debug)]
pub enum Event {
    /// The sources, `[doc_1]` first; none if no hit is above the floor.
    Retrieved(Vec<NumberedSource>),
    /// The next text; never empty, and never a part of a marker.
    Delta(String),
    /// The citation of the marker that the text so far ends in.
    Citation(Box<Citation>),
    /// What the generator used, if it said so; comes right before `Done`.
    Usage(Usage),
    /// The end.
    Done(Finish),
    /// The end, too early. The text so far stands.
    Error(ModelError),
}

/// Answers questions from hits.
#[derive(Debug, Clone)]
pub struct Answerer {
    generate: Arc<dyn Generate>,
    config: Config,
}

impl Answerer {
    /// Answers by `generate`.
    pub fn new(generate: Arc<dyn Generate>, config: Config) -> Answerer {
        Answerer { generate, config }
    }

    /// The answer as it comes; nothing happens before the first poll. Dropping it stops the generator. Time is recorded
    /// in `ctx` as `answer.augment`, `answer.first_token` and `answer.generate`.
    pub fn answer(&self, ctx: &Ctx, request: AnswerRequest) -> BoxStream<'static, Event> {
        let answer = Answer {
            ctx: ctx.clone(),
            generate: Arc::clone(&self.generate),
            config: self.config,
            state: State::Asked(Box::new(request)),
            ready: VecDeque::new(),
        };
        stream::unfold(answer, |mut answer| async move { answer.next().await.map(|event| (event, answer)) }).boxed()
    }
}

/// An answer under way.
struct Answer {
    ctx: Ctx,
    generate: Arc<dyn Generate>,
    config: Config,
    state: State,
    ready: VecDeque<Event>,
}

enum State {
    /// Nothing has been done.
    Asked(Box<AnswerRequest>),
    /// The sources are out, the generator has not been asked.
    Augmented(Box<(GenerateRequest, Citer)>),
    /// The generator speaks.
    Generating(Box<Speaking>),
    /// Nothing comes any more.
    Ended,
}

struct Speaking {
    stream: GenerationStream,
    citer: Citer,
    generator: String,
    usage: Option<Usage>,
    call: Option<Box<CallRecord>>,
    start: Duration,
    spoken: bool,
}

impl Answer {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Asked(request) => self.augment(*request),
                State::Augmented(asked) => {
                    let (request, citer) = *asked;
                    self.open(request, citer).await
                }
                State::Generating(speaking) => self.listen(speaking).await,
                State::Ended => return None,
            };
        }
    }

    /// Asked => Augmented, or Ended without a source.
    fn augment(&mut self, request: AnswerRequest) -> State {
        let start = self.ctx.elapsed();
        let AnswerRequest { tenant, caller, origin, question, history, hits, floor, generator } = request;
        let hits = select(hits, floor, &self.config);
        let numbered = (1..).zip(hits.iter().cloned()).map(|(number, hit)| NumberedSource { number, hit }).collect();
        self.ready.push_back(Event::Retrieved(numbered));
        if hits.is_empty() {
            self.ready.push_back(Event::Delta(NO_INFORMATION.to_owned()));
            let (reason, generator) = (FinishReason::Stop, String::new());
            let finish = Finish { reason, generator, extractive: false, unknown_markers: 0, call: None };
            self.ready.push_back(Event::Done(finish));
            return State::Ended;
        }
        let Prompt { messages, sources } = augment(&question, &history, &hits);
        let Config { tokens_max, temperature, .. } = self.config;
        let origin = Origin { prompt_version: PROMPT_VERSION.to_owned(), ..origin };
        let request =
            GenerateRequest { tenant, caller, origin, generator, messages, question, sources, tokens_max, temperature };
        self.ctx.record("answer.augment", start);
        State::Augmented(Box::new((request, Citer::new(hits))))
    }

    /// Augmented => Generating, or Ended if the generator refuses.
    async fn open(&mut self, request: GenerateRequest, citer: Citer) -> State {
        let start = self.ctx.elapsed();
        let generator = match request.generator.as_str() {
            "" => self.generate.generators().into_iter().next().unwrap_or_default(),
            name => name.to_owned(),
        };
        match self.generate.generate(&self.ctx, request).await {
            Ok(stream) => {
                let speaking = Speaking { stream, citer, generator, usage: None, call: None, start, spoken: false };
                State::Generating(Box::new(speaking))
            }
            Err(error) => {
                self.ready.push_back(Event::Error(error));
                State::Ended
            }
        }
    }

    /// Generating => Generating, or Ended by the generator's last piece.
    async fn listen(&mut self, mut speaking: Box<Speaking>) -> State {
        let piece = match self.ctx.check() {
            Ok(()) => speaking.stream.next().await,
            Err(stopped) => Some(Err(ModelError::Stopped(stopped))),
        };
        match piece {
            Some(Ok(Generated::Delta(text))) => {
                if !std::mem::replace(&mut speaking.spoken, true) {
                    self.ctx.record("answer.first_token", speaking.start);
                }
                self.say(speaking.citer.push(&text));
                State::Generating(speaking)
            }
            Some(Ok(Generated::Usage(usage))) => {
                speaking.usage = Some(usage);
                State::Generating(speaking)
            }
            Some(Ok(Generated::Call(call))) => {
                // Somebody else may have answered than was asked.
                speaking.generator.clone_from(&call.model);
                speaking.call = Some(call);
                State::Generating(speaking)
            }
            // No tool is offered, so none is called; what a model calls all the same is no text.
            Some(Ok(Generated::ToolCall(_))) => State::Generating(speaking),
            Some(Ok(Generated::Done(reason))) => {
                let Speaking { mut citer, generator, usage, call, start, .. } = *speaking;
                self.say(citer.finish());
                self.ready.extend(usage.map(Event::Usage));
                let stood_in = call.as_ref().is_some_and(|call| call.fallback == Fallback::Extractive);
                let extractive = stood_in || generator == Extractive::NAME;
                let unknown_markers = citer.unknown_markers();
                self.ready.push_back(Event::Done(Finish { reason, generator, extractive, unknown_markers, call }));
                self.ctx.record("answer.generate", start);
                State::Ended
            }
            Some(Err(error)) => self.fail(*speaking, error),
            None => {
                let detail = "its reply ended without a finish".to_owned();
                let error = ModelError::Failed { model: speaking.generator.clone(), detail };
                self.fail(*speaking, error)
            }
        }
    }

    fn fail(&mut self, mut speaking: Speaking, error: ModelError) -> State {
        self.say(speaking.citer.finish());
        self.ready.push_back(Event::Error(error));
        State::Ended
    }

    fn say(&mut self, pieces: Vec<Piece>) {
        self.ready.extend(pieces.into_iter().map(|piece| match piece {
            Piece::Text(text) => Event::Delta(text),
            Piece::Citation(citation) => Event::Citation(citation),
        }));
    }
}

/// The hits above the floor, in their order, as far as count and length allow.
fn select(hits: Vec<Hit>, floor: Floor, config: &Config) -> Vec<Hit> {
    let mut bytes = 0;
    let mut selected = Vec::new();
    for hit in hits.into_iter().filter(|hit| floor.admits(&hit.scores)).take(config.sources_max) {
        bytes += hit.text.len();
        if bytes > config.sources_bytes_max && !selected.is_empty() {
            break;
        }
        selected.push(hit);
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Overlap, ctx, hit};
    use crate::{ExtractiveConfig, testing};
    use futures::executor::block_on;
    use ibid_core::{BoxFuture, Ranked, Verdict};

    const CONFIG: Config = Config { sources_max: 3, sources_bytes_max: 1000, tokens_max: 100, temperature: 0.0 };

    /// A generator that says its script, or refuses without one.
    #[derive(Debug)]
    struct Script(Option<Vec<Generated>>);

    impl Generate for Script {
        fn generators(&self) -> Vec<String> {
            vec!["script".to_owned()]
        }

        fn generate<'a>(
            &'a self,
            _: &'a Ctx,
            _: GenerateRequest,
        ) -> BoxFuture<'a, Result<GenerationStream, ModelError>> {
            Box::pin(async {
                let refused = || ModelError::Refused { model: "script".to_owned(), detail: "no script".to_owned() };
                Ok(stream::iter(self.0.clone().ok_or_else(refused)?.into_iter().map(Ok)).boxed())
            })
        }
    }

    fn request(hits: Vec<Hit>) -> AnswerRequest {
        AnswerRequest {
            tenant: TenantKey(1),
            caller: Caller::default(),
            origin: Origin::default(),
            question: "when are refunds paid?".to_owned(),
            history: Vec::new(),
            hits,
            floor: Floor::default(),
            generator: String::new(),
        }
    }

    fn refunds() -> Vec<Hit> {
        vec![hit(1, "We like cats."), hit(2, "Refunds are paid within 14 days. Or so.")]
    }

    /// One line an event.
    fn told(generate: impl Generate + 'static, request: AnswerRequest, ctx: &Ctx) -> String {
        let events = block_on(Answerer::new(Arc::new(generate), CONFIG).answer(ctx, request).collect::<Vec<_>>());
        let line = |event: &Event| match event {
            Event::Retrieved(sources) => {
                let numbers = sources.iter().map(|one| format!(" {}={}", one.number, one.hit.document));
                format!("retrieved{}", numbers.collect::<String>())
            }
            Event::Delta(text) => format!("delta {text:?}"),
            Event::Citation(one) => {
                format!("citation {} {:?} {:?} {:?}", one.source, one.answer, one.quote, one.verdict)
            }
            Event::Usage(usage) => format!("usage {} {}", usage.input_tokens, usage.output_tokens),
            Event::Done(finish) => format!("done {finish:?}"),
            Event::Error(error) => format!("error {error}"),
        };
        events.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn delta(text: &str) -> Generated {
        Generated::Delta(text.to_owned())
    }

    #[test]
    fn an_answer_is_told_in_order() {
        let used = Usage { input_tokens: 7, cached_tokens: 0, output_tokens: 3, reported: true };
        let script = vec![
            delta("After 14 days [do"),
            delta("c_2] or [doc_5"),
            Generated::Usage(used),
            delta("]."),
            Generated::Done(FinishReason::Length),
        ];
        insta::assert_snapshot!(told(Script(Some(script)), request(refunds()), &ctx()), @r#"
        retrieved 1=1.md 2=2.md
        delta "After 14 days"
        delta " [doc_2]"
        citation 2 0..13 "Refunds are paid within 14 days." Unchecked
        delta " or"
        delta "."
        usage 7 3
        done Finish { reason: Length, generator: "script", extractive: false, unknown_markers: 1, call: None }
        "#);
    }

    #[test]
    fn without_a_source_nobody_is_asked() {
        let mut far = hit(1, "Refunds.");
        far.scores.rerank_logit = Some(Ranked { rank: 1, score: -3.0 });
        let floor = Floor { rerank_logit: Some(-2.0), ..Floor::default() };
        let asked = AnswerRequest { floor, ..request(vec![far]) };
        insta::assert_snapshot!(told(Script(None), asked, &ctx()), @r#"
        retrieved
        delta "I don't have that information."
        done Finish { reason: Stop, generator: "", extractive: false, unknown_markers: 0, call: None }
        "#);
    }

    #[test]
    fn what_ends_too_early_keeps_its_text() {
        let start = vec![delta("It is so [doc_1] and ["), Generated::Usage(Usage::default())];
        insta::assert_snapshot!(told(Script(Some(start)), request(refunds()), &ctx()), @r#"
        retrieved 1=1.md 2=2.md
        delta "It is so [doc_1]"
        citation 1 0..8 "We like cats." Unchecked
        delta " and"
        delta " ["
        error script failed: its reply ended without a finish
        "#);
        insta::assert_snapshot!(told(Script(None), request(refunds()), &ctx()), @"
        retrieved 1=1.md 2=2.md
        error script refuses the request: no script
        ");
        let stopped = ctx();
        stopped.stop();
        let script = vec![delta("never said"), Generated::Done(FinishReason::Stop)];
        insta::assert_snapshot!(told(Script(Some(script)), request(refunds()), &stopped), @"
        retrieved 1=1.md 2=2.md
        error the caller has left
        ");
    }

    #[test]
    fn an_extract_is_quoted_and_says_that_it_is_one() {
        let config = ExtractiveConfig { units_max: 40, picks_max: 3, margin: 0.5, floor: 1.0 };
        let extractive = Extractive::new(Arc::new(Overlap::new()), config);
        let events = block_on(
            Answerer::new(Arc::new(extractive), CONFIG).answer(&testing::ctx(), request(refunds())).collect::<Vec<_>>(),
        );
        let text: String = events
            .iter()
            .filter_map(|event| if let Event::Delta(text) = event { Some(&text[..]) } else { None })
            .collect();
        assert_eq!(text, "Refunds are paid within 14 days. [doc_2]");
        let cited =
            events.iter().find_map(|event| if let Event::Citation(citation) = event { Some(citation) } else { None });
        assert_eq!(cited.unwrap().verdict, Verdict::Quoted);
        let Some(Event::Done(finish)) = events.last() else { panic!("{events:?}") };
        assert!(finish.extractive && finish.generator == Extractive::NAME, "{finish:?}");
    }

    #[test]
    fn sources_are_chosen_by_the_score_they_have_and_by_length() {
        let scored = |number, logit: Option<f32>, cosine: Option<f32>| {
            let mut hit = hit(number, "ten bytes.");
            let ranked = |score| Ranked { rank: 1, score };
            (hit.scores.rerank_logit, hit.scores.cosine) = (logit.map(ranked), cosine.map(ranked));
            hit
        };
        let hits = vec![
            scored(1, Some(1.0), Some(0.0)),
            scored(2, Some(-1.0), Some(0.9)),
            scored(3, None, Some(0.2)),
            scored(4, None, Some(0.4)),
            scored(5, None, None),
        ];
        let numbers = |floor, config: Config| -> Vec<String> {
            select(hits.clone(), floor, &config).into_iter().map(|hit| hit.document.to_string()).collect()
        };
        let both = Floor { rerank_logit: Some(0.0), cosine: Some(0.3), ..Floor::default() };
        assert_eq!(numbers(both, CONFIG), ["1.md", "4.md", "5.md"]);
        assert_eq!(numbers(both, Config { sources_max: 1, ..CONFIG }), ["1.md"]);
        assert_eq!(numbers(Floor::default(), Config { sources_bytes_max: 25, ..CONFIG }), ["1.md", "2.md"]);
        assert_eq!(numbers(Floor::default(), Config { sources_bytes_max: 5, ..CONFIG }), ["1.md"]);
    }
}
