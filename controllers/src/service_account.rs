//! The ServiceAccount controller: every namespace that is not being deleted has an account named `default`.

use std::sync::Arc;

use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::informers::Change;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, refusal};

/// The account that pods run as when they name none.
const DEFAULT: &str = "default";

/// The controller.
pub(crate) struct ServiceAccounts {
    context: Context,
    queue: Queue<String>,
}

impl ServiceAccounts {
    /// Builds the controller and lets it hear of namespaces and of accounts that vanish.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default() });
        let heard = Arc::clone(&this);
        context.informers.namespaces.on_change(move |change| heard.queue.add(change.latest().name_any()));
        let heard = Arc::clone(&this);
        context.informers.accounts.on_change(move |change| {
            if let Change::Deleted(account) = change {
                heard.queue.add(account.namespace().unwrap_or_default());
            }
        });
        this
    }
}

impl Controller for ServiceAccounts {
    type Key = String;
    const NAME: &'static str = "serviceaccount";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<String> {
        &self.queue
    }

    async fn reconcile(&self, namespace: &String) -> Result<Next, ReconcileError> {
        let informers = &self.context.informers;
        let active = informers.namespaces.get(&NamespacedName::new("", namespace.as_str()));
        let active = active.is_some_and(|ns| ns.metadata.deletion_timestamp.is_none());
        if !active || informers.accounts.get(&NamespacedName::new(namespace.as_str(), DEFAULT)).is_some() {
            return Ok(Next::Done);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(DEFAULT.to_owned()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.context.client.clone(), namespace);
        match api.create(&PostParams::default(), &account).await {
            Err(error) => match refusal(&error) {
                Refusal::AlreadyExists | Refusal::NamespaceTerminating => Ok(Next::Done),
                Refusal::NotFound | Refusal::Conflict | Refusal::Other => {
                    Err(ReconcileError::api("create ServiceAccount")(error))
                }
            },
            Ok(_) => Ok(Next::Done),
        }
    }
}
