//! A real server in this process, on a port of its own, in a folder of its own, with the models that come with a clone.
//!
//! A test fails when its server logged an ERROR that it did not announce.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ibid::config::{self, Config, Sources};
use ibid::first_start;
use ibid::house::Parts;
use ibid::proto::answer_service_client::AnswerServiceClient;
use ibid::proto::collection_service_client::CollectionServiceClient;
use ibid::proto::document_service_client::DocumentServiceClient;
use ibid::proto::key_service_client::KeyServiceClient;
use ibid::proto::operations_service_client::OperationsServiceClient;
use ibid::proto::search_service_client::SearchServiceClient;
use ibid::proto::tenant_service_client::TenantServiceClient;
use ibid::proto::{
    CreateCollectionRequest, CreateKeyRequest, CreateTenantRequest, DocumentHeader, GetDocumentRequest,
    GetDocumentResponse, Hit, PutDocumentRequest, PutResult, Scope, SearchRequest, Stage,
};
use ibid::server::{Running, Server};
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// ERROR lines that no test has looked at, and what tests said would come.
#[derive(Default)]
struct Log {
    errors: Mutex<Vec<String>>,
    announced: Mutex<Vec<&'static str>>,
}

static LOG: OnceLock<Log> = OnceLock::new();
static PARTS: OnceLock<Parts> = OnceLock::new();

struct Collect;

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        log().errors.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

fn log() -> &'static Log {
    let mut first = false;
    let log = LOG.get_or_init(|| {
        first = true;
        Log::default()
    });
    if first {
        tracing_subscriber::registry().with(Collect).init();
    }
    log
}

/// The server of this test will log an ERROR with this text.
pub(crate) fn announce(text: &'static str) {
    log().announced.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

/// A running server and its folder.
pub(crate) struct TestServer {
    running: Option<Running>,
    folder: TempDir,
}

impl TestServer {
    /// A server in a new folder.
    pub(crate) async fn start() -> TestServer {
        TestServer::start_in(tempfile::tempdir().unwrap()).await
    }

    /// A server in a new folder, configured by a file with this text.
    pub(crate) async fn start_with(file: &str) -> TestServer {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(config::FILE), file).unwrap();
        TestServer::start_in(folder).await
    }

    /// A server in a new folder, of this machine's parts as `change` leaves them.
    pub(crate) async fn start_of(change: impl FnOnce(Parts) -> Parts) -> TestServer {
        TestServer::start_in_of(tempfile::tempdir().unwrap(), change).await
    }

    /// A server in this folder.
    pub(crate) async fn start_in(folder: TempDir) -> TestServer {
        TestServer::start_in_of(folder, |parts| parts).await
    }

    async fn start_in_of(folder: TempDir, change: impl FnOnce(Parts) -> Parts) -> TestServer {
        log();
        let file = Some(folder.path().join(config::FILE)).filter(|file| file.exists());
        // Without a budget equal requests have equal replies, however busy the machine is.
        let budget = ("rerank.budget_ms", "0");
        let flags = [("data_dir", folder.path().to_str().unwrap()), ("server.listen", "127.0.0.1:0"), budget];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let config = Config::load(&Sources { file: file.clone(), environment: Default::default(), flags }).unwrap();
        let parts = || Parts::of_this_machine(&config).unwrap();
        let parts = if file.is_none() { PARTS.get_or_init(parts).clone() } else { parts() };
        let running = Server::start(&config, change(parts)).await.unwrap();
        TestServer { running: Some(running), folder }
    }

    /// The same folder in a server that was shut down and started again.
    pub(crate) async fn restart(self) -> TestServer {
        self.restart_after(|_| {}).await
    }

    /// [`TestServer::restart`], with something done to the folder while the server is down.
    pub(crate) async fn restart_after(mut self, meanwhile: impl FnOnce(&Path)) -> TestServer {
        let running = self.running.take().unwrap();
        running.shutdown().await.unwrap();
        meanwhile(self.folder.path());
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        TestServer::start_in(folder).await
    }

    pub(crate) async fn stop(mut self) {
        let running = self.running.take().unwrap();
        running.shutdown().await.unwrap();
    }

    /// Whether an ERROR with this text was logged.
    pub(crate) fn logged(&self, text: &str) -> bool {
        log().errors.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|line| line.contains(text))
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address()
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(self.address()).await
    }

    /// A client that shows `key`.
    pub(crate) async fn client(&self, key: &str) -> Client {
        Client::of(self.address(), key).await
    }

    /// The operator.
    pub(crate) async fn operator(&self) -> Client {
        let key = std::fs::read_to_string(first_start::operator_key(&self.data_dir())).unwrap();
        self.client(key.trim()).await
    }

    /// A new tenant with a collection `default`: a client with a key of these scopes that reads all, and the key's id.
    pub(crate) async fn tenant(&self, name: &str, scopes: &[Scope]) -> (Client, String) {
        let operator = self.operator().await;
        operator.tenants().create_tenant(CreateTenantRequest { name: name.to_owned() }).await.unwrap();
        let request = |scopes: &[Scope]| CreateKeyRequest {
            tenant: name.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).into()).collect(),
            reads_all: true,
            ..Default::default()
        };
        let admin = operator.keys().create_key(request(&[Scope::Admin])).await.unwrap().into_inner();
        let collection = CreateCollectionRequest { name: first_start::DEFAULT.to_owned(), settings: None };
        self.client(&admin.secret).await.collections().create_collection(collection).await.unwrap();
        let made = operator.keys().create_key(request(scopes)).await.unwrap().into_inner();
        (self.client(&made.secret).await, made.key.unwrap().id)
    }

    /// A client of a tenant that is there, with a new key of these scopes that reads all.
    pub(crate) async fn again(&self, name: &str, scopes: &[Scope]) -> Client {
        let request = CreateKeyRequest {
            tenant: name.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).into()).collect(),
            reads_all: true,
            ..Default::default()
        };
        let made = self.operator().await.keys().create_key(request).await.unwrap().into_inner();
        self.client(&made.secret).await
    }

    /// The tenant of the first start.
    pub(crate) async fn default_tenant(&self) -> Client {
        let key = std::fs::read_to_string(first_start::default_key(&self.data_dir())).unwrap();
        self.client(key.trim()).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let mut errors = log().errors.lock().unwrap_or_else(PoisonError::into_inner);
        let announced = log().announced.lock().unwrap_or_else(PoisonError::into_inner);
        let is_announced = |line: &mut String| announced.iter().any(|text| line.contains(text));
        let unexpected: Vec<String> = errors.extract_if(.., |line| !is_announced(line)).collect();
        if !unexpected.is_empty() && !std::thread::panicking() {
            panic!("the server logged errors that no test announced:\n{}", unexpected.join("\n"));
        }
    }
}

async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Shows a key with every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<tonic::metadata::Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Keyed = InterceptedService<Channel, Bearer>;

/// The generated clients, with one key.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    bearer: Bearer,
}

impl Client {
    /// A client of the server at `address` that shows `key`.
    pub(crate) async fn of(address: SocketAddr, key: &str) -> Client {
        Client { channel: connect(address).await, bearer: Bearer(format!("Bearer {key}").parse().unwrap()) }
    }

    fn keyed(&self) -> Keyed {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    pub(crate) fn tenants(&self) -> TenantServiceClient<Keyed> {
        TenantServiceClient::new(self.keyed())
    }

    pub(crate) fn operations(&self) -> OperationsServiceClient<Keyed> {
        OperationsServiceClient::new(self.keyed())
    }

    pub(crate) fn keys(&self) -> KeyServiceClient<Keyed> {
        KeyServiceClient::new(self.keyed())
    }

    pub(crate) fn collections(&self) -> CollectionServiceClient<Keyed> {
        CollectionServiceClient::new(self.keyed())
    }

    pub(crate) fn documents(&self) -> DocumentServiceClient<Keyed> {
        DocumentServiceClient::new(self.keyed())
    }

    pub(crate) fn searches(&self) -> SearchServiceClient<Keyed> {
        SearchServiceClient::new(self.keyed())
    }

    pub(crate) fn answers(&self) -> AnswerServiceClient<Keyed> {
        AnswerServiceClient::new(self.keyed())
    }

    /// Puts a document into the collection `default` and waits until it is complete.
    pub(crate) async fn put(&self, document_id: &str, content: &str) -> Result<PutResult, Status> {
        let header = DocumentHeader { wait_for: Stage::Vector.into(), ..header(document_id) };
        let request = PutDocumentRequest { header: Some(header), content: content.to_owned().into() };
        Ok(self.documents().put_document(request).await?.into_inner().result.unwrap())
    }

    /// The hits of a search over all collections with default settings.
    pub(crate) async fn search(&self, question: &str) -> Result<Vec<Hit>, Status> {
        let request = SearchRequest { question: question.to_owned().into(), ..Default::default() };
        Ok(self.searches().search(request).await?.into_inner().hits)
    }

    /// A document of the collection `default`, all messages put together.
    pub(crate) async fn get(&self, document_id: &str) -> Result<(GetDocumentResponse, Vec<u8>), Status> {
        let request = GetDocumentRequest {
            collection: first_start::DEFAULT.to_owned(),
            document_id: document_id.to_owned(),
            ..Default::default()
        };
        let mut stream = self.documents().get_document(request).await?.into_inner();
        let first = stream.message().await?.expect("at least one message");
        let mut content = first.content.to_vec();
        while let Some(message) = stream.message().await? {
            content.extend_from_slice(&message.content);
        }
        Ok((first, content))
    }
}

/// A header for the collection `default`.
pub(crate) fn header(document_id: &str) -> DocumentHeader {
    DocumentHeader {
        collection: first_start::DEFAULT.to_owned(),
        document_id: document_id.to_owned(),
        ..Default::default()
    }
}

/// Why a call was refused: the stable reason.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The fields that a call was refused for.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|refused| refused.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
