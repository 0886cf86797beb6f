//! A generator in this process, as a provider.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use ibid_core::{BoxFuture, Generate, Generated, GenerationStream};

use super::{Attempt, Pieces, Provider};
use crate::bill::{Meter, Reported};
use crate::failure::Failure;
use crate::pace::Pace;

#[derive(Debug)]
pub(super) struct Local {
    generate: Arc<dyn Generate>,
}

impl Local {
    pub(super) fn new(generate: Arc<dyn Generate>) -> Local {
        Local { generate }
    }
}

impl Provider for Local {
    fn system(&self) -> &'static str {
        "local"
    }

    fn is_counted(&self) -> bool {
        false
    }

    fn ask(&self, attempt: Attempt) -> BoxFuture<'static, Result<Pieces, Failure>> {
        let generate = Arc::clone(&self.generate);
        Box::pin(async move {
            let Attempt { request, pace, meter } = attempt;
            let ctx = pace.ctx().clone();
            // The public name is ours; behind the door it is asked for what it is.
            let request = ibid_core::GenerateRequest { generator: String::new(), ..(*request).clone() };
            meter.sent();
            let mut stream = pace.wait(generate.generate(&ctx, request)).await?.inspect_err(|_| meter.free())?;
            // Whoever asks may go elsewhere before the first piece.
            let first = pace.wait(next(&mut stream, &meter)).await??;
            let rest = stream::unfold(Some((stream, meter, pace)), |state| async move {
                let (mut stream, meter, mut pace) = state?;
                pace.event();
                match step(&mut stream, &meter, &pace).await {
                    Ok(Some(piece)) => Some((Ok(piece), Some((stream, meter, pace)))),
                    Ok(None) => None,
                    Err(failure) => Some((Err(failure), None)),
                }
            });
            Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
        })
    }
}

async fn step(stream: &mut GenerationStream, meter: &Meter, pace: &Pace) -> Result<Option<Generated>, Failure> {
    pace.wait(next(stream, meter)).await?
}

/// The next piece but what the meter keeps; `None` after the end.
async fn next(stream: &mut GenerationStream, meter: &Meter) -> Result<Option<Generated>, Failure> {
    while let Some(piece) = stream.next().await {
        match piece? {
            Generated::Usage(usage) => {
                let (input, cached) = (usage.input_tokens, usage.cached_tokens);
                meter.read(Reported { input, cached, cache_write: 0 });
                meter.written(usage.output_tokens);
            }
            Generated::Delta(text) => {
                meter.piece(&text);
                return Ok(Some(Generated::Delta(text)));
            }
            Generated::Call(_) => {}
            piece @ (Generated::ToolCall(_) | Generated::Done(_)) => return Ok(Some(piece)),
        }
    }
    Ok(None)
}
