//! Search.

use std::sync::Arc;

use ibid_core::Scope;
use tonic::{Request, Response, Status};

use crate::call::Call;
use crate::house::House;
use crate::proto::search_service_server::SearchService;
use crate::proto::{SearchRequest, SearchResponse};
use crate::status::OrStatus;
use crate::{auth, wire};

pub(crate) struct Search(pub(crate) Arc<House>);

#[tonic::async_trait]
impl SearchService for Search {
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Search)?;
        let search = wire::search::search(request.into_inner(), self.0.search_defaults()).or_status()?;
        let partitions = self.0.partitions(&call.ctx, &tenant, &search.collections).await.or_status()?;
        let retrieved = self.0.retriever.retrieve(&call.ctx, &partitions, &search.query).await.or_status()?;
        Ok(Response::new(wire::hit::render_response(&call.ctx, retrieved)))
    }
}
