//! The first layer: who may not use a model learns so before anything is counted, read or spent.

use std::sync::Arc;

use ibid_core::ModelError;
use tower::{Layer, Service, ServiceExt};

use crate::call::{Answer, Call, Door, always_ready};
use crate::failure::{Failure, Kind};
use crate::table::Table;

/// Asks the call's rules.
#[derive(Debug, Clone)]
pub(crate) struct AuthoriseLayer {
    pub(crate) table: Arc<Table>,
}

#[derive(Debug, Clone)]
pub(crate) struct Authorise<S> {
    table: Arc<Table>,
    inner: S,
}

impl<S> Layer<S> for AuthoriseLayer {
    type Service = Authorise<S>;
    fn layer(&self, inner: S) -> Authorise<S> {
        Authorise { table: Arc::clone(&self.table), inner }
    }
}

impl<S: Door> Service<Call> for Authorise<S> {
    type Response = ibid_core::GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let inner = self.inner.clone();
        let refused = self.refusal(&call);
        Box::pin(async move {
            match refused {
                Some(failure) => Err(failure),
                None => inner.oneshot(call).await,
            }
        })
    }
}

impl<S> Authorise<S> {
    fn refusal(&self, call: &Call) -> Option<Failure> {
        let forbidden = |detail: &str| {
            let error = ModelError::Forbidden { model: call.model.to_string(), detail: detail.to_owned() };
            Some(Failure::new(Kind::Forbidden, error))
        };
        let model = match self.table.model(&call.model) {
            Ok(model) => model,
            Err(error) => return Some(Failure::new(Kind::BadRequest, error)),
        };
        if let Some(detail) = call.policy.refusal(&call.request, &model.name) {
            return forbidden(detail);
        }
        if self.table.permitted(call, model).next().is_none() {
            return forbidden("no deployment of it is allowed here; look at the rules of who may use what, and where");
        }
        None
    }
}
