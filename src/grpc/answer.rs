//! Answers: retrieved first, then generated, as a stream of events.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use ibid_answer::{AnswerRequest as Question, Answerer};
use ibid_core::{Caller, Generation, Origin, PartitionKey, Scope, TenantId};
use ibid_engine::Partition;
use ibid_retrieve::Searched;
use tonic::{Request, Response, Status};

use crate::call::Call;
use crate::house::House;
use crate::proto::answer_service_server::AnswerService;
use crate::proto::{AnswerRequest, AnswerResponse};
use crate::status::OrStatus;
use crate::wire::answer::{Asked, Events};
use crate::{auth, wire};

/// What limits, budgets and bans of the gateway call this service.
const FEATURE: &str = "answer";

pub(crate) struct Answer(pub(crate) Arc<House>);

#[tonic::async_trait]
impl AnswerService for Answer {
    type AnswerStream = BoxStream<'static, Result<AnswerResponse, Status>>;

    async fn answer(&self, request: Request<AnswerRequest>) -> Result<Response<Self::AnswerStream>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Answer)?;
        let generators = self.0.generate.generators();
        let asked = wire::answer::asked(request.into_inner(), self.0.answer_defaults(), &generators).or_status()?;
        let partitions = self.0.partitions(&call.ctx, &tenant, &asked.search.collections).await.or_status()?;
        let retrieved = self.0.retriever.retrieve(&call.ctx, &partitions, &asked.search.query).await.or_status()?;
        let generations = generations(&partitions, &retrieved.collections);
        let mut events = Events::new(call.ctx.clone(), self.0.job(&tenant), retrieved.collections);
        let answerer = self.answerer(&asked);
        let question = self.question(&tenant, asked, generations, retrieved.hits);
        // The stream holds the call: when the client drops it, retrieval and generation stop.
        let answer = answerer.answer(&call.ctx, question);
        Ok(Response::new(answer.map(move |event| Ok(render(&call, &mut events, event))).boxed()))
    }
}

/// The generation of each partition, as it was searched.
fn generations(partitions: &[Partition], searched: &[Searched]) -> Vec<(PartitionKey, Generation)> {
    partitions.iter().zip(searched).map(|(partition, searched)| (partition.key(), searched.generation)).collect()
}

fn render(_held: &Call, events: &mut Events, event: ibid_answer::Event) -> AnswerResponse {
    events.render(event)
}

impl Answer {
    fn answerer(&self, asked: &Asked) -> Answerer {
        let limits = ibid_answer::Config {
            sources_max: asked.search.query.top_k,
            tokens_max: asked.tokens_max,
            ..self.0.answer
        };
        Answerer::new(Arc::clone(&self.0.generate), limits)
    }

    fn question(
        &self,
        tenant: &TenantId,
        asked: Asked,
        generations: Vec<(PartitionKey, Generation)>,
        hits: Vec<ibid_core::Hit>,
    ) -> Question {
        let config_version = self.0.config_version.clone();
        Question {
            tenant: tenant.key(),
            caller: Caller { key: tenant.shown(), reader: tenant.reader().clone(), feature: FEATURE.to_owned() },
            origin: Origin { generations, prompt_version: String::new(), config_version },
            question: asked.search.query.question,
            history: asked.history,
            hits,
            // The request's own floor was applied by the search.
            floor: self.0.answer_floor,
            generator: asked.generator,
        }
    }
}
