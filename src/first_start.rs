//! The first start of a data folder: tenant and collection `default`, and two keys in files that only their owner reads.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibid_core::{CollectionName, Identity, NewKey, Operator, Reader, Scope, Scopes, TenantName};
use ibid_engine::{EngineError, KeyRequest};
use ibid_runtime::{Ctx, Priority};

use crate::house::House;
use crate::wire;

/// What the first tenant and its first collection are called.
pub const DEFAULT: &str = "default";

/// Why the first keys were not made.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// The engine failed.
    #[error("make the first {what}")]
    Engine {
        /// What was being made.
        what: &'static str,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// A key's file cannot be written.
    #[error("write the key to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FirstStartError {
    fn of(what: &'static str) -> impl FnOnce(EngineError) -> FirstStartError {
        move |source| FirstStartError::Engine { what, source }
    }
}

/// Where the operator's first key is written.
pub fn operator_key(data_dir: &Path) -> PathBuf {
    data_dir.join("keys").join("operator.key")
}

/// Where the first key of the tenant [`DEFAULT`] is written.
pub fn default_key(data_dir: &Path) -> PathBuf {
    data_dir.join("keys").join("default.key")
}

/// Makes tenant, collection and keys in a folder that has no operator's key. `false` if it has one.
///
/// The operator's key comes last: a start that was cut off before it begins again.
///
/// # Errors
/// [`FirstStartError`].
pub async fn make_keys(house: &House, data_dir: &Path) -> Result<bool, FirstStartError> {
    let operator = Operator::of_this_process();
    let caller = Identity::Operator(operator.clone());
    if !house.engine.keys(&caller, None).map_err(FirstStartError::of("key"))?.is_empty() {
        return Ok(false);
    }
    let tenant = TenantName::new(DEFAULT).expect("a valid name");
    let collection = CollectionName::new(DEFAULT).expect("a valid name");
    let created = house.engine.create_tenant(&operator, tenant.clone()).await;
    unless_there(created, "tenant")?;
    let right = house.engine.enter(&operator, &tenant).map_err(FirstStartError::of("tenant"))?;
    let settings = wire::collection::settings(None, &house.default_model).expect("the defaults are valid");
    let ctx = Ctx::new(Arc::clone(&house.clock), Priority::Query, None);
    let created = house.engine.create_collection(&ctx, &right, collection, settings).await;
    unless_there(created, "collection")?;

    let scopes = Scopes::from([Scope::Ingest, Scope::Search, Scope::Answer, Scope::Admin]);
    let request = |scopes, reader| KeyRequest { scopes, reader, label: "first start".to_owned(), expires_ms: None };
    let key = house.engine.create_key(&caller, Some(&tenant), request(scopes, Reader::All)).await;
    write_key(&default_key(data_dir), &key.map_err(FirstStartError::of("key"))?.0)?;
    let request = request(Scopes::from([Scope::Operator]), Reader::As(BTreeSet::new()));
    let key = house.engine.create_key(&caller, None, request).await;
    write_key(&operator_key(data_dir), &key.map_err(FirstStartError::of("key"))?.0)?;
    Ok(true)
}

/// It may be there from a start that was cut off.
fn unless_there<T>(created: Result<T, EngineError>, what: &'static str) -> Result<(), FirstStartError> {
    match created {
        Ok(_) | Err(EngineError::Exists { .. }) => Ok(()),
        Err(source) => Err(FirstStartError::Engine { what, source }),
    }
}

fn write_key(path: &Path, key: &NewKey) -> Result<(), FirstStartError> {
    write_secret(path, key.shown.reveal()).map_err(|source| FirstStartError::Write { path: path.to_owned(), source })
}

/// Writes a file that only its owner reads, from its first byte on: the runtime's disk gives no modes.
pub(crate) fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let dir = path.parent().expect("a file in the folder of keys");
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_read_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = operator_key(folder.path());
        write_secret(&path, "old").unwrap();
        write_secret(&path, "ibid_1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ibid_1\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
