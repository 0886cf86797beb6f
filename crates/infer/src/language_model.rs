//! A language model that runs here: [`Generate`] on the compute pool, token by token.
//!
//! A block of the prompt, or one token of the reply, is one job: searches come between them, several replies take turns,
//! and a caller who has left costs at most the job that runs, which gives up before its next layer once the call is
//! stopped. What replies keep of their texts is bounded: together they have one context's worth of memory, and who does
//! not fit waits in order.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use candle_transformers::generation::LogitsProcessor;
use futures::stream::{self, StreamExt};
use ibid_core::{BoxFuture, FinishReason, Generate, GenerateRequest, Generated, GenerationStream, ModelError, Usage};
use ibid_runtime::{Ctx, Pool, PoolError, Priority};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::InferError;
use crate::chat::Chat;
use crate::detokenizer::Detokenizer;
use crate::gguf::Gguf;
use crate::llama::{BLOCK_TOKENS_MAX, Llama, Text};
use crate::vocabulary::Vocabulary;

/// Calls under way, waiting ones included: the last of them waits for minutes.
const CALLS_MAX: usize = 16;
/// The longest text, whatever the model could read: what is kept of it is memory, some tens of kilobytes a token.
const CONTEXT_TOKENS_MAX: usize = 8_192;

/// Which model, and how it chooses words.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageModelConfig {
    /// The public name.
    pub name: String,
    /// A GGUF file of the Llama architecture; a `tokenizer.json` beside it is used.
    pub path: PathBuf,
    /// Where its randomness starts: the same request and seed, the same reply.
    pub seed: u64,
    /// How freely it chooses, 0 for the most likely text; `None`: as the request says.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that have this probability together are chosen from; 1: all.
    pub top_p: f32,
}

/// A Llama in memory. Calls share it; each has a text of its own.
pub struct LanguageModel {
    config: LanguageModelConfig,
    model: Arc<Model>,
    pool: Pool,
    calls: Arc<Semaphore>,
    /// Tokens that the calls may keep together.
    kept: Arc<Semaphore>,
}

#[derive(Debug)]
struct Model {
    llama: Llama,
    vocabulary: Vocabulary,
    chat: Chat,
    context: usize,
}

impl fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageModel").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LanguageModel {
    /// Loads the model; it computes on `pool`.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or holds a model, a tokenizer or a template that does not run here.
    pub fn load(config: LanguageModelConfig, pool: &Pool) -> Result<LanguageModel, InferError> {
        let model = Model::load(&config.path)?;
        let kept = Arc::new(Semaphore::new(model.context));
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        Ok(LanguageModel { config, model: Arc::new(model), pool: pool.clone(), calls, kept })
    }

    async fn start(&self, ctx: &Ctx, request: GenerateRequest) -> Result<GenerationStream, ModelError> {
        let name = &self.config.name;
        let call = Arc::clone(&self.calls).try_acquire_owned().map_err(|_| ModelError::Overloaded {
            model: name.clone(),
            detail: format!("{CALLS_MAX} calls are under way, which is its limit"),
        })?;
        let ctx = ctx.at(PRIORITY);
        let model = Arc::clone(&self.model);
        let tokenize = move || model.chat.prompt(&model.vocabulary, &request.messages, model.context);
        let prompt = self.pool.run(&ctx, tokenize).await.map_err(|error| pool_error(name, error))?;
        let refused = |detail| ModelError::Refused { model: name.clone(), detail };
        let prompt = prompt.map_err(refused)?;
        let context = self.model.context;
        if prompt.len() >= context {
            return Err(refused(format!(
                "the prompt has {} tokens, and it reads and writes {context} together; ask with fewer sources or turns",
                prompt.len()
            )));
        }
        let tokens_max = (request.tokens_max.max(1) as usize).min(context - prompt.len());
        let needed = u32::try_from(prompt.len() + tokens_max).expect("at most the context");
        let kept = Arc::clone(&self.kept).acquire_many_owned(needed).await.expect("it is never closed");
        let temperature = self.config.temperature.unwrap_or(request.temperature);
        let sampler = sampler(self.config.seed, temperature, self.config.top_p);
        let writing = Writing { text: self.model.llama.text(needed as usize), read: 0, last: None, sampler };
        let reply = Reply {
            name: name.clone(),
            ctx,
            pool: self.pool.clone(),
            model: Arc::clone(&self.model),
            prompt: prompt.into(),
            tokens_max,
            written: 0,
            writing: Some(Box::new(writing)),
            detokenizer: Detokenizer::default(),
            said: false,
            ready: VecDeque::new(),
            _held: [call, kept],
        };
        reply.stream().await
    }
}

/// Somebody waits for the reply, so documents stand back; a search is over long before, so it goes first.
const PRIORITY: Priority = Priority::Rerank;

impl Model {
    fn load(path: &Path) -> Result<Model, InferError> {
        let mut gguf = Gguf::open(path)?;
        let (vocabulary, chat) = (Vocabulary::read(&gguf)?, Chat::read(&gguf)?);
        let llama = Llama::load(&mut gguf, vocabulary.len())?;
        let context = llama.context().min(CONTEXT_TOKENS_MAX);
        Ok(Model { llama, vocabulary, chat, context })
    }
}

fn sampler(seed: u64, temperature: f32, top_p: f32) -> LogitsProcessor {
    LogitsProcessor::new(seed, Some(f64::from(temperature)), Some(f64::from(top_p)))
}

fn pool_error(model: &str, error: PoolError) -> ModelError {
    let model = model.to_owned();
    match error {
        PoolError::Full { .. } => ModelError::Overloaded { model, detail: error.to_string() },
        PoolError::Stopped(stopped) => ModelError::Stopped(stopped),
        PoolError::Panicked { .. } => ModelError::Failed { model, detail: error.to_string() },
    }
}

/// What a job takes with it and brings back.
struct Writing {
    text: Text,
    /// Tokens of the prompt that have been read.
    read: usize,
    /// The token written last, not read yet.
    last: Option<u32>,
    sampler: LogitsProcessor,
}

impl Writing {
    /// Reads the next block of the prompt, or what was written last; then writes the next token, unless there is more to
    /// read.
    fn step(&mut self, name: &str, model: &Model, prompt: &[u32], ctx: &Ctx) -> Result<Option<u32>, ModelError> {
        let end = prompt.len().min(self.read + BLOCK_TOKENS_MAX);
        let block = match &self.last {
            Some(token) => std::slice::from_ref(token),
            None => &prompt[self.read..end],
        };
        model.llama.read(&mut self.text, block, || ctx.check())?;
        self.read = end;
        if self.read < prompt.len() {
            return Ok(None);
        }
        let logits = Tensor::new(model.llama.logits(&self.text), &Device::Cpu);
        let failed = |error| ModelError::Failed { model: name.to_owned(), detail: format!("choose a token: {error}") };
        let token = logits.and_then(|logits| self.sampler.sample(&logits)).map_err(failed)?;
        self.last = Some(token);
        Ok(Some(token))
    }
}

/// A reply under way.
struct Reply {
    name: String,
    ctx: Ctx,
    pool: Pool,
    model: Arc<Model>,
    prompt: Arc<[u32]>,
    tokens_max: usize,
    written: usize,
    /// `None` once a job that had it did not come back.
    writing: Option<Box<Writing>>,
    detokenizer: Detokenizer,
    said: bool,
    ready: VecDeque<Generated>,
    _held: [OwnedSemaphorePermit; 2],
}

impl Reply {
    /// The reply as a stream, once its first piece is there: who asks may still go elsewhere before.
    async fn stream(mut self) -> Result<GenerationStream, ModelError> {
        let first = self.next().await?;
        self.ready.push_front(first);
        let rest = stream::unfold(Some(self), |reply| async move {
            let mut reply = reply?;
            match reply.next().await {
                Ok(Generated::Done(reason)) => Some((Ok(Generated::Done(reason)), None)),
                Ok(piece) => Some((Ok(piece), Some(reply))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(rest.boxed())
    }

    async fn next(&mut self) -> Result<Generated, ModelError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(piece);
            }
            let Some(token) = self.step().await? else { continue };
            if self.model.vocabulary.ends.contains(&token) {
                self.finish(FinishReason::Stop);
                continue;
            }
            self.written += 1;
            let text = self.detokenizer.push(self.model.vocabulary.bytes(token));
            self.say(&text);
            if self.written == self.tokens_max {
                self.finish(FinishReason::Length);
            }
        }
    }

    /// One job.
    async fn step(&mut self) -> Result<Option<u32>, ModelError> {
        let mut writing = self.writing.take().expect("a reply that failed is not asked again");
        let (name, model) = (self.name.clone(), Arc::clone(&self.model));
        let (prompt, ctx) = (Arc::clone(&self.prompt), self.ctx.clone());
        let job = move || {
            let token = writing.step(&name, &model, &prompt, &ctx);
            (writing, token)
        };
        let (writing, token) = self.pool.run(&self.ctx, job).await.map_err(|error| pool_error(&self.name, error))?;
        self.writing = Some(writing);
        token
    }

    /// A tokenizer whose words begin with a space has one before the first: blanks there are no part of a reply.
    fn say(&mut self, text: &str) {
        let text = if self.said { text } else { text.trim_start() };
        if !text.is_empty() {
            self.said = true;
            self.ready.push_back(Generated::Delta(text.to_owned()));
        }
    }

    fn finish(&mut self, reason: FinishReason) {
        let rest = self.detokenizer.finish();
        self.say(&rest);
        let (input_tokens, output_tokens) = (self.prompt.len() as u64, self.written as u64);
        self.ready.push_back(Generated::Usage(Usage { input_tokens, cached_tokens: 0, output_tokens, reported: true }));
        self.ready.push_back(Generated::Done(reason));
    }
}

impl Generate for LanguageModel {
    fn generators(&self) -> Vec<String> {
        vec![self.config.name.clone()]
    }

    fn generate<'a>(
        &'a self,
        ctx: &'a Ctx,
        request: GenerateRequest,
    ) -> BoxFuture<'a, Result<GenerationStream, ModelError>> {
        Box::pin(self.start(ctx, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CONTEXT, TEMPLATE, metadata, tensors, write};
    use futures::executor::block_on;
    use ibid_core::{Caller, Message, Origin, Role, TenantKey};
    use ibid_runtime::{Stopped, SystemClock};

    fn ctx() -> Ctx {
        Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None)
    }

    fn config(path: PathBuf) -> LanguageModelConfig {
        LanguageModelConfig { name: "local".to_owned(), path, seed: 7, temperature: None, top_p: 0.95 }
    }

    fn tiny(seed: u64) -> LanguageModel {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        write(&path, &metadata(TEMPLATE), &tensors(3));
        LanguageModel::load(LanguageModelConfig { seed, ..config(path) }, &Pool::new(2, 64).unwrap()).unwrap()
    }

    fn request(content: &str, tokens_max: u32, temperature: f32) -> GenerateRequest {
        GenerateRequest {
            tenant: TenantKey(1),
            caller: Caller::default(),
            origin: Origin::default(),
            generator: String::new(),
            messages: vec![Message { role: Role::User, content: content.to_owned() }],
            question: content.to_owned(),
            sources: Arc::new([]),
            tokens_max,
            temperature,
        }
    }

    /// All pieces of a reply.
    fn reply(model: &LanguageModel, request: GenerateRequest) -> Vec<Generated> {
        let stream = block_on(model.generate(&ctx(), request)).unwrap();
        block_on(stream.map(Result::unwrap).collect())
    }

    #[test]
    fn the_same_seed_says_the_same_and_usage_comes_before_the_end() {
        let (one, other) = (tiny(7), tiny(8));
        let said = reply(&one, request("Is it?", 20, 1.0));
        assert_eq!(said, reply(&one, request("Is it?", 20, 1.0)), "whatever was said before");
        assert_ne!(said, reply(&other, request("Is it?", 20, 1.0)));
        assert_eq!(reply(&one, request("Is it?", 20, 0.0)), reply(&other, request("Is it?", 20, 0.0)));
        let [.., Generated::Usage(usage), Generated::Done(reason)] = &said[..] else { panic!("{said:?}") };
        assert!(usage.reported && usage.output_tokens <= 20, "{usage:?}");
        assert_eq!(*reason == FinishReason::Length, usage.output_tokens == 20, "{said:?}");
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_refused_with_its_length() {
        let model = tiny(7);
        let error = |content: &str| match block_on(model.generate(&ctx(), request(content, 5, 0.0))).map(drop) {
            Err(ModelError::Refused { detail, .. }) => detail,
            other => panic!("{other:?}"),
        };
        let long = "x".repeat(CONTEXT);
        assert!(error(&long).contains(&format!("reads and writes {CONTEXT} together")), "{}", error(&long));
        assert!(error(&"x".repeat(100_000)).contains("bytes"), "nobody tokenizes what cannot fit");
        let said = reply(&model, request(&"x".repeat(CONTEXT - 30), 500, 0.0));
        let [.., Generated::Usage(usage), Generated::Done(_)] = &said[..] else { panic!("{said:?}") };
        assert!(usage.input_tokens + usage.output_tokens <= CONTEXT as u64, "{usage:?}");
    }

    #[test]
    fn a_call_that_is_stopped_ends_and_a_call_too_many_is_refused() {
        let model = tiny(7);
        let stopped = ctx();
        let mut stream = block_on(model.generate(&stopped, request("Is it?", 60, 0.0))).unwrap();
        stopped.stop();
        let mut last = block_on(stream.next());
        while let Some(Ok(_)) = last {
            last = block_on(stream.next());
        }
        assert!(matches!(last, Some(Err(ModelError::Stopped(Stopped::Cancelled)))), "{last:?}");

        let short = || block_on(model.generate(&ctx(), request("?", 1, 0.0)));
        let all: Vec<_> = model.calls.clone().try_acquire_many_owned(CALLS_MAX as u32 - 1).into_iter().collect();
        drop(stream);
        let held = short().unwrap();
        assert!(matches!(short().map(drop), Err(ModelError::Overloaded { .. })));
        drop((all, held));
        assert!(short().is_ok());
    }

    /// What transformers' `LlamaForCausalLM` says with the same weights (`tests/golden_language_model.py` prints it).
    #[test]
    fn smollm2_says_what_transformers_says() {
        let Some(path) = std::env::var_os("IBID_TEST_GGUF").map(PathBuf::from).filter(|path| path.is_file()) else {
            eprintln!("left out: no language model; name SmolLM2-135M-Instruct.Q4_1.gguf in IBID_TEST_GGUF");
            return;
        };
        let model = Model::load(&path).unwrap();
        let said = |messages: &[(Role, &str)]| {
            let message = |(role, content): &(Role, &str)| Message { role: *role, content: (*content).to_owned() };
            let messages: Vec<Message> = messages.iter().map(message).collect();
            let prompt = model.chat.prompt(&model.vocabulary, &messages, model.context).unwrap();
            let mut writing =
                Writing { text: model.llama.text(200), read: 0, last: None, sampler: sampler(0, 0.0, 1.0) };
            let mut tokens = Vec::new();
            while tokens.last().is_none_or(|token| !model.vocabulary.ends.contains(token)) {
                tokens.extend(writing.step("local", &model, &prompt, &ctx()).unwrap());
            }
            (prompt.len(), tokens)
        };
        let france = said(&[(Role::User, "What is the capital of France?")]);
        assert_eq!(france, (37, vec![504, 3575, 282, 4649, 314, 7042, 30, 2]));
        let sources = "source 1: Refunds are paid within 14 days to the card that was charged.\n\nQuestion: When are refunds paid?";
        let refunds = said(&[(Role::System, "You answer from sources."), (Role::User, sources)]);
        assert_eq!(refunds, (50, vec![504, 2988, 288, 451, 1962, 314, 42, 1550, 359, 37393, 99, 5940, 47, 2]));
    }
}
