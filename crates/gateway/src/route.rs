//! Which deployment is asked, and who stands in: the service at the heart of the stack.
//!
//! The deployments of the model come first, in the order of its routing, then those of its fallbacks by name, each behind
//! its own layers. A failure that another may not have goes on to the next; one of the request's own ends the call, but a
//! prompt that is too long goes to the models that read more. All of it before the first piece: what breaks later is not
//! continued by another model.

use std::sync::Arc;

use futures::StreamExt;
use ibid_core::{Fallback, Generated, GenerationStream, ModelError};
use ibid_runtime::Random;
use tower::{Service, ServiceExt};

use crate::call::{Answer, Call, always_ready};
use crate::config::Routing;
use crate::failure::{Failure, Kind};
use crate::rate_limit::Taken;
use crate::retry::chance;
use crate::table::{Deployment, Model, Table};

/// Asks one deployment after the other.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) table: Arc<Table>,
    pub(crate) random: Arc<dyn Random>,
}

impl Service<Call> for Route {
    type Response = GenerationStream;
    type Error = Failure;
    type Future = Answer;
    always_ready!();

    fn call(&mut self, call: Call) -> Answer {
        let route = self.clone();
        Box::pin(async move { route.answer(call).await })
    }
}

impl Route {
    async fn answer(&self, call: Call) -> Result<GenerationStream, Failure> {
        let table = Arc::clone(&self.table);
        let asked = table.model(&call.model).map_err(|error| Failure::new(Kind::BadRequest, error))?;
        let mut failure = match self.ask_each(&call, &table.chain(asked, &asked.fallbacks)).await {
            Err(failure) if failure.kind == Kind::TooLong => failure,
            answer => return answer,
        };
        let readers = table.chain(asked, &asked.context_fallbacks);
        if readers.len() > 1 {
            match self.ask_each(&call, &readers[1..]).await {
                // That the prompt is too long says more than that nobody else is there.
                Err(other) if other.kind == Kind::Shut => {}
                Err(other) => failure = other,
                answer => return answer,
            }
        }
        Err(failure)
    }

    async fn ask_each(&self, call: &Call, models: &[&Model]) -> Result<GenerationStream, Failure> {
        let mut worst: Option<Failure> = None;
        for model in models {
            for deployment in self.order(call, model) {
                call.ctx.check()?;
                match self.ask(call, &deployment).await {
                    Ok(stream) => return Ok(served(stream, call, model)),
                    Err(failure) if failure.goes_elsewhere() => worst = Some(telling(worst, failure)),
                    Err(failure) => return Err(failure),
                }
            }
        }
        let nobody = || Failure::unavailable(Kind::Shut, &call.model, "none of its deployments may be asked");
        Err(worst.unwrap_or_else(nobody))
    }

    async fn ask(&self, call: &Call, deployment: &Arc<Deployment>) -> Result<GenerationStream, Failure> {
        let now = call.ctx.clock().monotonic();
        let throttled = |detail: &str, retry_after| {
            let (model, detail) = (deployment.name.clone(), detail.to_owned());
            let error = ModelError::RateLimited { model, detail, retry_after };
            Failure { kind: Kind::Shut, error, retry_after }
        };
        if let Some(left) = deployment.health.quiet(now) {
            return Err(throttled("the provider asked to be left alone for a while", Some(left)));
        }
        let tokens = self.table.tokens(&call.model, &call.request);
        let taken = Taken::from(&deployment.rate, tokens, &call.bill, now)
            .map_err(|wait| throttled("its limit of calls or tokens a minute is reached", wait))?;
        let stream = deployment.door.clone().oneshot(call.clone()).await?;
        Ok(taken.held_by(stream))
    }

    /// The deployments of `model` that may be asked, the best first.
    fn order(&self, call: &Call, model: &Model) -> Vec<Arc<Deployment>> {
        // Evenly drawn by weight without replacement (Efraimidis and Spirakis 2006); weight 0 comes last.
        let draw = |one: &Arc<Deployment>| -chance(&*self.random).max(f64::MIN_POSITIVE).ln() / f64::from(one.weight);
        let mut drawn: Vec<(f64, Arc<Deployment>)> =
            self.table.permitted(call, model).map(|one| (draw(one), Arc::clone(one))).collect();
        drawn.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut order: Vec<Arc<Deployment>> = drawn.into_iter().map(|(_, one)| one).collect();
        match model.routing {
            Routing::Weight => {}
            Routing::Latency => order
                .sort_by(|one, other| one.health.first_token_seconds().total_cmp(&other.health.first_token_seconds())),
            Routing::Cost => order.sort_by_key(|one| one.tariff.cost_max(&call.request)),
            Routing::Health => {
                order.sort_by(|one, other| one.health.failure_share().total_cmp(&other.health.failure_share()));
            }
        }
        order
    }
}

/// Of two failures the one that tells more: what a provider said before what was not even tried.
fn telling(known: Option<Failure>, new: Failure) -> Failure {
    match known {
        Some(known) if new.kind == Kind::Shut && known.kind != Kind::Shut => known,
        // Of those that are left alone, whoever is back first.
        Some(known)
            if new.kind == Kind::Shut
                && known.retry_after.is_some_and(|wait| new.retry_after.is_none_or(|other| wait < other)) =>
        {
            known
        }
        Some(_) | None => new,
    }
}

fn served(stream: GenerationStream, call: &Call, model: &Model) -> GenerationStream {
    let (name, stands_in) = (Arc::clone(&model.name), *model.name != *call.model);
    let mark = move |mut piece: Result<Generated, ModelError>| {
        if let Ok(Generated::Call(record)) = &mut piece {
            record.model = name.to_string();
            if stands_in {
                record.fallback = Fallback::Model;
            }
        }
        piece
    };
    stream.map(mark).boxed()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_provider_said_tells_more_than_who_was_not_asked() {
        let failure = |kind, seconds: Option<u64>| Failure {
            retry_after: seconds.map(Duration::from_secs),
            ..Failure::unavailable(kind, "m", "")
        };
        let told = |known: Failure, new: Failure| {
            let told = telling(Some(known), new);
            (told.kind, told.retry_after.map(|wait| wait.as_secs()))
        };
        let (late, shut) = (|| failure(Kind::Late, None), |seconds| failure(Kind::Shut, seconds));
        assert_eq!(told(late(), shut(Some(1))), (Kind::Late, None));
        assert_eq!(told(shut(Some(1)), late()), (Kind::Late, None));
        assert_eq!(told(shut(Some(1)), shut(Some(2))), (Kind::Shut, Some(1)), "whoever is back first");
        assert_eq!(told(shut(Some(2)), shut(Some(1))), (Kind::Shut, Some(1)));
        assert_eq!(told(shut(Some(2)), shut(None)), (Kind::Shut, Some(2)));
    }
}
