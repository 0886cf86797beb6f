//! What keeps a data folder in shape, for operators.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::auth;
use crate::call::Call;
use crate::house::House;
use crate::proto::operations_service_server::OperationsService;
use crate::proto::{CompactRequest, CompactResponse};
use crate::status::OrStatus;

pub(crate) struct Operations(pub(crate) Arc<House>);

#[tonic::async_trait]
impl OperationsService for Operations {
    async fn compact(&self, request: Request<CompactRequest>) -> Result<Response<CompactResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let operator = auth::operator(&self.0.engine, request.metadata())?;
        let compacted = self.0.engine.compact(&call.ctx, &operator).await.or_status()?;
        Ok(Response::new(CompactResponse {
            segments: compacted.segments,
            bytes_before: compacted.bytes_before,
            bytes_after: compacted.bytes_after,
            records_dropped: compacted.records_dropped,
        }))
    }
}
