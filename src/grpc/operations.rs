//! What keeps a data folder in shape, for operators.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ibid_engine::snapshots::{self, Pruned, SnapshotError, SnapshotStore};
use ibid_engine::{EngineError, Invalid};
use ibid_runtime::start_thread;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use crate::auth;
use crate::call::Call;
use crate::house::House;
use crate::proto::operations_service_server::OperationsService;
use crate::proto::{
    CompactRequest, CompactResponse, CreateSnapshotRequest, CreateSnapshotResponse, ListSnapshotsRequest,
    ListSnapshotsResponse, PruneSnapshotsRequest, PruneSnapshotsResponse, Snapshot,
};
use crate::status::OrStatus;
use crate::wire;

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

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let operator = auth::operator(&self.0.engine, request.metadata())?;
        let store = self.0.snapshots().or_status()?;
        let created = self.0.engine.create_snapshot(&call.ctx, &operator, store).await.or_status()?;
        let manifest = &created.manifest;
        Ok(Response::new(CreateSnapshotResponse {
            snapshot: Some(wire::snapshot::render(&manifest.id, Some(manifest))),
            bytes_written: created.bytes_written,
        }))
    }

    async fn prune_snapshots(
        &self,
        request: Request<PruneSnapshotsRequest>,
    ) -> Result<Response<PruneSnapshotsResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let operator = auth::operator(&self.0.engine, request.metadata())?;
        let keep = keep(request.get_ref().keep).or_status()?;
        let store = self.0.snapshots().or_status()?;
        let pruned = self.0.engine.prune_snapshots(&call.ctx, &operator, store, keep).await.or_status()?;
        let Pruned { snapshots, blocks, left } = pruned;
        Ok(Response::new(PruneSnapshotsResponse { snapshots, blocks, left }))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        auth::operator(&self.0.engine, request.metadata())?;
        let limit = wire::snapshot::limit(request.into_inner().limit).or_status()?;
        let store = self.0.snapshots().or_status()?;
        let (done, listed) = oneshot::channel();
        // The target may be far away, and its calls block.
        start_thread("list snapshots", move || drop(done.send(list(&*store, limit))))
            .map_err(|source| EngineError::Io { doing: "start a thread", source })
            .or_status()?;
        let listed = listed.await.map_err(|_| EngineError::Closing).or_status()?;
        let snapshots = listed.map_err(EngineError::of_snapshot).or_status()?;
        Ok(Response::new(ListSnapshotsResponse { snapshots }))
    }
}

/// How many snapshots stay.
fn keep(given: u32) -> Result<NonZeroUsize, Invalid> {
    NonZeroUsize::new(given as usize).ok_or_else(|| Invalid::new("keep", "is 0, expected at least 1"))
}

/// The newest `limit` snapshots, the newest first.
pub(crate) fn list(store: &dyn SnapshotStore, limit: usize) -> Result<Vec<Snapshot>, SnapshotError> {
    let ids = snapshots::list(store)?;
    let rendered = ids.iter().rev().take(limit).map(|id| match snapshots::read(store, Some(id)) {
        Ok(manifest) => Ok(wire::snapshot::render(id, Some(&manifest))),
        Err(SnapshotError::Manifest { .. } | SnapshotError::Newer { .. }) => Ok(wire::snapshot::render(id, None)),
        Err(other) => Err(other),
    });
    rendered.collect()
}
