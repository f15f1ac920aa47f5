//! ServiceAccount tokens: who holds one, as long as all that it is bound to exists.
//!
//! What a signature proves is remembered, as checking one costs more than most requests; that the account still exists
//! is asked anew each time, so a deleted account is out at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::token_file::{Digest, digest};
use crate::identity::Identity;
use crate::store::Store;
use crate::tokens::claims::Claims;
use crate::tokens::{self, ISSUER, Tokens};

/// So many tokens are remembered; beyond that all are forgotten and checked anew. A token takes about 1 kB.
const REMEMBERED_MAX: usize = 4096;

/// What knows ServiceAccount tokens.
pub(crate) struct Accounts {
    tokens: Arc<Tokens>,
    read: Mutex<HashMap<Digest, Arc<Claims>>>,
}

impl Accounts {
    /// Knows the tokens that `tokens` signs.
    pub(crate) fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens, read: Mutex::default() }
    }

    /// Who holds the token.
    pub(super) fn find(&self, token: &str, store: &dyn Store, now: Timestamp) -> Option<Identity> {
        let claims = self.claims(token, now)?;
        if !claims.aud.iter().any(|audience| audience == ISSUER) {
            return None;
        }
        let holder = match tokens::holder::of(&claims, store, now) {
            Ok(holder) => holder,
            Err(why) => {
                tracing::debug!(why, "a token is worth nothing any more");
                return None;
            }
        };
        Some(Identity::exactly(holder.user, holder.groups).with_uid(holder.uid).with_extra(holder.extra))
    }

    fn claims(&self, token: &str, now: Timestamp) -> Option<Arc<Claims>> {
        let digest = digest(token);
        let remembered = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        if let Some(claims) = remembered {
            return tokens::in_time(&claims, now).ok().map(|()| claims);
        }
        let claims = Arc::new(self.tokens.read(token, now).ok()?);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= REMEMBERED_MAX {
            read.clear();
        }
        read.insert(digest, Arc::clone(&claims));
        Some(claims)
    }
}
