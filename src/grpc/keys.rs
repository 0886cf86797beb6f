//! Keys, for operators and for a tenant's admins. Who may give and see which is the engine's decision.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::house::House;
use crate::proto::key_service_server::KeyService;
use crate::proto::{
    CreateKeyRequest, CreateKeyResponse, ListKeysRequest, ListKeysResponse, RevokeKeyRequest, RevokeKeyResponse,
};
use crate::status::OrStatus;
use crate::{auth, wire};

pub(crate) struct Keys(pub(crate) Arc<House>);

#[tonic::async_trait]
impl KeyService for Keys {
    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreateKeyResponse>, Status> {
        let caller = auth::identity(&self.0.engine, request.metadata())?;
        let (tenant, wanted) = wire::key::request(request.into_inner()).or_status()?;
        let (made, key) = self.0.engine.create_key(&caller, tenant.as_ref(), wanted).await.or_status()?;
        let secret = made.shown.reveal().to_owned();
        Ok(Response::new(CreateKeyResponse { key: Some(wire::key::render(key)), secret }))
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let caller = auth::identity(&self.0.engine, request.metadata())?;
        let tenant = wire::tenant::optional_name("tenant", &request.get_ref().tenant).or_status()?;
        let keys = self.0.engine.keys(&caller, tenant.as_ref()).or_status()?;
        Ok(Response::new(ListKeysResponse { keys: keys.into_iter().map(wire::key::render).collect() }))
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Result<Response<RevokeKeyResponse>, Status> {
        let caller = auth::identity(&self.0.engine, request.metadata())?;
        let id = wire::key::id("id", &request.get_ref().id).or_status()?;
        self.0.engine.revoke_key(&caller, id).await.or_status()?;
        Ok(Response::new(RevokeKeyResponse {}))
    }
}
