//! Documents, one by one or as a stream.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use futures::stream::{self, BoxStream, StreamExt};
use ibid_core::{DocumentId, Identity, Scope, TenantId};
use ibid_engine::{EngineError, Partition};
use ibid_runtime::Ctx;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::upload::{Upload, uploads};
use crate::call::Call;
use crate::house::House;
use crate::proto::document_service_server::DocumentService;
use crate::proto::ingest_response::Outcome;
use crate::proto::{
    DeleteDocumentRequest, DeleteDocumentResponse, Document, DocumentHeader, GetDocumentRequest, GetDocumentResponse,
    IngestRequest, IngestResponse, ListDocumentsRequest, ListDocumentsResponse, PutDocumentRequest,
    PutDocumentResponse, PutResult, ResolveCitationRequest, ResolveCitationResponse, VerifyErasureRequest,
    VerifyErasureResponse,
};
use crate::status::{OrStatus, out_of_range, scope_missing, to_rpc};
use crate::wire::document::{Address, Piece};
use crate::wire::erasure::Asked;
use crate::wire::page::Page;
use crate::{auth, wire};

/// Documents of one stream that are put at a time; acks keep their order.
const DOCUMENTS_CREDIT: u32 = 32;
/// Bytes of a document's text in one message.
const PIECE_BYTES: usize = 64 << 10;

pub(crate) struct Documents(pub(crate) Arc<House>);

#[tonic::async_trait]
impl DocumentService for Documents {
    type IngestStream = BoxStream<'static, Result<IngestResponse, Status>>;
    type GetDocumentStream = BoxStream<'static, Result<GetDocumentResponse, Status>>;

    async fn put_document(
        &self,
        request: Request<PutDocumentRequest>,
    ) -> Result<Response<PutDocumentResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Ingest)?;
        let (address, header, content) = wire::document::put_request(request.into_inner()).or_status()?;
        let result = put(&self.0, &call.ctx, &tenant, address, header, content).await?;
        Ok(Response::new(PutDocumentResponse { result: Some(result) }))
    }

    async fn ingest(&self, request: Request<Streaming<IngestRequest>>) -> Result<Response<Self::IngestStream>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        auth::tenant(&self.0.engine, request.metadata(), Scope::Ingest)?;
        let (metadata, _, steps) = request.into_parts();
        let uploads = uploads(steps, self.0.room.clone());
        let house = Arc::clone(&self.0);
        let metadata = Arc::new(metadata);
        let mut order = Order::default();
        let outcomes = uploads.map(move |upload| {
            let (before, done) = order.turn(&upload);
            let put = put_upload(Arc::clone(&house), Arc::clone(&metadata), call.ctx.clone(), upload);
            async move {
                // An error says that the one before is done, and dropped its end.
                let _ = before.await;
                let outcome = put.await;
                drop(done);
                outcome
            }
        });
        Ok(Response::new(acks(outcomes.buffered(DOCUMENTS_CREDIT as usize).boxed())))
    }

    async fn get_document(
        &self,
        request: Request<GetDocumentRequest>,
    ) -> Result<Response<Self::GetDocumentStream>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Search)?;
        let Piece { address, start, end, revision, original } = wire::document::piece(request.get_ref()).or_status()?;
        let partition = self.partition(&call.ctx, &tenant, &address).await?;
        let read = move || {
            let (info, bytes) = if original {
                partition.original(&address.id, revision)?
            } else {
                let (info, text) = partition.document(&address.id, revision)?;
                (info, text.into_bytes())
            };
            Ok::<_, EngineError>((address, info, Bytes::from(bytes)))
        };
        let (address, info, bytes) = self.0.pool.run(&call.ctx, read).await.or_status()?.or_status()?;
        let document = wire::document::render(&address.collection, info);
        Ok(Response::new(pieces(document, bytes, start, end)?))
    }

    async fn list_documents(
        &self,
        request: Request<ListDocumentsRequest>,
    ) -> Result<Response<ListDocumentsResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Search)?;
        let ListDocumentsRequest { collection, filter, page_size, page_token } = request.into_inner();
        let collection = wire::collection::name("collection", &collection).or_status()?;
        let filter = filter.map(|given| wire::filter::filter("filter", given)).transpose().or_status()?;
        let page = Page::parse(page_size, &page_token, DocumentId::new).or_status()?;
        let partition = self.0.engine.partition(&call.ctx, &tenant, &collection).await.or_status()?;
        let (after, fetch) = (page.after.clone(), page.fetch());
        let list = move || partition.list(filter.as_ref(), after.as_ref(), fetch);
        let fetched = self.0.pool.run(&call.ctx, list).await.or_status()?;
        let (documents, next_page_token) = page.cut(fetched, |document| document.id.as_str());
        let documents = documents.into_iter().map(|info| wire::document::render(&collection, info)).collect();
        Ok(Response::new(ListDocumentsResponse { documents, next_page_token }))
    }

    async fn delete_document(
        &self,
        request: Request<DeleteDocumentRequest>,
    ) -> Result<Response<DeleteDocumentResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Ingest)?;
        let DeleteDocumentRequest { collection, document_id } = request.get_ref();
        let address = wire::document::address(collection, document_id).or_status()?;
        let partition = self.partition(&call.ctx, &tenant, &address).await?;
        let generation = partition.delete(&call.ctx, &address.id).await.or_status()?.0;
        let erasure_id = partition.erased(&address.id).to_string();
        Ok(Response::new(DeleteDocumentResponse { generation, erasure_id }))
    }

    async fn verify_erasure(
        &self,
        request: Request<VerifyErasureRequest>,
    ) -> Result<Response<VerifyErasureResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let by = auth::identity(&self.0.engine, request.metadata())?;
        if let Identity::Tenant(tenant) = &by
            && !tenant.may(Scope::Ingest)
        {
            return Err(scope_missing(Scope::Ingest));
        }
        let erased = match wire::erasure::request(request.into_inner()).or_status()? {
            Asked::Id(erased) => erased,
            Asked::Document(Address { collection, id }) => {
                self.0.engine.erased_document(&by, &collection, &id).or_status()?
            }
        };
        let erasure = self.0.engine.verify_erasure(&call.ctx, &by, erased).await.or_status()?;
        Ok(Response::new(wire::erasure::render(&erasure)))
    }

    async fn resolve_citation(
        &self,
        request: Request<ResolveCitationRequest>,
    ) -> Result<Response<ResolveCitationResponse>, Status> {
        let call = Call::start(&self.0.clock, request.metadata());
        let tenant = auth::tenant(&self.0.engine, request.metadata(), Scope::Search)?;
        let (collection, cited) = wire::citation::request(request.into_inner()).or_status()?;
        let partition = self.0.engine.partition(&call.ctx, &tenant, &collection).await.or_status()?;
        let resolved = self.0.pool.run(&call.ctx, move || partition.resolve(&cited)).await.or_status()?.or_status()?;
        Ok(Response::new(wire::citation::render(resolved)))
    }
}

impl Documents {
    async fn partition(&self, ctx: &Ctx, tenant: &TenantId, address: &Address) -> Result<Partition, Status> {
        self.0.engine.partition(ctx, tenant, &address.collection).await.or_status()
    }
}

async fn put(
    house: &House,
    ctx: &Ctx,
    tenant: &TenantId,
    address: Address,
    header: DocumentHeader,
    content: Bytes,
) -> Result<PutResult, Status> {
    let partition = house.engine.partition(ctx, tenant, &address.collection).await.or_status()?;
    let id = address.id.clone();
    let bytes = content.len() + header.encoded_len();
    let parse = move || wire::document::put(address, header, content);
    let put = house.pool.run_on_bytes(ctx, bytes, parse).await.or_status()?.or_status()?;
    let ack = partition.put(ctx, put).await.or_status()?;
    Ok(wire::document::render_ack(&id, ack))
}

/// Puts one document of a stream, within the stream's time. The key is looked at anew: it may be revoked meanwhile.
/// Uploads of one document in one stream are put one after the other, in the order of their commits.
#[derive(Default)]
struct Order(HashMap<Address, Turn>);

type Turn = Shared<oneshot::Receiver<()>>;

impl Order {
    /// What ends when the upload before this one of the same document is done, and what to drop when this one is.
    fn turn(&mut self, upload: &Result<Result<Upload, Status>, Status>) -> (Turn, Option<oneshot::Sender<()>>) {
        let (done, after) = oneshot::channel();
        let after = after.shared();
        let Ok(Ok(upload)) = upload else {
            drop(done);
            return (after, None);
        };
        if self.0.len() >= 2 * DOCUMENTS_CREDIT as usize {
            self.0.retain(|_, turn| turn.peek().is_none());
        }
        let before = self.0.insert(upload.address.clone(), after.clone());
        (before.unwrap_or_else(|| oneshot::channel().1.shared()), Some(done))
    }
}

async fn put_upload(
    house: Arc<House>,
    metadata: Arc<MetadataMap>,
    stream: Ctx,
    upload: Result<Result<Upload, Status>, Status>,
) -> Result<Result<PutResult, Status>, Status> {
    let upload = match upload? {
        Ok(upload) => upload,
        Err(refused) => return Ok(Err(refused)),
    };
    let tenant = match auth::tenant(&house.engine, &metadata, Scope::Ingest) {
        Ok(tenant) => tenant,
        Err(refused) => return Ok(Err(refused)),
    };
    let call = Call::within(&house.clock, stream.left());
    let Upload { address, header, content, room } = upload;
    let result = put(&house, &call.ctx, &tenant, address, header, content).await;
    drop(room);
    Ok(result)
}

/// Numbers the outcomes; the first ack only gives credit.
fn acks(
    outcomes: BoxStream<'static, Result<Result<PutResult, Status>, Status>>,
) -> BoxStream<'static, Result<IngestResponse, Status>> {
    let ack = |ordinal, outcome| IngestResponse { ordinal, outcome, documents_credit: DOCUMENTS_CREDIT };
    let numbered = stream::iter(1..).zip(outcomes).map(move |(ordinal, outcome)| {
        let outcome = match outcome? {
            Ok(result) => Outcome::Result(result),
            Err(refused) => Outcome::Error(to_rpc(&refused)),
        };
        Ok(ack(ordinal, Some(outcome)))
    });
    stream::once(async move { Ok(ack(0, None)) }).chain(numbered).boxed()
}

/// The bytes from `start` to `end`, or to the text's end, as messages; the first one carries the document.
fn pieces(
    document: Document,
    text: Bytes,
    start: u64,
    end: Option<u64>,
) -> Result<BoxStream<'static, Result<GetDocumentResponse, Status>>, Status> {
    let length = text.len();
    let Some(start) = usize::try_from(start).ok().filter(|start| *start <= length) else {
        return Err(out_of_range("start_byte", &format!("is {start}, the document has {length} bytes")));
    };
    let end = end.and_then(|end| usize::try_from(end).ok()).map_or(length, |end| end.min(length));
    let piece = move |from: usize| GetDocumentResponse {
        document: None,
        start_byte: from as u64,
        content: text.slice(from..end.min(from + PIECE_BYTES)),
    };
    let first = GetDocumentResponse { document: Some(document), ..piece(start) };
    let rest = (start + PIECE_BYTES..end).step_by(PIECE_BYTES).map(piece);
    Ok(stream::iter(std::iter::once(first).chain(rest).map(Ok)).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use tonic::Code;

    fn read(length: usize, start: u64, end: Option<u64>) -> Result<Vec<(u64, usize)>, Code> {
        let text = Bytes::from(vec![b'a'; length]);
        let stream = pieces(Document::default(), text, start, end).map_err(|status| status.code())?;
        let messages: Vec<GetDocumentResponse> = block_on(stream.map(Result::unwrap).collect());
        assert!(messages[0].document.is_some() && messages[1..].iter().all(|message| message.document.is_none()));
        Ok(messages.iter().map(|message| (message.start_byte, message.content.len())).collect())
    }

    #[test]
    fn a_text_comes_in_pieces_from_first_to_last_byte() {
        assert_eq!(read(PIECE_BYTES * 2 + 1, 0, None).unwrap(), [(0, 65_536), (65_536, 65_536), (131_072, 1)]);
        assert_eq!(read(PIECE_BYTES, 0, None).unwrap(), [(0, 65_536)]);
        assert_eq!(read(10, 3, Some(5)).unwrap(), [(3, 2)]);
        assert_eq!(read(10, 10, None).unwrap(), [(10, 0)]);
        assert_eq!(read(10, 3, Some(100)).unwrap(), [(3, 7)]);
        assert_eq!(read(10, 11, None), Err(Code::OutOfRange));
    }

    #[test]
    fn acks_are_numbered_and_a_refusal_does_not_end_them() {
        let outcomes = vec![
            Ok(Ok(PutResult::default())),
            Ok(Err(Status::invalid_argument("no"))),
            Ok(Ok(PutResult::default())),
            Err(Status::aborted("end")),
        ];
        let sent: Vec<_> = block_on(acks(stream::iter(outcomes).boxed()).collect());
        let ordinals: Vec<Option<u64>> = sent.iter().map(|ack| ack.as_ref().ok().map(|ack| ack.ordinal)).collect();
        assert_eq!(ordinals, [Some(0), Some(1), Some(2), Some(3), None]);
        assert!(matches!(sent[2].as_ref().unwrap().outcome, Some(Outcome::Error(ref error)) if error.code == 3));
    }
}
