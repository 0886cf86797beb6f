//! Who calls: from the `authorization` header to a right.

use ibid_core::{AuthError, Credential, Identity, Operator, Scope, TenantId};
use ibid_engine::Engine;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::status::{OrStatus, scope_missing, tenant_needed};

/// The key that was shown: `authorization: Bearer ibid_...`.
///
/// # Errors
/// [`AuthError::Missing`] where there is none, or another scheme.
fn credential(metadata: &MetadataMap) -> Result<Credential, AuthError> {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok()).ok_or(AuthError::Missing)?;
    let (scheme, shown) = header.trim().split_once(' ').ok_or(AuthError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::Missing);
    }
    Ok(Credential::new(shown.trim()))
}

/// Whom the key belongs to.
pub(crate) fn identity(engine: &Engine, metadata: &MetadataMap) -> Result<Identity, Status> {
    credential(metadata).and_then(|shown| engine.authenticate(&shown)).or_status()
}

/// A tenant's key, whatever its scopes.
pub(crate) fn any_of_tenant(engine: &Engine, metadata: &MetadataMap) -> Result<TenantId, Status> {
    match identity(engine, metadata)? {
        Identity::Tenant(tenant) => Ok(tenant),
        Identity::Operator(_) => Err(tenant_needed()),
    }
}

/// A tenant's key with `scope`.
pub(crate) fn tenant(engine: &Engine, metadata: &MetadataMap, scope: Scope) -> Result<TenantId, Status> {
    let tenant = any_of_tenant(engine, metadata)?;
    if tenant.may(scope) { Ok(tenant) } else { Err(scope_missing(scope)) }
}

/// An operator's key.
pub(crate) fn operator(engine: &Engine, metadata: &MetadataMap) -> Result<Operator, Status> {
    match identity(engine, metadata)? {
        Identity::Operator(operator) => Ok(operator),
        Identity::Tenant(_) => Err(scope_missing(Scope::Operator)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_found_and_anything_else_is_missing() {
        let shown = |header: Option<&'static str>| {
            let mut metadata = MetadataMap::new();
            if let Some(header) = header {
                metadata.insert("authorization", header.parse().unwrap());
            }
            credential(&metadata).map(|shown| shown.reveal().to_owned())
        };
        assert_eq!(shown(Some("Bearer ibid_1")), Ok("ibid_1".to_owned()));
        assert_eq!(shown(Some("bearer  ibid_1 ")), Ok("ibid_1".to_owned()));
        for header in [None, Some("ibid_1"), Some("Basic abc"), Some("")] {
            assert_eq!(shown(header), Err(AuthError::Missing), "{header:?}");
        }
    }
}
