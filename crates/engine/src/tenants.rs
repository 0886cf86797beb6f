//! Creating, listing and deleting tenants, keys and collections.

use std::sync::Arc;

use futures::channel::oneshot;
use ibid_core::{
    ApiKey, CollectionName, CollectionSettings, Identity, KeyId, KeyState, NewKey, Operator, PartitionKey, Reader,
    Scope, Scopes, TenantId, TenantKey, TenantName,
};
use ibid_ledger::Record;
use ibid_runtime::Ctx;
use tokio::sync::OwnedMutexGuard;

use crate::catalog::Catalog;
use crate::engine::Engine;
use crate::erasure::Erased;
use crate::error::{EngineError, Invalid};
use crate::intake::Commit;
use crate::partition::{CollectionInfo, IngestStatus, page};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantInfo {
    /// Its name.
    pub name: TenantName,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// What is stored.
    pub key: ApiKey,
    /// Its tenant's name; `None` for an operator's key.
    pub tenant: Option<TenantName>,
    /// Whether it was withdrawn.
    pub revoked: bool,
}

/// What a new key shall be.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    /// What it may be used for.
    pub scopes: Scopes,
    /// What it may read.
    pub reader: Reader,
    /// What it is for.
    pub label: String,
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

fn no_tenant(name: &TenantName) -> EngineError {
    EngineError::NotFound { kind: "tenant", name: name.to_string() }
}

pub(crate) fn no_collection(name: &CollectionName) -> EngineError {
    EngineError::NotFound { kind: "collection", name: name.to_string() }
}

impl Engine {
    /// Commits a change of the catalog; `turn` keeps other changes waiting until this one is applied.
    pub(crate) async fn commit(&self, record: Record, turn: OwnedMutexGuard<()>) -> Result<(), EngineError> {
        let (done, applied) = oneshot::channel();
        let pending = self.shared.ledger.append(record.clone());
        self.shared.intake(pending, Commit::Catalog { record: Box::new(record), _turn: turn, done })?;
        applied.await.unwrap_or(Err(EngineError::Closing))
    }

    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.shared.changing).lock_owned().await
    }

    pub(crate) fn catalog<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.shared.catalog())
    }

    /// Tells a tenant or collection from all that had its name before, of which nothing is remembered.
    fn incarnation(&self, tenant: u64, name: &str) -> u64 {
        let domain = [b"incarnation", &tenant.to_le_bytes()[..], name.as_bytes()].concat();
        let mut random = [0; 8];
        self.shared.parts.random.fill(&domain, &mut random);
        u64::from_le_bytes(random)
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// [`EngineError::Exists`], or the ledger failed.
    pub async fn create_tenant(&self, _by: &Operator, name: TenantName) -> Result<TenantInfo, EngineError> {
        let turn = self.turn().await;
        if self.catalog(|catalog| catalog.tenants.contains_key(&name)) {
            return Err(EngineError::Exists { kind: "tenant", name: name.to_string() });
        }
        let tenant = loop {
            let tenant = self.shared.keys.tenant(&name, self.incarnation(0, name.as_str()));
            if !self.shared.ledger.has_tenant(tenant).map_err(EngineError::of_ledger)? {
                break tenant;
            }
        };
        let created_ms = self.shared.parts.clock.unix_ms();
        self.commit(Record::TenantCreated { tenant, name: name.clone(), created_ms }, turn).await?;
        Ok(TenantInfo { name, created_ms })
    }

    /// A tenant and how far its documents are. Opens its collections.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], or the caller's time is over. A collection that cannot be opened is counted as such.
    pub async fn tenant(
        &self,
        ctx: &Ctx,
        by: &Operator,
        name: &TenantName,
    ) -> Result<(TenantInfo, IngestStatus), EngineError> {
        let found = self.catalog(|catalog| {
            let tenant = catalog.tenants.get(name)?;
            Some((tenant.created_ms, tenant.collections.keys().cloned().collect::<Vec<_>>()))
        });
        let (created_ms, collections) = found.ok_or_else(|| no_tenant(name))?;
        let right = self.enter(by, name)?;
        let mut sum = IngestStatus::default();
        for collection in &collections {
            let status = match self.partition(ctx, &right, collection).await {
                Ok(partition) => partition.state.status(),
                Err(error @ (EngineError::Stopped(_) | EngineError::Closing)) => return Err(error),
                // It was deleted meanwhile.
                Err(EngineError::NotFound { .. }) => continue,
                // Why was logged when it was tried.
                Err(_) => IngestStatus { collections_unopened: 1, ..IngestStatus::default() },
            };
            sum.collections_unopened += status.collections_unopened;
            sum.collections += status.collections;
            sum.documents += status.documents;
            sum.chunks += status.chunks;
            sum.chunks_embedded += status.chunks_embedded;
            sum.documents_pending += status.documents_pending;
            sum.documents_parked += status.documents_parked;
            sum.documents_damaged += status.documents_damaged;
        }
        Ok((TenantInfo { name: name.clone(), created_ms }, sum))
    }

    /// The tenants by name, from the one after `after`; at most `limit`.
    pub fn tenants(&self, _by: &Operator, after: Option<&TenantName>, limit: usize) -> Vec<TenantInfo> {
        let info = |(name, tenant): (&TenantName, &crate::catalog::TenantEntry)| TenantInfo {
            name: name.clone(),
            created_ms: tenant.created_ms,
        };
        self.catalog(|catalog| page(&catalog.tenants, after).take(limit).map(info).collect())
    }

    /// The right to act in a tenant with every scope.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub fn enter(&self, by: &Operator, name: &TenantName) -> Result<TenantId, EngineError> {
        let key = self.catalog(|catalog| catalog.tenants.get(name).map(|tenant| tenant.key));
        key.map(|key| by.enter(key, name.clone())).ok_or_else(|| no_tenant(name))
    }

    /// Deletes a tenant with its keys, collections and documents. By what is returned, [`Engine::verify_erasure`] says how far
    /// its bytes are gone.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], or the ledger failed.
    pub async fn delete_tenant(&self, _by: &Operator, name: &TenantName) -> Result<Erased, EngineError> {
        let turn = self.turn().await;
        let found = self.catalog(|catalog| catalog.tenants.get(name).map(|tenant| tenant.key));
        let tenant = found.ok_or_else(|| no_tenant(name))?;
        let deleted_ms = self.shared.parts.clock.unix_ms();
        self.commit(Record::TenantDeleted { tenant, deleted_ms }, turn).await?;
        Ok(Erased::tenant(tenant))
    }

    /// Makes a key: an operator for any tenant, or (`tenant` = `None`) for operators; a tenant's key with the scope Admin
    /// for its own tenant, giving at most what it has itself.
    ///
    /// # Errors
    /// [`EngineError`]: forbidden, no such tenant, a request that makes no sense, or the ledger failed.
    pub async fn create_key(
        &self,
        by: &Identity,
        tenant: Option<&TenantName>,
        request: KeyRequest,
    ) -> Result<(NewKey, KeyInfo), EngineError> {
        check_key(&request)?;
        let (owner, name) = self.owner(by, tenant)?;
        may_give(by, &request)?;
        if request.scopes.contains(&Scope::Operator) != owner.is_none() {
            let problem = "has OPERATOR, which belongs to keys without a tenant, and to all of those";
            return Err(Invalid::new("scopes", problem).into());
        }
        let turn = self.turn().await;
        let created_ms = self.shared.parts.clock.unix_ms();
        let mut random = [0; 40];
        let mut domain = b"key".to_vec();
        domain.extend(owner.map_or(0, |owner| owner.0).to_le_bytes());
        self.shared.parts.random.fill(&domain, &mut random);
        let KeyRequest { scopes, reader, label, expires_ms } = request;
        let key = NewKey::from_random(random, owner, scopes, reader, label, created_ms, expires_ms);
        self.commit(Record::KeyCreated { key: key.stored.clone() }, turn).await?;
        let info = KeyInfo { key: key.stored.clone(), tenant: name, revoked: false };
        Ok((key, info))
    }

    /// The keys of a tenant (see [`Engine::create_key`] for who may name which), oldest first.
    ///
    /// # Errors
    /// [`EngineError`]: forbidden, or no such tenant.
    pub fn keys(&self, by: &Identity, tenant: Option<&TenantName>) -> Result<Vec<KeyInfo>, EngineError> {
        let (owner, name) = self.owner(by, tenant)?;
        let info = |(key, state): (&ApiKey, &KeyState)| KeyInfo {
            key: key.clone(),
            tenant: name.clone(),
            revoked: *state == KeyState::Revoked,
        };
        Ok(self.catalog(|catalog| catalog.keyring.keys_of(owner).into_iter().map(info).collect()))
    }

    /// Withdraws a key.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] also for a key of another tenant; or forbidden, or the ledger failed.
    pub async fn revoke_key(&self, by: &Identity, id: KeyId) -> Result<(), EngineError> {
        if let Identity::Tenant(tenant) = by {
            require_admin(tenant)?;
        }
        let turn = self.turn().await;
        let found = self.catalog(|catalog| catalog.keyring.key(id).map(|(key, _)| key.tenant));
        let missing = || EngineError::NotFound { kind: "key", name: id.to_string() };
        let owner = found.ok_or_else(missing)?;
        match by {
            Identity::Operator(_) => {}
            Identity::Tenant(tenant) if owner == Some(tenant.key()) => {}
            Identity::Tenant(_) => return Err(missing()),
        }
        let revoked_ms = self.shared.parts.clock.unix_ms();
        self.commit(Record::KeyRevoked { id, revoked_ms }, turn).await
    }

    /// Whose keys are meant.
    fn owner(
        &self,
        by: &Identity,
        tenant: Option<&TenantName>,
    ) -> Result<(Option<TenantKey>, Option<TenantName>), EngineError> {
        match (by, tenant) {
            (Identity::Operator(_), None) => Ok((None, None)),
            (Identity::Operator(operator), Some(name)) => {
                Ok((Some(self.enter(operator, name)?.key()), Some(name.clone())))
            }
            (Identity::Tenant(own), name) => {
                require_admin(own)?;
                match name {
                    Some(name) if name != own.name() => Err(no_tenant(name)),
                    Some(_) | None => Ok((Some(own.key()), Some(own.name().clone()))),
                }
            }
        }
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// [`EngineError::Exists`], a model that is not loaded, or the ledger failed.
    pub async fn create_collection(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: CollectionName,
        settings: CollectionSettings,
    ) -> Result<CollectionInfo, EngineError> {
        self.check_model(&settings)?;
        let turn = self.turn().await;
        let exists = self
            .catalog(|catalog| Some(catalog.tenant_by_key(tenant.key())?.1.collections.contains_key(&name)))
            .ok_or_else(|| no_tenant(tenant.name()))?;
        if exists {
            return Err(EngineError::Exists { kind: "collection", name: name.to_string() });
        }
        let partition = loop {
            let incarnation = self.incarnation(tenant.key().0, name.as_str());
            let collection = self.shared.keys.collection(tenant.key(), &name, incarnation);
            let partition = PartitionKey { tenant: tenant.key(), collection };
            if !self.shared.ledger.has_partition(partition).map_err(EngineError::of_ledger)? {
                break partition;
            }
        };
        let created_ms = self.shared.parts.clock.unix_ms();
        let record = Record::CollectionCreated { partition, name: name.clone(), settings, created_ms };
        self.commit(record, turn).await?;
        Ok(self.partition(ctx, tenant, &name).await?.info())
    }

    /// One collection.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], or it cannot be opened.
    pub async fn collection(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
    ) -> Result<CollectionInfo, EngineError> {
        Ok(self.partition(ctx, tenant, name).await?.info())
    }

    /// The names of the tenant's collections, sorted, from the one after `after`; at most `limit`.
    pub fn collection_names(
        &self,
        tenant: &TenantId,
        after: Option<&CollectionName>,
        limit: usize,
    ) -> Vec<CollectionName> {
        self.catalog(|catalog| {
            let Some((_, entry)) = catalog.tenant_by_key(tenant.key()) else { return Vec::new() };
            page(&entry.collections, after).take(limit).map(|(name, _)| name.clone()).collect()
        })
    }

    /// Changes a collection's settings. A changed analysis rebuilds the index of words.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Unfit`] for another model; or the ledger failed.
    pub async fn update_collection(
        &self,
        ctx: &Ctx,
        tenant: &TenantId,
        name: &CollectionName,
        settings: CollectionSettings,
    ) -> Result<CollectionInfo, EngineError> {
        self.check_model(&settings)?;
        let turn = self.turn().await;
        let found = self.catalog(|catalog| {
            catalog.collection(tenant.key(), name).map(|entry| (entry.key, entry.settings.embedder.clone()))
        });
        let (partition, embedder) = found.ok_or_else(|| no_collection(name))?;
        if embedder != settings.embedder {
            return Err(EngineError::Unfit(format!(
                "collection {name} holds vectors of {embedder}; change its model with `ibid models migrate {name} --to {}`",
                settings.embedder
            )));
        }
        let state = self.partition(ctx, tenant, name).await?;
        self.commit(Record::CollectionUpdated { partition, settings: settings.clone() }, turn).await?;
        state.read_as(settings).await?;
        Ok(state.info())
    }

    /// Deletes a collection and its documents; by what is returned its erasure is verified.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], or the ledger failed.
    pub async fn delete_collection(&self, tenant: &TenantId, name: &CollectionName) -> Result<Erased, EngineError> {
        let turn = self.turn().await;
        let found = self.catalog(|catalog| catalog.collection(tenant.key(), name).map(|entry| entry.key));
        let partition = found.ok_or_else(|| no_collection(name))?;
        let deleted_ms = self.shared.parts.clock.unix_ms();
        self.commit(Record::CollectionDeleted { partition, deleted_ms }, turn).await?;
        Ok(Erased::collection(partition))
    }

    fn check_model(&self, settings: &CollectionSettings) -> Result<(), EngineError> {
        let models = &self.shared.parts.models;
        if models.get(&settings.embedder).is_some() {
            return Ok(());
        }
        let problem = format!("is {}, which this server has not loaded; it has {}", settings.embedder, models.names());
        Err(Invalid::new("settings.model", problem).into())
    }
}

fn check_key(request: &KeyRequest) -> Result<(), Invalid> {
    if request.scopes.is_empty() {
        return Err(Invalid::new("scopes", "is empty, expected at least one"));
    }
    Ok(())
}

fn require_admin(tenant: &TenantId) -> Result<(), EngineError> {
    if tenant.may(Scope::Admin) {
        Ok(())
    } else {
        Err(EngineError::Forbidden { what: "manage keys (scope ADMIN)".to_owned() })
    }
}

/// A tenant's key gives at most what it has: no scope and no principal of which it has none.
fn may_give(by: &Identity, request: &KeyRequest) -> Result<(), EngineError> {
    let Identity::Tenant(own) = by else { return Ok(()) };
    if let Some(scope) = request.scopes.iter().find(|scope| !own.may(**scope)) {
        return Err(EngineError::Forbidden { what: format!("give the scope {scope:?}, which it has not itself") });
    }
    let narrower = match (own.reader(), &request.reader) {
        (Reader::All, Reader::All | Reader::As(_)) => true,
        (Reader::As(_), Reader::All) => false,
        (Reader::As(own), Reader::As(given)) => given.is_subset(own),
    };
    if narrower {
        Ok(())
    } else {
        Err(EngineError::Forbidden { what: "give principals that it has not itself".to_owned() })
    }
}
