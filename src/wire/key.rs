//! Keys: what they may do, and whose documents they read.

use std::collections::BTreeSet;

use ibid_core::{KeyId, Principal, Reader, Scope, Scopes, TenantName};
use ibid_engine::{Invalid, KeyInfo, KeyRequest};

use super::{tenant, text, time};
use crate::proto as pb;

const PRINCIPALS_MAX: usize = 256;
const PRINCIPAL_BYTES_MAX: usize = 256;
const LABEL_BYTES_MAX: usize = 256;

/// Whose key it shall be (`None`: not named), and what it shall be.
pub(crate) fn request(request: pb::CreateKeyRequest) -> Result<(Option<TenantName>, KeyRequest), Invalid> {
    let owner = tenant::optional_name("tenant", &request.tenant)?;
    let principals = principals("principals", request.principals)?;
    if request.reads_all && !principals.is_empty() {
        return Err(Invalid::new("reads_all", "is set together with principals, expected one of the two"));
    }
    let reader = if request.reads_all { Reader::All } else { Reader::As(principals) };
    let expires = request.expires_at.map(|time| time::since_1970_ms("expires_at", time));
    let key = KeyRequest {
        scopes: scopes("scopes", &request.scopes)?,
        reader,
        label: text::bounded("label", request.label, LABEL_BYTES_MAX)?,
        expires_ms: expires.transpose()?,
    };
    Ok((owner, key))
}

fn scopes(field: &str, numbers: &[i32]) -> Result<Scopes, Invalid> {
    let scope = |(ordinal, number): (usize, &i32)| {
        let field = format!("{field}[{ordinal}]");
        match text::known(&field, *number)? {
            pb::Scope::Unspecified => Err(Invalid::new(field, "is not given")),
            pb::Scope::Ingest => Ok(Scope::Ingest),
            pb::Scope::Search => Ok(Scope::Search),
            pb::Scope::Answer => Ok(Scope::Answer),
            pb::Scope::Admin => Ok(Scope::Admin),
            pb::Scope::Operator => Ok(Scope::Operator),
        }
    };
    numbers.iter().enumerate().map(scope).collect()
}

/// Names of readers.
pub(crate) fn principals(field: &str, names: Vec<String>) -> Result<BTreeSet<Principal>, Invalid> {
    text::no_more_than(field, names.len(), PRINCIPALS_MAX)?;
    for (ordinal, name) in names.iter().enumerate() {
        let field = format!("{field}[{ordinal}]");
        if name.is_empty() {
            return Err(Invalid::new(field, "is empty"));
        }
        text::at_most(&field, name.len(), PRINCIPAL_BYTES_MAX)?;
    }
    Ok(names.into_iter().collect())
}

pub(crate) fn id(field: &str, given: &str) -> Result<KeyId, Invalid> {
    KeyId::parse(given).ok_or_else(|| Invalid::new(field, "is not the id of a key, expected 16 hexadecimal digits"))
}

/// The scope as the contract calls it.
pub(crate) fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Ingest => "INGEST",
        Scope::Search => "SEARCH",
        Scope::Answer => "ANSWER",
        Scope::Admin => "ADMIN",
        Scope::Operator => "OPERATOR",
    }
}

fn render_scope(scope: Scope) -> pb::Scope {
    match scope {
        Scope::Ingest => pb::Scope::Ingest,
        Scope::Search => pb::Scope::Search,
        Scope::Answer => pb::Scope::Answer,
        Scope::Admin => pb::Scope::Admin,
        Scope::Operator => pb::Scope::Operator,
    }
}

pub(crate) fn render(info: KeyInfo) -> pb::Key {
    let (reads_all, principals) = match info.key.reader {
        Reader::All => (true, Vec::new()),
        Reader::As(principals) => (false, principals.into_iter().collect()),
    };
    pb::Key {
        id: info.key.id.to_string(),
        tenant: info.tenant.map_or_else(String::new, String::from),
        scopes: info.key.scopes.iter().map(|scope| render_scope(*scope).into()).collect(),
        principals,
        reads_all,
        label: info.key.label,
        created_at: Some(time::render_ours(info.key.created_ms)),
        expires_at: info.key.expires_ms.map(time::render_ours),
        revoked: info.revoked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl Fn(&mut pb::CreateKeyRequest), expected: &str) {
        let mut given = pb::CreateKeyRequest { scopes: vec![pb::Scope::Search.into()], ..Default::default() };
        request(given.clone()).unwrap();
        change(&mut given);
        assert_eq!(request(given).unwrap_err().field, expected);
    }

    #[test]
    fn every_refused_field_is_named() {
        check(|key| key.tenant = "No".to_owned(), "tenant");
        check(|key| key.scopes.push(0), "scopes[1]");
        check(|key| key.scopes.push(99), "scopes[1]");
        check(|key| key.principals = vec![String::new()], "principals[0]");
        check(|key| key.principals = vec!["x".repeat(257)], "principals[0]");
        check(|key| key.principals = vec!["x".to_owned(); 257], "principals");
        check(|key| (key.reads_all, key.principals) = (true, vec!["x".to_owned()]), "reads_all");
        check(|key| key.label = "x".repeat(257), "label");
        check(|key| key.expires_at = Some(time::render(-1)), "expires_at");
    }

    #[test]
    fn no_principals_reads_what_is_open() {
        let given = pb::CreateKeyRequest::default();
        assert_eq!(request(given).unwrap().1.reader, Reader::As(BTreeSet::new()));
    }
}
