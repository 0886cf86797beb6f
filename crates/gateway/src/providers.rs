//! Whoever generates: over HTTP in two protocols, or in this process.

mod anthropic;
pub(crate) mod http;
mod local;
mod openai;

use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use ibid_core::{BoxFuture, FinishReason, Generate, GenerateRequest, Generated, ModelError, ToolCall};

pub use anthropic::AnthropicConfig;
pub use openai::{OpenAiConfig, TokensParameter};

use crate::GatewayError;
use crate::bill::Meter;
use crate::failure::Failure;
use crate::pace::{Pace, Timeouts};

/// Who generates, and how it is reached.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// A provider that speaks OpenAI's chat completions: OpenAI, Azure, vLLM, llama.cpp, Ollama, OpenRouter and others.
    OpenAi(OpenAiConfig),
    /// A provider that speaks Anthropic's Messages.
    Anthropic(AnthropicConfig),
    /// A generator in this process, asked for its own default.
    Local(Arc<dyn Generate>),
}

/// One request to one deployment.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) request: Arc<GenerateRequest>,
    pub(crate) pace: Pace,
    /// What is used is written down here as it comes.
    pub(crate) meter: Arc<Meter>,
}

/// A deployment's protocol.
pub(crate) trait Provider: Send + Sync + Debug {
    /// What traces call it.
    fn system(&self) -> &'static str;
    /// Whether its texts cost something that has to be counted even if it does not say so.
    fn is_counted(&self) -> bool;
    /// Asks, and waits for the first piece. The stream has neither `Usage` nor `Call`: the meter knows.
    fn ask(&self, attempt: Attempt) -> BoxFuture<'static, Result<Pieces, Failure>>;
}

/// A reply whose pieces fail with what the layers understand.
pub(crate) type Pieces = futures::stream::BoxStream<'static, Result<Generated, Failure>>;

/// The provider of deployment `name`. Connects to nobody yet.
///
/// # Errors
/// [`GatewayError`]: an address or a key that cannot be used.
pub(crate) fn provider(
    name: &str,
    config: ProviderConfig,
    timeouts: &Timeouts,
) -> Result<Arc<dyn Provider>, GatewayError> {
    Ok(match config {
        ProviderConfig::OpenAi(config) => Arc::new(openai::OpenAi::new(name, config, timeouts)?),
        ProviderConfig::Anthropic(config) => Arc::new(anthropic::Anthropic::new(name, config, timeouts)?),
        ProviderConfig::Local(generate) => Arc::new(local::Local::new(generate)),
    })
}

/// What one event of a protocol says.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Text(String),
    Tool(ToolCall),
    /// The reply is complete.
    End(FinishReason),
}

/// A protocol's reader of events.
pub(crate) trait Reader: Send + 'static {
    /// What `event` says, in order. Figures go into `meter`.
    fn read(&mut self, event: &http::Event, meter: &Meter, said: &mut Vec<Said>) -> Result<(), Failure>;
    /// The stream has ended, or broken, without an end: the finish if the text is whole all the same.
    fn finish(&self) -> Option<FinishReason>;
}

/// The reply that `events` tell, once its first piece is there: whoever asks may go elsewhere before.
pub(crate) async fn reply<R: Reader>(
    name: &str,
    attempt: Attempt,
    events: http::Events,
    reader: R,
) -> Result<Pieces, Failure> {
    let Attempt { pace, meter, .. } = attempt;
    let mut reply =
        Reply { name: name.to_owned(), pace, meter, events, reader, ready: Vec::new().into_iter(), ended: false };
    let first = reply.next().await?;
    let rest = stream::unfold(Some(reply), |reply| async move {
        let mut reply = reply?;
        match reply.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reply))),
            Ok(None) => None,
            Err(failure) => Some((Err(failure), None)),
        }
    });
    Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
}

struct Reply<R> {
    name: String,
    pace: Pace,
    meter: Arc<Meter>,
    events: http::Events,
    reader: R,
    ready: std::vec::IntoIter<Said>,
    ended: bool,
}

impl<R: Reader> Reply<R> {
    /// The next piece; `None` after the end.
    async fn next(&mut self) -> Result<Option<Generated>, Failure> {
        loop {
            match self.ready.next() {
                Some(Said::Text(text)) => {
                    self.meter.piece(&text);
                    return Ok(Some(Generated::Delta(text)));
                }
                Some(Said::Tool(call)) => {
                    self.meter.piece(&call.name);
                    self.meter.piece(&call.arguments);
                    return Ok(Some(Generated::ToolCall(call)));
                }
                Some(Said::End(finish)) => {
                    self.ended = true;
                    return Ok(Some(Generated::Done(finish)));
                }
                None if self.ended => return Ok(None),
                None => {}
            }
            let mut said = Vec::new();
            match self.pace.wait(self.events.next()).await {
                Ok(Some(Ok(event))) => {
                    if event.is_progress() {
                        self.pace.event();
                    }
                    self.reader.read(&event, &self.meter, &mut said)?;
                }
                Err(stopped) if matches!(stopped.error, ModelError::Stopped(_)) => return Err(stopped),
                broken => {
                    let failure = match broken {
                        Ok(Some(Err(problem))) => http::broken(&self.name, problem),
                        Err(late) => late,
                        Ok(_) => http::broken(&self.name, "the reply ended before its finish"),
                    };
                    // The text is whole: what breaks after its end costs no more than the provider's own count.
                    said.push(Said::End(self.reader.finish().ok_or(failure)?));
                }
            }
            self.ready = said.into_iter();
        }
    }
}
