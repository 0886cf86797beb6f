//! The seam where content is encrypted.

use std::fmt::Debug;

use ibid_core::TenantKey;

/// Encrypts content by tenant. The edge joins it to the tenants' keys; destroying a key makes the tenant's record unreadable,
/// and its chain stays provable.
pub trait Seal: Send + Sync + Debug {
    /// `plain` sealed with the tenant's key, together with `about`, which is not kept in it.
    ///
    /// # Errors
    /// Why it cannot be, without any of the content.
    fn seal(&self, tenant: TenantKey, plain: &[u8], about: &[u8]) -> Result<Vec<u8>, String>;

    /// What was sealed; `None` if it was by another key, or the key is destroyed, or it is not what it was.
    fn open(&self, tenant: TenantKey, sealed: &[u8], about: &[u8]) -> Option<Vec<u8>>;
}

/// Nothing is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain;

impl Seal for Plain {
    fn seal(&self, _: TenantKey, plain: &[u8], _: &[u8]) -> Result<Vec<u8>, String> {
        Ok(plain.to_vec())
    }

    fn open(&self, _: TenantKey, sealed: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}
