//! A call on its way through the layers.

use std::sync::Arc;

use futures::future::BoxFuture;
use ibid_core::{GenerateRequest, GenerationStream};
use ibid_runtime::Ctx;
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::bill::Bill;
use crate::failure::Failure;
use crate::policy::Policy;

/// What stands for the whole of a request in caches, never shown: see `exact_cache.rs`.
pub(crate) type CacheKey = [u8; 32];

/// One request, and what the layers have found out about it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) ctx: Ctx,
    pub(crate) request: Arc<GenerateRequest>,
    /// The public name that is asked for, never empty.
    pub(crate) model: Arc<str>,
    /// The rules as they stood when the call came.
    pub(crate) policy: Arc<Policy>,
    pub(crate) bill: Arc<Bill>,
    /// `None`: the answer may be kept for nobody.
    pub(crate) key: Option<CacheKey>,
}

/// What every layer gives: a reply whose first piece is there.
pub(crate) type Answer = BoxFuture<'static, Result<GenerationStream, Failure>>;

/// A layer, or what is behind it. A failure before the first piece is a [`Failure`], later ones are in the stream.
pub(crate) trait Door:
    Service<Call, Response = GenerationStream, Error = Failure, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> Door for S where
    S: Service<Call, Response = GenerationStream, Error = Failure, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A stack of layers, closed.
pub(crate) type BoxedDoor = BoxCloneSyncService<Call, GenerationStream, Failure>;

/// A layer waits for nothing before it is called: whoever is full says so in its answer.
macro_rules! always_ready {
    () => {
        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), crate::failure::Failure>> {
            std::task::Poll::Ready(Ok(()))
        }
    };
}
pub(crate) use always_ready;
