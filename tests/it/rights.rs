//! Who may what, and what the others are told.

use std::os::unix::fs::PermissionsExt;

use ibid::proto::{DeleteTenantRequest, GetTenantRequest, ListTenantsRequest, RevokeKeyRequest, Scope};
use tonic::Code;

use crate::harness::{TestServer, reason};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_or_with_a_wrong_one_nothing_is_told() {
    let server = TestServer::start().await;
    for (key, expected) in [("", "KEY_MISSING"), ("ibid_1", "KEY_UNKNOWN")] {
        let refused = server.client(key).await.search("anything").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, expected));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say() {
    let server = TestServer::start().await;
    let (reader, _) = server.tenant("acme", &[Scope::Search]).await;
    assert!(reader.search("anything").await.unwrap().is_empty());
    let refused = reader.put("a.md", "alpha").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "SCOPE_MISSING"));
    let refused = reader.tenants().list_tenants(ListTenantsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "SCOPE_MISSING");
    let refused = server.operator().await.search("anything").await.unwrap_err();
    assert_eq!(reason(&refused), "TENANT_KEY_NEEDED");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_share_nothing_and_a_deleted_one_leaves_nothing() {
    let server = TestServer::start().await;
    let operator = server.operator().await;
    let (acme, key_id) = server.tenant("acme", &[Scope::Ingest, Scope::Search]).await;
    let (other, _) = server.tenant("other", &[Scope::Ingest, Scope::Search]).await;
    acme.put("secret.md", "The launch is on Friday.").await.unwrap();
    assert_eq!(acme.search("launch").await.unwrap().len(), 1);
    assert!(other.search("launch").await.unwrap().is_empty());
    assert_eq!(other.get("secret.md").await.unwrap_err().code(), Code::NotFound);

    let request = GetTenantRequest { name: "acme".to_owned() };
    let ingest = operator.tenants().get_tenant(request).await.unwrap().into_inner().tenant.unwrap().ingest.unwrap();
    assert_eq!((ingest.documents, ingest.documents_pending), (1, 0));

    operator.keys().revoke_key(RevokeKeyRequest { id: key_id }).await.unwrap();
    assert_eq!(reason(&acme.search("launch").await.unwrap_err()), "KEY_REVOKED");

    operator.tenants().delete_tenant(DeleteTenantRequest { name: "other".to_owned() }).await.unwrap();
    assert_eq!(reason(&other.search("launch").await.unwrap_err()), "TENANT_DELETED");
    operator.tenants().delete_tenant(DeleteTenantRequest { name: "acme".to_owned() }).await.unwrap();
    let (again, _) = server.tenant("acme", &[Scope::Search]).await;
    assert!(again.search("launch").await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_keys_are_their_owners_alone() {
    let server = TestServer::start().await;
    for path in
        [ibid::first_start::operator_key(&server.data_dir()), ibid::first_start::default_key(&server.data_dir())]
    {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    server.stop().await;
}
