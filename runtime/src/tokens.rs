//! The tokens of a pod's ServiceAccount that its volumes hold: asked of the API for this very pod, and renewed in time.
//!
//! They are kept in memory only, so that a volume that is brought up to date for another reason keeps its token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use coracle_api::clock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::api::PostParams;
use kube::{Api, Client};

/// How long a token is good if the volume does not say (Kubernetes' default).
const SECONDS_DEFAULT: i64 = 3600;

/// The oldest that a token gets, however long it would be good (the kubelet's).
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// How long after a renewal that failed the next one is tried: often enough in the last fifth of the shortest life.
pub(crate) const RENEWAL_RETRY: SignedDuration = SignedDuration::from_secs(60);

/// A token that a volume asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    audience: String,
    seconds: i64,
}

impl Asked {
    /// What the volume's source asks for.
    #[must_use]
    pub fn of(source: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: source.audience.clone().unwrap_or_default(),
            seconds: source.expiration_seconds.unwrap_or(SECONDS_DEFAULT),
        }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The API refuses it, or does not answer.
    #[error("failed to fetch token")]
    Request(#[source] Box<kube::Error>),
    /// The answer has no token.
    #[error("failed to fetch token: the answer has none")]
    Empty,
}

#[derive(Debug)]
struct Kept {
    token: String,
    renew_at: Timestamp,
}

/// The tokens of one pod.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<Asked, Kept>>);

impl Tokens {
    /// Those that are asked for: what is kept, and new ones for what is missing or to be renewed.
    pub(crate) async fn get(
        &self,
        client: &Client,
        pod: &Pod,
        asked: BTreeSet<Asked>,
    ) -> Result<BTreeMap<Asked, String>, TokenError> {
        let now = clock::now();
        let mut all = BTreeMap::new();
        for asked in asked {
            let kept = self.lock().get(&asked).filter(|kept| now < kept.renew_at).map(|kept| kept.token.clone());
            let token = match kept {
                Some(token) => token,
                None => {
                    let kept = request(client, pod, &asked, now).await?;
                    let token = kept.token.clone();
                    self.lock().insert(asked.clone(), kept);
                    token
                }
            };
            all.insert(asked, token);
        }
        Ok(all)
    }

    /// When the first of them is to be renewed.
    pub(crate) fn renew_at(&self) -> Option<Timestamp> {
        self.lock().values().map(|kept| kept.renew_at).min()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Asked, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for a token that is worth nothing once the pod is gone.
async fn request(client: &Client, pod: &Pod, asked: &Asked, now: Timestamp) -> Result<Kept, TokenError> {
    let meta = &pod.metadata;
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(Some(asked.audience.clone()).filter(|a| !a.is_empty()).into_iter().collect()),
            expiration_seconds: Some(asked.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let answer = api.create_token_request(account, &PostParams::default(), &request).await;
    let answer = answer.map_err(|e| TokenError::Request(Box::new(e)))?;
    let life = answer.spec.as_ref().and_then(|s| s.expiration_seconds).unwrap_or(asked.seconds);
    let token = answer.status.and_then(|s| s.token).filter(|t| !t.is_empty()).ok_or(TokenError::Empty)?;
    Ok(Kept { token, renew_at: renewal(now, life) })
}

/// When a token of this life in seconds is to be renewed: at four fifths of it, and once a day at least.
fn renewal(now: Timestamp, life: i64) -> Timestamp {
    let after = SignedDuration::from_secs(life.saturating_mul(4) / 5).min(AGE_MAX);
    now.checked_add(after).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_at_four_fifths_of_its_life_and_once_a_day() {
        let after = |life| renewal(Timestamp::UNIX_EPOCH, life).as_second();
        assert_eq!((after(600), after(3607), after(1 << 32)), (480, 2885, 86_400));
    }
}
