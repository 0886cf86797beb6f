//! Tenants, for operators.

use std::sync::Arc;

use ibid_core::TenantName;
use tonic::{Request, Response, Status};

use crate::call::Call;
use crate::house::House;
use crate::proto::tenant_service_server::TenantService;
use crate::proto::{
    CreateTenantRequest, CreateTenantResponse, DeleteTenantRequest, DeleteTenantResponse, GetTenantRequest,
    GetTenantResponse, ListTenantsRequest, ListTenantsResponse,
};
use crate::status::OrStatus;
use crate::wire::page::Page;
use crate::{auth, wire};

pub(crate) struct Tenants(pub(crate) Arc<House>);

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<CreateTenantRequest>,
    ) -> Result<Response<CreateTenantResponse>, Status> {
        let operator = auth::operator(&self.0.engine, request.metadata())?;
        let name = wire::tenant::name("name", &request.get_ref().name).or_status()?;
        let tenant = self.0.engine.create_tenant(&operator, name).await.or_status()?;
        Ok(Response::new(CreateTenantResponse { tenant: Some(wire::tenant::render(tenant, None)) }))
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<GetTenantResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let operator = auth::operator(&self.0.engine, request.metadata())?;
        let name = wire::tenant::name("name", &request.get_ref().name).or_status()?;
        let (tenant, ingest) = self.0.engine.tenant(&call.ctx, &operator, &name).await.or_status()?;
        Ok(Response::new(GetTenantResponse { tenant: Some(wire::tenant::render(tenant, Some(ingest))) }))
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        let operator = auth::operator(&self.0.engine, request.metadata())?;
        let ListTenantsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(page_size, &page_token, TenantName::new).or_status()?;
        let fetched = self.0.engine.tenants(&operator, page.after.as_ref(), page.fetch());
        let (tenants, next_page_token) = page.cut(fetched, |tenant| tenant.name.as_str());
        let tenants = tenants.into_iter().map(|tenant| wire::tenant::render(tenant, None)).collect();
        Ok(Response::new(ListTenantsResponse { tenants, next_page_token }))
    }

    async fn delete_tenant(
        &self,
        request: Request<DeleteTenantRequest>,
    ) -> Result<Response<DeleteTenantResponse>, Status> {
        let operator = auth::operator(&self.0.engine, request.metadata())?;
        let name = wire::tenant::name("name", &request.get_ref().name).or_status()?;
        let erased = self.0.engine.delete_tenant(&operator, &name).await.or_status()?;
        Ok(Response::new(DeleteTenantResponse { erasure_id: erased.to_string() }))
    }
}
