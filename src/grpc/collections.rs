//! Collections: seen with any key of the tenant, changed with the scope ADMIN.

use std::sync::Arc;

use ibid_core::{CollectionName, Scope};
use ibid_engine::EngineError;
use tonic::{Request, Response, Status};

use crate::call::Call;
use crate::house::House;
use crate::proto::collection_service_server::CollectionService;
use crate::proto::{
    AbortMigrationRequest, AbortMigrationResponse, CreateCollectionRequest, CreateCollectionResponse,
    DeleteCollectionRequest, DeleteCollectionResponse, FinishMigrationRequest, FinishMigrationResponse,
    GetCollectionRequest, GetCollectionResponse, GetIngestReportRequest, GetIngestReportResponse, GetMigrationRequest,
    GetMigrationResponse, ListCollectionsRequest, ListCollectionsResponse, RollBackMigrationRequest,
    RollBackMigrationResponse, StartMigrationRequest, StartMigrationResponse, SwitchMigrationRequest,
    SwitchMigrationResponse, UpdateCollectionRequest, UpdateCollectionResponse,
};
use crate::status::{OrStatus, ToStatus};
use crate::wire::page::Page;
use crate::{auth, wire};

pub(crate) struct Collections(pub(crate) Arc<House>);

#[tonic::async_trait]
impl CollectionService for Collections {
    async fn create_collection(
        &self,
        request: Request<CreateCollectionRequest>,
    ) -> Result<Response<CreateCollectionResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let CreateCollectionRequest { name, settings } = request.into_inner();
        let name = wire::collection::name("name", &name).or_status()?;
        let settings = wire::collection::settings(settings, &self.0.default_model).or_status()?;
        let collection = self.0.engine.create_collection(&call.ctx, &tenant, name, settings).await.or_status()?;
        Ok(Response::new(CreateCollectionResponse { collection: Some(wire::collection::render(collection)) }))
    }

    async fn get_collection(
        &self,
        request: Request<GetCollectionRequest>,
    ) -> Result<Response<GetCollectionResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::any_of_tenant(&self.0.engine, request.metadata())?;
        let name = wire::collection::name("name", &request.get_ref().name).or_status()?;
        let collection = self.0.engine.collection(&call.ctx, &tenant, &name).await.or_status()?;
        Ok(Response::new(GetCollectionResponse { collection: Some(wire::collection::render(collection)) }))
    }

    async fn list_collections(
        &self,
        request: Request<ListCollectionsRequest>,
    ) -> Result<Response<ListCollectionsResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::any_of_tenant(&self.0.engine, request.metadata())?;
        let ListCollectionsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(page_size, &page_token, CollectionName::new).or_status()?;
        let fetched = self.0.engine.collection_names(&tenant, page.after.as_ref(), page.fetch());
        let (names, next_page_token) = page.cut(fetched, CollectionName::as_str);
        let mut collections = Vec::with_capacity(names.len());
        for name in names {
            match self.0.engine.collection(&call.ctx, &tenant, &name).await {
                Ok(collection) => collections.push(wire::collection::render(collection)),
                // It was deleted after the names were read.
                Err(EngineError::NotFound { .. }) => {}
                Err(error) => return Err(error.to_status()),
            }
        }
        Ok(Response::new(ListCollectionsResponse { collections, next_page_token }))
    }

    async fn update_collection(
        &self,
        request: Request<UpdateCollectionRequest>,
    ) -> Result<Response<UpdateCollectionResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let UpdateCollectionRequest { name, settings } = request.into_inner();
        let name = wire::collection::name("name", &name).or_status()?;
        let current = self.0.engine.partition(&call.ctx, &tenant, &name).await.or_status()?.settings();
        let settings = wire::collection::settings(settings, &current.embedder).or_status()?;
        let collection = self.0.engine.update_collection(&call.ctx, &tenant, &name, settings).await.or_status()?;
        Ok(Response::new(UpdateCollectionResponse { collection: Some(wire::collection::render(collection)) }))
    }

    async fn get_ingest_report(
        &self,
        request: Request<GetIngestReportRequest>,
    ) -> Result<Response<GetIngestReportResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Search)?;
        let name = wire::collection::name("name", &request.get_ref().name).or_status()?;
        let partition = self.0.engine.partition(&call.ctx, &tenant, &name).await.or_status()?;
        let report = self.0.pool.run(&call.ctx, move || partition.report()).await.or_status()?;
        Ok(Response::new(GetIngestReportResponse { report: Some(wire::report::render(&name, report)) }))
    }

    async fn delete_collection(
        &self,
        request: Request<DeleteCollectionRequest>,
    ) -> Result<Response<DeleteCollectionResponse>, Status> {
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let name = wire::collection::name("name", &request.get_ref().name).or_status()?;
        let erased = self.0.engine.delete_collection(&tenant, &name).await.or_status()?;
        Ok(Response::new(DeleteCollectionResponse { erasure_id: erased.to_string() }))
    }

    async fn start_migration(
        &self,
        request: Request<StartMigrationRequest>,
    ) -> Result<Response<StartMigrationResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let wire::migration::Start { collection, model, switching, force } =
            wire::migration::start(request.into_inner()).or_status()?;
        let engine = &self.0.engine;
        let started = engine.start_migration(&call.ctx, &tenant, &collection, &model, switching, force).await;
        Ok(Response::new(StartMigrationResponse { migration: Some(wire::migration::render(started.or_status()?)) }))
    }

    async fn get_migration(
        &self,
        request: Request<GetMigrationRequest>,
    ) -> Result<Response<GetMigrationResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let name = wire::collection::name("collection", &request.get_ref().collection).or_status()?;
        let migration = self.0.engine.migration(&call.ctx, &tenant, &name).await.or_status()?;
        Ok(Response::new(GetMigrationResponse { migration: Some(wire::migration::render(migration)) }))
    }

    async fn switch_migration(
        &self,
        request: Request<SwitchMigrationRequest>,
    ) -> Result<Response<SwitchMigrationResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let wire::migration::Switch { collection, model, trial } =
            wire::migration::switch(request.into_inner()).or_status()?;
        let switched = self.0.engine.switch_model(&call.ctx, &tenant, &collection, &model, trial).await;
        Ok(Response::new(SwitchMigrationResponse { migration: Some(wire::migration::render(switched.or_status()?)) }))
    }

    async fn roll_back_migration(
        &self,
        request: Request<RollBackMigrationRequest>,
    ) -> Result<Response<RollBackMigrationResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let name = wire::collection::name("collection", &request.get_ref().collection).or_status()?;
        let migration = self.0.engine.roll_back_model(&call.ctx, &tenant, &name).await.or_status()?;
        Ok(Response::new(RollBackMigrationResponse { migration: Some(wire::migration::render(migration)) }))
    }

    async fn finish_migration(
        &self,
        request: Request<FinishMigrationRequest>,
    ) -> Result<Response<FinishMigrationResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let name = wire::collection::name("collection", &request.get_ref().collection).or_status()?;
        let migration = self.0.engine.finish_migration(&call.ctx, &tenant, &name).await.or_status()?;
        Ok(Response::new(FinishMigrationResponse { migration: Some(wire::migration::render(migration)) }))
    }

    async fn abort_migration(
        &self,
        request: Request<AbortMigrationRequest>,
    ) -> Result<Response<AbortMigrationResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Admin)?;
        let name = wire::collection::name("collection", &request.get_ref().collection).or_status()?;
        let migration = self.0.engine.abort_migration(&call.ctx, &tenant, &name).await.or_status()?;
        Ok(Response::new(AbortMigrationResponse { migration: Some(wire::migration::render(migration)) }))
    }
}
