//! Tenants and keys.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::Global;
use super::session::{As, Session, explain};
use super::terminal::{bold, plain, print_table};
use crate::proto;

/// Create, list, show and delete tenants.
#[derive(Debug, Subcommand)]
pub(super) enum Tenants {
    /// Create a tenant
    Create {
        /// Its name
        name: String,
    },
    /// List all tenants
    List,
    /// Show how far documents are: stored, found by words, found by meaning
    Status {
        /// The tenant [default: all of them]
        tenant: Option<String>,
    },
    /// Delete a tenant with everything it has
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Make, list and revoke keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a key and show it, once
    Create {
        /// The tenant
        tenant: String,
        /// What it may be used for; given several times for several [default: ingest, search and answer]
        #[arg(long, value_enum)]
        scope: Vec<KeyScope>,
        /// Whose documents it reads; given several times for several [default: every document]
        #[arg(long, value_name = "PRINCIPAL")]
        principal: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List a tenant's keys; without a tenant the operators'
    List {
        /// The tenant
        #[arg(default_value = "")]
        tenant: String,
    },
    /// Withdraw a key
    Revoke {
        /// Its id: 16 hexadecimal digits
        id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum KeyScope {
    Ingest,
    Search,
    Answer,
    Admin,
}

impl From<KeyScope> for proto::Scope {
    fn from(scope: KeyScope) -> proto::Scope {
        match scope {
            KeyScope::Ingest => proto::Scope::Ingest,
            KeyScope::Search => proto::Scope::Search,
            KeyScope::Answer => proto::Scope::Answer,
            KeyScope::Admin => proto::Scope::Admin,
        }
    }
}

impl Tenants {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let session = Session::open(global, As::Operator).await?;
        let done = self.call(&session, global.json).await;
        session.close().await?;
        done
    }

    async fn call(self, session: &Session, json: bool) -> anyhow::Result<()> {
        let mut tenants = session.tenants();
        match self {
            Tenants::Create { name } => {
                let request = proto::CreateTenantRequest { name: name.clone() };
                tenants.create_tenant(request).await.map_err(|status| explain(&status))?;
                println!("created {}; make it a key: ibid keys create {0}", bold(plain(&name)));
            }
            Tenants::List => names(session).await?.iter().for_each(|name| println!("{name}")),
            Tenants::Status { tenant } => {
                let names = match tenant {
                    Some(name) => vec![name],
                    None => names(session).await?,
                };
                let mut statuses = Vec::new();
                for name in names {
                    let request = proto::GetTenantRequest { name };
                    let reply = tenants.get_tenant(request).await.map_err(|status| explain(&status))?;
                    statuses.push(reply.into_inner().tenant.unwrap_or_default());
                }
                show_status(&statuses, json);
            }
            Tenants::Delete { name, yes } => {
                anyhow::ensure!(yes, "this deletes everything that {name} has; say --yes if you mean it");
                let request = proto::DeleteTenantRequest { name: name.clone() };
                let deleted = tenants.delete_tenant(request).await.map_err(|status| explain(&status))?.into_inner();
                let erasure = plain(&deleted.erasure_id);
                println!("deleted {}; whether its bytes are gone: ibid erasure {erasure}", plain(&name));
            }
        }
        Ok(())
    }
}

impl Keys {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let session = Session::open(global, As::Operator).await?;
        let done = self.call(&session).await;
        session.close().await?;
        done
    }

    async fn call(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Keys::Create { tenant, scope, principal, label } => {
                let usual = [KeyScope::Ingest, KeyScope::Search, KeyScope::Answer];
                let scopes = if scope.is_empty() { usual.to_vec() } else { scope };
                let secret = create(session, &tenant, &scopes, principal, &label).await?;
                println!("{secret}");
                eprintln!("keep it: it cannot be shown again");
            }
            Keys::List { tenant } => {
                let reply = session.keys().list_keys(proto::ListKeysRequest { tenant }).await;
                for key in reply.map_err(|status| explain(&status))?.into_inner().keys {
                    let scopes: Vec<String> =
                        key.scopes().map(|scope| scope.as_str_name()["SCOPE_".len()..].to_lowercase()).collect();
                    let reads = if key.reads_all {
                        "everything".to_owned()
                    } else {
                        format!("as {}", key.principals.join(","))
                    };
                    let state = if key.revoked { "revoked" } else { "active" };
                    println!(
                        "{}  {state}  {}  reads {}  {}",
                        key.id,
                        scopes.join(","),
                        plain(&reads),
                        plain(&key.label)
                    );
                }
            }
            Keys::Revoke { id } => {
                let request = proto::RevokeKeyRequest { id: id.clone() };
                session.keys().revoke_key(request).await.map_err(|status| explain(&status))?;
                println!("revoked {}", plain(&id));
            }
        }
        Ok(())
    }
}

/// The names of all tenants.
async fn names(session: &Session) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListTenantsRequest { page_size: 1_000, page_token };
        let page = session.tenants().list_tenants(request).await.map_err(|status| explain(&status))?.into_inner();
        names.extend(page.tenants.into_iter().map(|tenant| tenant.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(names);
        }
    }
}

fn show_status(tenants: &[proto::Tenant], json: bool) {
    if json {
        let status = |tenant: &proto::Tenant| {
            let ingest = tenant.ingest.unwrap_or_default();
            json!({
                "tenant": tenant.name,
                "collections": ingest.collections,
                "collections_unopened": ingest.collections_unopened,
                "documents": ingest.documents,
                "documents_pending": ingest.documents_pending,
                "documents_parked": ingest.documents_parked,
                "documents_damaged": ingest.documents_damaged,
                "chunks": ingest.chunks,
                "chunks_embedded": ingest.chunks_embedded,
            })
        };
        println!("{}", json!({ "tenants": tenants.iter().map(status).collect::<Vec<_>>() }));
        return;
    }
    let row = |tenant: &proto::Tenant| {
        let ingest = tenant.ingest.unwrap_or_default();
        let embedded = match ingest.chunks {
            0 => "-".to_owned(),
            chunks => format!("{:.1} %", 100.0 * ingest.chunks_embedded as f64 / chunks as f64),
        };
        let documents = [ingest.documents, ingest.documents_pending, ingest.documents_parked, ingest.documents_damaged];
        let counts = [ingest.collections, ingest.collections_unopened].into_iter().chain(documents);
        let counts = counts.chain([ingest.chunks, ingest.chunks_embedded]).map(|count| count.to_string());
        std::iter::once(tenant.name.clone()).chain(counts).chain([embedded]).collect()
    };
    let header = [
        "tenant",
        "collections",
        "unopened",
        "documents",
        "pending",
        "parked",
        "damaged",
        "chunks",
        "embedded",
        "share",
    ];
    print_table(&header, &tenants.iter().map(row).collect::<Vec<_>>());
}

/// Makes a key; the text to show.
pub(super) async fn create(
    session: &Session,
    tenant: &str,
    scopes: &[KeyScope],
    principals: Vec<String>,
    label: &str,
) -> anyhow::Result<String> {
    let request = proto::CreateKeyRequest {
        tenant: tenant.to_owned(),
        scopes: scopes.iter().map(|scope| proto::Scope::from(*scope).into()).collect(),
        reads_all: principals.is_empty(),
        principals,
        label: label.to_owned(),
        expires_at: None,
    };
    let reply = session.keys().create_key(request).await.map_err(|status| explain(&status))?;
    Ok(reply.into_inner().secret)
}
