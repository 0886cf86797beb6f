//! The server: every service on one port, until it is told to stop.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use ibid_engine::Opened;
use ibid_runtime::start_thread;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::util::MapResponseLayer;

use crate::config::{Config, Tls};
use crate::first_start::{self, FirstStartError};
use crate::grpc::answer::Answer;
use crate::grpc::collections::Collections;
use crate::grpc::documents::Documents;
use crate::grpc::keys::Keys;
use crate::grpc::operations::Operations;
use crate::grpc::search::Search;
use crate::grpc::tenants::Tenants;
use crate::house::{House, HouseError, Parts};
use crate::proto;
use crate::proto::answer_service_server::AnswerServiceServer;
use crate::proto::collection_service_server::CollectionServiceServer;
use crate::proto::document_service_server::DocumentServiceServer;
use crate::proto::key_service_server::KeyServiceServer;
use crate::proto::operations_service_server::OperationsServiceServer;
use crate::proto::search_service_server::SearchServiceServer;
use crate::proto::tenant_service_server::TenantServiceServer;
use crate::wire::document::PUT_BYTES_MAX;

/// What a message may have beyond the largest document, so that one which is a little too large is told so by name.
const MESSAGE_SLACK_BYTES: usize = 1 << 20;
/// Calls of one connection at a time: beyond, HTTP/2 lets the client wait.
const STREAMS_MAX: u32 = 256;
/// A connection that says nothing is asked after this time, and closed if it does not answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long calls under way may take once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Every service of the contract, for health checks.
const SERVICES: [&str; 7] = [
    TenantServiceServer::<Tenants>::NAME,
    KeyServiceServer::<Keys>::NAME,
    CollectionServiceServer::<Collections>::NAME,
    DocumentServiceServer::<Documents>::NAME,
    SearchServiceServer::<Search>::NAME,
    AnswerServiceServer::<Answer>::NAME,
    OperationsServiceServer::<Operations>::NAME,
];

/// Why the server did not start, or how it ended. Who runs it reads this: it may name paths.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The rooms could not be joined.
    #[error(transparent)]
    House(#[from] HouseError),
    /// The first keys could not be made.
    #[error(transparent)]
    FirstStart(#[from] FirstStartError),
    /// A file of the TLS configuration cannot be read.
    #[error("read {}", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The files of the TLS configuration are no certificate and key.
    #[error("use the certificate and key of server.tls_cert and server.tls_key")]
    Tls(#[source] tonic::transport::Error),
    /// The port is taken, or not ours to take.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Serving failed.
    #[error("serve")]
    Serve(#[source] tonic::transport::Error),
    /// The thread that closes the engine was refused.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Checks everything, opens the data folder, then the port. Blocks the thread while the ledger is read.
    ///
    /// # Errors
    /// [`ServerError`]; the port is not open then.
    pub async fn start(config: &Config, parts: Parts) -> Result<Running, ServerError> {
        let mut builder = tonic::transport::Server::builder()
            .layer(MapResponseLayer::new(crate::status::invalid_if_undecodable))
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
        if let Some(tls) = &config.server.tls {
            builder = builder.tls_config(tls_config(tls)?).map_err(ServerError::Tls)?;
        }
        let (house, opened) = House::open(config, parts)?;
        if !opened.ledger.damaged.is_empty() {
            tracing::error!(places = opened.ledger.damaged.len(), "the log is damaged; `ibid fsck` says what is lost");
        }
        let house = Arc::new(house);
        if first_start::make_keys(&house, &config.data_dir).await? {
            tracing::info!(folder = %config.data_dir.join("keys").display(), "the first keys are made");
        }

        let (health, routes) = routes(&house);
        for service in SERVICES {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        let address = config.server.listen;
        let listen = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (stop, stopped) = oneshot::channel::<()>();
        // Otherwise the end of a small reply waits for the client's delayed ack, 40 ms.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serve = builder.add_routes(routes).serve_with_incoming_shutdown(incoming, async move {
            // Told to, or nobody is left who could.
            let _ = stopped.await;
        });
        tracing::info!(%address, tls = config.server.tls.is_some(), "listening");
        Ok(Running { address, house, opened, health, stop, served: tokio::spawn(serve) })
    }
}

fn tls_config(tls: &Tls) -> Result<ServerTlsConfig, ServerError> {
    let read = |path: &PathBuf| fs::read(path).map_err(|source| ServerError::TlsFile { path: path.clone(), source });
    Ok(ServerTlsConfig::new().identity(Identity::from_pem(read(&tls.cert)?, read(&tls.key)?)))
}

fn routes(house: &Arc<House>) -> (HealthReporter, Routes) {
    let house = || Arc::clone(house);
    let message_bytes_max = PUT_BYTES_MAX + MESSAGE_SLACK_BYTES;
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(health)
        .add_service(reflection().build_v1().expect("descriptors that the build wrote"))
        .add_service(reflection().build_v1alpha().expect("descriptors that the build wrote"))
        .add_service(TenantServiceServer::new(Tenants(house())))
        .add_service(KeyServiceServer::new(Keys(house())))
        .add_service(CollectionServiceServer::new(Collections(house())))
        .add_service(DocumentServiceServer::new(Documents(house())).max_decoding_message_size(message_bytes_max))
        .add_service(SearchServiceServer::new(Search(house())))
        .add_service(AnswerServiceServer::new(Answer(house())))
        .add_service(OperationsServiceServer::new(Operations(house())));
    (reporter, routes)
}

/// A server that listens. Dropping it stops it without waiting for calls under way.
pub struct Running {
    address: SocketAddr,
    house: Arc<House>,
    opened: Opened,
    health: HealthReporter,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Running {
    /// The address with the port that was opened.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server serves from.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// What opening the data folder found.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Takes no more calls, lets those under way finish for some seconds, and closes the data folder.
    ///
    /// # Errors
    /// [`ServerError`]: serving had failed, or a thread was refused.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        let Running { house, health, stop, mut served, .. } = self;
        for service in SERVICES.into_iter().chain([""]) {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
        // It may have ended by itself.
        let _ = stop.send(());
        let ended = tokio::time::timeout(DRAIN_TIMEOUT, &mut served).await;
        if ended.is_err() {
            tracing::warn!(seconds = DRAIN_TIMEOUT.as_secs(), "calls were still under way; they are cut off");
            served.abort();
        }
        let (done, closed) = oneshot::channel();
        start_thread("close", move || {
            house.engine.close();
            // The folder's lock goes with the engine: whoever opens it next need not wait.
            drop(house);
            // Whoever stops the server may have stopped waiting.
            let _ = done.send(());
        })
        .map_err(ServerError::Thread)?;
        // An error says that closing panicked: the ledger is whole all the same.
        let _ = closed.await;
        match ended {
            Ok(Ok(served)) => served.map_err(ServerError::Serve),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}
