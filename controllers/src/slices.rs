//! EndpointSlices as those write them who maintain them: found by Service, written by plan.
//!
//! Invariant: nobody decides on a cache that does not yet show the last writes for that Service, because slices have
//! generated names and would double.

mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coracle_api::names::NamespacedName;
use coracle_api::wellknown::{LABEL_ENDPOINTSLICE_MANAGED_BY, LABEL_SERVICE_NAME};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

use crate::informers::Mark;
use crate::reconcile::{Context, ReconcileError};
use crate::refusal::{Refusal, gone_is_fine, refusal};
pub(crate) use plan::{Base, Group, Plan, plan};

/// How long to wait for the watch to show our own writes before looking again unasked.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(1);

/// The slices of one who maintains some.
pub(crate) struct Slices {
    context: Context,
    managed_by: &'static str,
    written: Mutex<HashMap<NamespacedName, Vec<Mark>>>,
}

impl Slices {
    /// Those that say that they are managed by `managed_by`.
    pub(crate) fn new(context: &Context, managed_by: &'static str) -> Self {
        Self { context: context.clone(), managed_by, written: Mutex::default() }
    }

    /// Calls `heard` with the Service of each slice of ours that changes.
    pub(crate) fn on_change(&self, heard: impl Fn(NamespacedName) + Send + Sync + 'static) {
        let managed_by = self.managed_by;
        self.context.informers.slices.on_change(move |change| {
            let slice = change.latest();
            let service = slice.labels().get(LABEL_SERVICE_NAME).filter(|_| is_managed_by(slice, managed_by));
            if let Some(service) = service {
                heard(NamespacedName::new(slice.namespace().unwrap_or_default(), service.as_str()));
            }
        });
    }

    /// Those of a Service.
    pub(crate) fn of(&self, service: &NamespacedName) -> Vec<Arc<EndpointSlice>> {
        let mut slices = self.context.informers.slices.in_namespace(&service.namespace);
        slices.retain(|slice| {
            is_managed_by(slice, self.managed_by) && slice.labels().get(LABEL_SERVICE_NAME) == Some(&service.name)
        });
        slices
    }

    /// Whether the cache shows all that was written for the Service.
    pub(crate) fn are_caught_up(&self, service: &NamespacedName) -> bool {
        let mut all = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(marks) = all.get_mut(service) else { return true };
        marks.retain(|mark| !self.context.informers.slices.has_passed(*mark));
        let caught_up = marks.is_empty();
        if caught_up {
            all.remove(service);
        }
        caught_up
    }

    /// Forgets what was written for a Service that is gone.
    pub(crate) fn forget(&self, service: &NamespacedName) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
    }

    fn wrote(&self, service: &NamespacedName, slice: &EndpointSlice) {
        let mark = self.context.informers.slices.mark(slice.metadata.resource_version.as_deref());
        let mut all = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(service.clone()).or_default().push(mark);
    }

    /// Writes what was planned for a Service.
    ///
    /// # Errors
    /// What the API server refused; the rest of the plan is not written then.
    pub(crate) async fn write(&self, service: &NamespacedName, plan: Plan) -> Result<(), ReconcileError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.context.client.clone(), &service.namespace);
        for slice in plan.create {
            match api.create(&PostParams::default(), &slice).await {
                Ok(created) => self.wrote(service, &created),
                Err(error) if refusal(&error) == Refusal::NamespaceTerminating => return Ok(()),
                Err(error) => return Err(ReconcileError::api("create EndpointSlice")(error)),
            }
        }
        for slice in plan.update {
            let updated = api.replace(&slice.name_any(), &PostParams::default(), &slice).await;
            self.wrote(service, &updated.map_err(ReconcileError::api("update EndpointSlice"))?);
        }
        for slice in plan.delete {
            let params =
                DeleteParams::background().preconditions(Preconditions { uid: slice.uid(), resource_version: None });
            let deleted = api.delete(&slice.name_any(), &params).await;
            gone_is_fine(deleted).map_err(ReconcileError::api("delete EndpointSlice"))?;
        }
        Ok(())
    }
}

fn is_managed_by(slice: &EndpointSlice, managed_by: &str) -> bool {
    slice.labels().get(LABEL_ENDPOINTSLICE_MANAGED_BY).is_some_and(|by| by == managed_by)
}
