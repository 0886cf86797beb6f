//! A connection: to the server that runs, or to one started for the command.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use super::Global;
use crate::config::Config;
use crate::house::Parts;
use crate::proto::answer_service_client::AnswerServiceClient;
use crate::proto::collection_service_client::CollectionServiceClient;
use crate::proto::document_service_client::DocumentServiceClient;
use crate::proto::key_service_client::KeyServiceClient;
use crate::proto::operations_service_client::OperationsServiceClient;
use crate::proto::search_service_client::SearchServiceClient;
use crate::proto::tenant_service_client::TenantServiceClient;
use crate::server::{Running, Server};

/// The largest reply: a list of hits with their texts.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Shows a key with every request.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Service = InterceptedService<Channel, Bearer>;

/// Clients of one server with one key.
pub(super) struct Session {
    channel: Channel,
    bearer: Bearer,
    /// The server that was started for this command.
    server: Option<Running>,
}

/// Whose key a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// A tenant's.
    Tenant,
    /// The operator's.
    Operator,
}

impl Session {
    /// Connects to the server that runs; if none does and none was named, opens the data folder for this command.
    pub(super) async fn open(global: &Global, who: As) -> anyhow::Result<Session> {
        let config = global.config()?;
        let address = global.server.clone().unwrap_or_else(|| format!("http://{}", config.server.listen));
        let (channel, server) = match connect(&address).await {
            Ok(channel) => (channel, None),
            Err(error) if global.server.is_some() => return Err(error),
            Err(_) => {
                let mut own = config.clone();
                // Any free port: this server is for one command.
                own.server.listen.set_port(0);
                let server = start(&own).await?;
                (connect(&format!("http://{}", server.address())).await?, Some(server))
            }
        };
        let key = read_key(global, &config.data_dir, who)?;
        Ok(Session { channel, bearer: bearer(&key)?, server })
    }

    /// Clients of a server that was started here, with a key.
    pub(super) async fn of(server: &Running, key: &str) -> anyhow::Result<Session> {
        Session::at(&format!("http://{}", server.address()), key).await
    }

    /// Clients of the server at `address`, with a key.
    pub(super) async fn at(address: &str, key: &str) -> anyhow::Result<Session> {
        Ok(Session { channel: connect(address).await?, bearer: bearer(key)?, server: None })
    }

    /// The same server with another key.
    pub(super) fn with_key(&self, key: &str) -> anyhow::Result<Session> {
        Ok(Session { channel: self.channel.clone(), bearer: bearer(key)?, server: None })
    }

    fn service(&self) -> Service {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    pub(super) fn tenants(&self) -> TenantServiceClient<Service> {
        TenantServiceClient::new(self.service())
    }

    pub(super) fn operations(&self) -> OperationsServiceClient<Service> {
        OperationsServiceClient::new(self.service())
    }

    pub(super) fn keys(&self) -> KeyServiceClient<Service> {
        KeyServiceClient::new(self.service())
    }

    pub(super) fn collections(&self) -> CollectionServiceClient<Service> {
        CollectionServiceClient::new(self.service())
    }

    pub(super) fn documents(&self) -> DocumentServiceClient<Service> {
        DocumentServiceClient::new(self.service()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub(super) fn search(&self) -> SearchServiceClient<Service> {
        SearchServiceClient::new(self.service()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub(super) fn answers(&self) -> AnswerServiceClient<Service> {
        AnswerServiceClient::new(self.service()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Ends the server that was started for this command, so that its folder is closed cleanly.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        let Session { channel, server, .. } = self;
        drop(channel);
        match server {
            Some(server) => Ok(server.shutdown().await?),
            None => Ok(()),
        }
    }
}

/// A server of this process.
pub(super) async fn start(config: &Config) -> anyhow::Result<Running> {
    let parts = Parts::of_this_machine(config)?;
    Ok(Server::start(config, parts).await?)
}

async fn connect(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned()).with_context(|| format!("{address:?} is no address"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5)).http2_adaptive_window(true);
    endpoint.connect().await.with_context(|| format!("no server at {address}"))
}

fn bearer(key: &str) -> anyhow::Result<Bearer> {
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {key}").parse().context("the key has characters that no key has")?;
    value.set_sensitive(true);
    Ok(Bearer(value))
}

fn read_key(global: &Global, data_dir: &Path, who: As) -> anyhow::Result<String> {
    let file = match (&global.key_file, &global.key) {
        (Some(file), _) => file.clone(),
        (None, Some(key)) if !key.is_empty() => return Ok(key.trim().to_owned()),
        (None, _) => data_dir.join("keys").join(match who {
            As::Tenant => "default.key",
            As::Operator => "operator.key",
        }),
    };
    let key = std::fs::read_to_string(&file).with_context(|| {
        format!("read the key {}; name one with --key-file or the variable IBID_KEY", file.display())
    })?;
    if key.trim().is_empty() {
        bail!("the key file {} is empty", file.display());
    }
    Ok(key.trim().to_owned())
}

/// A refusal as a person reads it: what the server said, and which field it was about.
pub(super) fn explain(status: &Status) -> anyhow::Error {
    let fields = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let fields: Vec<String> = fields.iter().map(|field| format!("{} {}", field.field, field.description)).collect();
    let message = if fields.is_empty() { status.message().to_owned() } else { fields.join("; ") };
    anyhow::anyhow!("{message} ({:?})", status.code())
}
