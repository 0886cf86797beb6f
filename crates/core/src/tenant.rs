//! Rights: who may do what, decided once, from a credential.
//!
//! A key is shown as `ibid_<16 hexadecimal digits>_<64 hexadecimal digits>`: its id and its secret. Only a hash of the
//! secret is kept.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Principal, Readers, TenantKey, TenantName};

/// A key's id: public, shown in lists and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub u64);

impl KeyId {
    /// Reads 16 hexadecimal digits. `None` for anything else.
    pub fn parse(text: &str) -> Option<KeyId> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(KeyId)).flatten()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Put, replace and delete documents.
    Ingest,
    /// Search and read documents.
    Search,
    /// Ask for answers.
    Answer,
    /// Manage the tenant's collections and keys.
    Admin,
    /// Manage tenants. A key with this scope belongs to no tenant.
    Operator,
}

/// A set of scopes.
pub type Scopes = BTreeSet<Scope>;

/// Which documents of its tenant a key may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reader {
    /// Every one: a key of the tenant's own services.
    All,
    /// Those that are open to the tenant, and those that name one of these principals.
    As(BTreeSet<Principal>),
}

impl Reader {
    /// Whether this reader may read a document with these `readers`.
    pub fn may_read(&self, readers: &Readers) -> bool {
        match self {
            Reader::All => true,
            Reader::As(own) => readers.is_open() || readers.principals().intersection(own).next().is_some(),
        }
    }
}

/// What was shown to the server in place of a password. Not printable.
#[derive(Clone)]
pub struct Credential(String);

impl Credential {
    /// What a client sent.
    pub fn new(shown: impl Into<String>) -> Credential {
        Credential(shown.into())
    }

    fn parts(&self) -> Option<(KeyId, [u8; 32])> {
        let (id, secret) = self.0.trim().strip_prefix("ibid_")?.split_once('_')?;
        if secret.len() != 64 {
            return None;
        }
        Some((KeyId::parse(id)?, blake3::hash(secret.as_bytes()).into()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// A key as it is stored: the hash of its secret, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// BLAKE3 of the secret's digits.
    pub secret_hash: [u8; 32],
    /// Its tenant; `None` for an operator's key.
    pub tenant: Option<TenantKey>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// What it may read.
    pub reader: Reader,
    /// What it is for, in its owner's words.
    pub label: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it ends, milliseconds since the Unix epoch; `None` for never.
    pub expires_ms: Option<u64>,
}

/// A key that was just made, with the one text that shows its secret.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What is stored.
    pub stored: ApiKey,
    /// What the client shows: seen once.
    pub shown: Credential,
}

impl NewKey {
    /// Makes a key from 40 random bytes.
    pub fn from_random(
        random: [u8; 40],
        tenant: Option<TenantKey>,
        scopes: Scopes,
        reader: Reader,
        label: String,
        created_ms: u64,
        expires_ms: Option<u64>,
    ) -> NewKey {
        let (id, secret) = random.split_at(8);
        let id = KeyId(u64::from_le_bytes(id.try_into().expect("split at eight")));
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let secret_hash = blake3::hash(secret.as_bytes()).into();
        let stored = ApiKey { id, secret_hash, tenant, scopes, reader, label, created_ms, expires_ms };
        NewKey { stored, shown: Credential(format!("ibid_{id}_{secret}")) }
    }
}

impl Credential {
    /// The credential itself, for the one reply or file that hands it over.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Why a credential gave no right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// None was shown.
    #[error("no credential; send `authorization: Bearer ibid_...`")]
    Missing,
    /// Not a key of this server.
    #[error("unknown credential")]
    Unknown,
    /// The key was withdrawn.
    #[error("the key was revoked")]
    Revoked,
    /// The key's time is over.
    #[error("the key has expired")]
    Expired,
    /// The key's tenant is gone.
    #[error("the key's tenant was deleted")]
    TenantDeleted,
}

/// The right to act in one tenant, with a key's scopes and principals. [`Keyring::authenticate`] makes it from a
/// credential, an [`Operator`] for work of its own; nothing else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantId {
    key: TenantKey,
    name: TenantName,
    scopes: Arc<Scopes>,
    reader: Arc<Reader>,
    shown: Option<KeyId>,
}

impl TenantId {
    /// The tenant, as the store knows it.
    pub fn key(&self) -> TenantKey {
        self.key
    }

    /// The tenant's name.
    pub fn name(&self) -> &TenantName {
        &self.name
    }

    /// Whether the key may be used for `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Which documents the key may read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The key that was shown; `None` for an operator's own work.
    pub fn shown(&self) -> Option<KeyId> {
        self.shown
    }
}

/// The right to manage tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(());

impl Operator {
    /// The right of whoever runs the process on the data folder: the command line and tests. Never given to a client.
    pub fn of_this_process() -> Operator {
        Operator(())
    }

    /// The right to act in a tenant with every scope, reading everything.
    pub fn enter(&self, key: TenantKey, name: TenantName) -> TenantId {
        let scopes = Scopes::from([Scope::Ingest, Scope::Search, Scope::Answer, Scope::Admin]);
        TenantId { key, name, scopes: Arc::new(scopes), reader: Arc::new(Reader::All), shown: None }
    }
}

/// Whom a credential belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A tenant's key.
    Tenant(TenantId),
    /// An operator's key.
    Operator(Operator),
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// It may be used.
    Active,
    /// It was withdrawn.
    Revoked,
}

/// All keys and the tenants they belong to: pure data, replaced or changed by its owner.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: HashMap<KeyId, (ApiKey, KeyState)>,
    tenants: HashMap<TenantKey, TenantName>,
}

impl Keyring {
    /// Adds a tenant whose keys may be used from now on.
    pub fn add_tenant(&mut self, key: TenantKey, name: TenantName) {
        self.tenants.insert(key, name);
    }

    /// Takes a tenant away; its keys give no right any more.
    pub fn remove_tenant(&mut self, key: TenantKey) {
        self.tenants.remove(&key);
    }

    /// Adds a key.
    pub fn add_key(&mut self, key: ApiKey) {
        self.keys.insert(key.id, (key, KeyState::Active));
    }

    /// Withdraws a key. `false` if there is none.
    pub fn revoke(&mut self, id: KeyId) -> bool {
        self.keys.get_mut(&id).map(|(_, state)| *state = KeyState::Revoked).is_some()
    }

    /// A key by its id.
    pub fn key(&self, id: KeyId) -> Option<(&ApiKey, &KeyState)> {
        self.keys.get(&id).map(|(key, state)| (key, state))
    }

    /// The keys of one tenant (`None`: the operators'), oldest first.
    pub fn keys_of(&self, tenant: Option<TenantKey>) -> Vec<(&ApiKey, &KeyState)> {
        let mut keys: Vec<_> =
            self.keys.values().filter(|(key, _)| key.tenant == tenant).map(|(key, state)| (key, state)).collect();
        keys.sort_by_key(|(key, _)| (key.created_ms, key.id));
        keys
    }

    /// Whom a credential belongs to, at `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`AuthError`]. That a key was revoked, has expired or lost its tenant is said only to who knows its secret.
    pub fn authenticate(&self, shown: &Credential, now_ms: u64) -> Result<Identity, AuthError> {
        let (id, secret_hash) = shown.parts().ok_or(AuthError::Unknown)?;
        let (key, state) = self.keys.get(&id).ok_or(AuthError::Unknown)?;
        // blake3::Hash compares in constant time.
        if blake3::Hash::from_bytes(key.secret_hash) != blake3::Hash::from_bytes(secret_hash) {
            return Err(AuthError::Unknown);
        }
        if *state == KeyState::Revoked {
            return Err(AuthError::Revoked);
        }
        if key.expires_ms.is_some_and(|end| end <= now_ms) {
            return Err(AuthError::Expired);
        }
        let Some(tenant) = key.tenant else {
            return if key.scopes.contains(&Scope::Operator) {
                Ok(Identity::Operator(Operator(())))
            } else {
                Err(AuthError::Unknown)
            };
        };
        let name = self.tenants.get(&tenant).ok_or(AuthError::TenantDeleted)?;
        Ok(Identity::Tenant(TenantId {
            key: tenant,
            name: name.clone(),
            scopes: Arc::new(key.scopes.clone()),
            reader: Arc::new(key.reader.clone()),
            shown: Some(id),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant_key(random: u8, expires_ms: Option<u64>) -> NewKey {
        let reader = Reader::As(BTreeSet::from(["support".to_owned()]));
        NewKey::from_random(
            [random; 40],
            Some(TenantKey(1)),
            Scopes::from([Scope::Search]),
            reader,
            String::new(),
            5,
            expires_ms,
        )
    }

    #[test]
    fn a_credential_gives_its_tenant_and_nothing_after_revocation_expiry_or_deletion() {
        let mut keyring = Keyring::default();
        keyring.add_tenant(TenantKey(1), TenantName::new("acme").unwrap());
        let (key, ends) = (tenant_key(1, None), tenant_key(2, Some(10)));
        keyring.add_key(key.stored.clone());
        keyring.add_key(ends.stored.clone());

        let Ok(Identity::Tenant(tenant)) = keyring.authenticate(&key.shown, 9) else { panic!("expected a tenant") };
        assert_eq!((tenant.key(), tenant.may(Scope::Search), tenant.may(Scope::Ingest)), (TenantKey(1), true, false));
        assert!(keyring.authenticate(&ends.shown, 9).is_ok());
        assert_eq!(keyring.authenticate(&ends.shown, 10), Err(AuthError::Expired));

        let mut forged = key.shown.reveal().to_owned();
        forged.replace_range(forged.len() - 1.., "0");
        assert_eq!(keyring.authenticate(&Credential::new(forged), 0), Err(AuthError::Unknown));
        assert_eq!(keyring.authenticate(&Credential::new("ibid_é"), 0), Err(AuthError::Unknown));

        keyring.revoke(key.stored.id);
        assert_eq!(keyring.authenticate(&key.shown, 0), Err(AuthError::Revoked));
        keyring.remove_tenant(TenantKey(1));
        assert_eq!(keyring.authenticate(&ends.shown, 0), Err(AuthError::TenantDeleted));
    }

    #[test]
    fn principals_meet_or_the_document_is_open() {
        let reader = Reader::As(BTreeSet::from(["support".to_owned()]));
        assert!(reader.may_read(&Readers::default()));
        assert!(reader.may_read(&Readers::of(["support".to_owned(), "legal".to_owned()])));
        assert!(!reader.may_read(&Readers::of(["legal".to_owned()])));
        assert!(Reader::All.may_read(&Readers::of(["legal".to_owned()])));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let key = tenant_key(1, None);
        let secret = key.shown.reveal().rsplit('_').next().unwrap().to_owned();
        assert!(!format!("{key:?}").contains(&secret));
    }
}
