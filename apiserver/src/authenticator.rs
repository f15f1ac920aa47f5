//! Who is asking, decided by what a request shows: a client certificate, else a bearer token, else nothing.
//!
//! As upstream, the first that convinces counts, and one that is shown and wrong is refused, never taken for nobody.

pub(crate) mod accounts;
pub(crate) mod token_file;

use coracle_api::clock;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::identity::Identity;
use crate::store::Store;
use accounts::Accounts;
use token_file::Tokens;

/// What the client of a connection showed when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// A certificate of an authority that is trusted with clients.
    Of(Identity),
    /// One of somebody else.
    Untrusted,
}

/// Whether requests are served that show nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// As `system:anonymous`, who may do what the policy says.
    Served,
    /// Not at all.
    Refused,
}

/// All that may convince.
pub(crate) struct Authenticator {
    /// The tokens of `--token-auth-file`.
    pub(crate) tokens: Tokens,
    /// The tokens of ServiceAccounts.
    pub(crate) accounts: Accounts,
    /// What becomes of those who show nothing.
    pub(crate) anonymous: Anonymous,
}

impl Authenticator {
    /// Who it is. Nobody: the request is to be refused.
    pub(crate) fn identify(
        &self,
        certificate: Option<&Certificate>,
        headers: &HeaderMap,
        store: &dyn Store,
    ) -> Option<Identity> {
        if let Some(Certificate::Of(identity)) = certificate {
            return Some(identity.clone());
        }
        match (bearer(headers), certificate) {
            (Some(token), _) => {
                let known = self.tokens.find(token).cloned();
                known.or_else(|| self.accounts.find(token, store, clock::now()))
            }
            (None, Some(_)) => None,
            (None, None) => match self.anonymous {
                Anonymous::Served => Some(Identity::anonymous()),
                Anonymous::Refused => None,
            },
        }
    }
}

/// The token of an `Authorization: Bearer` header. Other schemes are none of ours, and as good as nothing.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = value.splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next()?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn check(
        dir: &std::path::Path,
        certificate: Option<&Certificate>,
        authorization: &str,
        anonymous: Anonymous,
    ) -> String {
        let tokens = Tokens::parse("right,jane,1,\"a,b\"\n").unwrap();
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let accounts = Accounts::new(Arc::new(crate::tokens::Tokens::open(dir).unwrap()));
        let store = crate::store::memory::open().unwrap();
        let found = Authenticator { tokens, accounts, anonymous }.identify(certificate, &headers, &store);
        found.map_or("refused".to_owned(), |i| format!("{} {}", i.name(), i.groups().join(" ")))
    }

    #[test]
    fn what_is_shown_decides() {
        let dir = tempfile::tempdir().unwrap();
        let (jane, nobody) = ("jane a b system:authenticated", "system:anonymous system:unauthenticated");
        for (authorization, expected) in [
            ("Bearer right", jane),
            ("bearer right", jane),
            ("  Bearer right more", jane),
            ("Bearer wrong", "refused"),
            ("", nobody),
            ("Bearer", nobody),
            ("Basic cmlnaHQ=", nobody),
        ] {
            assert_eq!(check(dir.path(), None, authorization, Anonymous::Served), expected, "{authorization:?}");
        }
        assert_eq!(check(dir.path(), None, "", Anonymous::Refused), "refused");
        let (bob, untrusted) = (Certificate::Of(Identity::user("bob")), Certificate::Untrusted);
        assert_eq!(check(dir.path(), Some(&bob), "Bearer wrong", Anonymous::Refused), "bob system:authenticated");
        assert_eq!(check(dir.path(), Some(&untrusted), "", Anonymous::Served), "refused");
        assert_eq!(check(dir.path(), Some(&untrusted), "Bearer right", Anonymous::Served), jane);
    }
}
