//! Follows Ingresses and what they refer to, and makes what is served equal to what they say.
//!
//! Only Ingresses are watched for as long as there are none of ours; classes and Services while there are some, Secrets
//! while some are named. Nothing is served before all that is needed has been listed, so that no request meets half of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::names::NamespacedName;
use coracle_api::wellknown::{ANNOTATION_INGRESS_CLASS, INGRESS_CLASS, INGRESS_CONTROLLER};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::certificates::{Certificates, Read, names_secret};
use super::complaint::{Complaint, Reason, Subject};
use super::doors::Doors;
use super::proxy::Proxy;
use super::sites::{Services, by_age, sites};
use super::status::Status;
use crate::watched::Watched;

/// How many times as long as a pass the rest after it is: at most a tenth of a processor goes into sites.
const REST_PER_PASS: u32 = 9;

/// How often a port that could not be opened is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The Secrets that may hold a certificate; others are none of our business.
const TLS_SECRETS: &str = "type=kubernetes.io/tls";

/// Waits until the store has changed of what is not watched all the time.
async fn changed<K>(watched: &mut Option<Watched<K>>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    match watched {
        Some(watched) => watched.changed().await,
        None => std::future::pending().await,
    }
}

/// Whether it is watched, and all are there.
fn listed<K: Resource<DynamicType = ()> + Clone>(watched: &Option<Watched<K>>) -> bool {
    watched.as_ref().is_some_and(|watched| watched.is_listed)
}

/// Follows the objects.
pub(super) struct Watch {
    client: Client,
    ingresses: Watched<Ingress>,
    classes: Option<Watched<IngressClass>>,
    services: Option<Watched<Service>>,
    secrets: Option<Watched<Secret>>,
    read: Read,
}

/// What they make.
pub(super) struct Made {
    pub(super) proxy: Arc<Proxy>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) doors: Doors,
    pub(super) status: Status,
}

impl Watch {
    /// Watches by `client`. Nothing is asked before [`Watch::run`].
    pub(super) fn new(client: Client) -> Self {
        let ingresses = Watched::new(&client, watcher::Config::default(), |_| ());
        Self { client, ingresses, classes: None, services: None, secrets: None, read: Read::default() }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self, made: &mut Made) {
        let (mut stale, addresses) = (false, made.doors.changes());
        let (mut rested, mut retry) = (Instant::now(), Instant::now());
        loop {
            let due = made.status.due();
            let has_failed = made.doors.failed().next().is_some();
            tokio::select! {
                () = self.ingresses.changed() => stale = true,
                () = changed(&mut self.classes) => stale = true,
                () = changed(&mut self.services) => stale = true,
                () = changed(&mut self.secrets) => stale = true,
                () = tokio::time::sleep_until(rested), if stale => {
                    stale = false;
                    let began = Instant::now();
                    self.pass(made);
                    if made.doors.failed().next().is_some() {
                        retry = Instant::now() + RETRY_PAUSE;
                    }
                    rested = Instant::now() + began.elapsed() * REST_PER_PASS;
                }
                () = addresses.next() => made.doors.follow_addresses(),
                () = tokio::time::sleep_until(retry), if has_failed => {
                    retry = Instant::now() + RETRY_PAUSE;
                    stale |= made.doors.open();
                }
                () = tokio::time::sleep_until(due.unwrap_or(rested)), if due.is_some() => made.status.complain(),
            }
        }
    }

    /// Makes what is served equal to what the objects say.
    fn pass(&mut self, made: &mut Made) {
        let all = self.ingresses.store.state();
        if !self.ingresses.is_listed || !self.follow_classes(!all.is_empty()) {
            return self.serve(made, Vec::new());
        }
        let classes = self.classes.as_ref().map(|classes| classes.store.state()).unwrap_or_default();
        let classes: BTreeSet<String> = classes.iter().filter(|class| is_ours(class)).map(|c| c.name_any()).collect();
        let mut ours: Vec<Arc<Ingress>> = all.into_iter().filter(|one| is_of(one, &classes)).collect();
        by_age(&mut ours);
        if self.follow_others(&ours) {
            self.serve(made, ours);
        }
    }

    /// Whether all classes are there. They are watched while there are Ingresses, of whatever class.
    fn follow_classes(&mut self, wanted: bool) -> bool {
        match (wanted, &self.classes) {
            (true, None) => self.classes = Some(Watched::new(&self.client, watcher::Config::default(), |_| ())),
            (false, Some(_)) => self.classes = None,
            (true, Some(_)) | (false, None) => {}
        }
        if !wanted {
            self.follow_others(&[]);
        }
        listed(&self.classes)
    }

    /// Whether all is there that these refer to.
    fn follow_others(&mut self, ours: &[Arc<Ingress>]) -> bool {
        let secured = ours.iter().any(|ingress| names_secret(ingress));
        if ours.is_empty() {
            self.services = None;
        } else if self.services.is_none() {
            self.services = Some(Watched::new(&self.client, watcher::Config::default(), |_| ()));
        }
        if !secured {
            self.secrets = None;
        } else if self.secrets.is_none() {
            self.secrets = Some(Watched::new(&self.client, watcher::Config::default().fields(TLS_SECRETS), |_| ()));
        }
        ours.is_empty() || (listed(&self.services) && (!secured || listed(&self.secrets)))
    }

    fn serve(&mut self, made: &mut Made, ours: Vec<Arc<Ingress>>) {
        let services = self.services.as_ref().map(|services| services.store.state()).unwrap_or_default();
        let named = |service: Arc<Service>| {
            (NamespacedName::new(service.namespace().unwrap_or_default(), service.name_any()), service)
        };
        let (sites, mut complaints) = sites(&ours, &services.into_iter().map(named).collect::<Services>());
        let secrets = self.secrets.as_ref().map(|secrets| &secrets.store);
        let secret = |name: &NamespacedName| secrets?.get(&ObjectRef::new(&name.name).within(&name.namespace));
        let (shown, of_secrets) = self.read.shown(&ours, secret);
        made.proxy.sites.store(Arc::new(sites));
        made.certificates.show(shown);
        if ours.is_empty() {
            made.doors.close();
        } else {
            made.doors.open();
        }
        let of_doors = |ingress: &Arc<Ingress>| {
            let about = Subject::of(ingress);
            let complain = |text: &str| Complaint::new(&about, Reason::FailedToBind, text.to_owned());
            made.doors.failed().map(complain).collect::<Vec<_>>()
        };
        complaints.extend(ours.iter().flat_map(of_doors));
        complaints.extend(of_secrets);
        made.status.note(complaints);
        made.status.tell(&ours, &made.doors.ports());
    }
}

/// Whether Ingresses of a class are ours to serve.
fn is_ours(class: &IngressClass) -> bool {
    class.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(INGRESS_CONTROLLER)
}

/// Whether an Ingress is of one of these classes. The old annotation counts where the field is empty; the name of the
/// class that we make means us even if there is no such class.
fn is_of(ingress: &Ingress, classes: &BTreeSet<String>) -> bool {
    if ingress.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let annotated = || ingress.metadata.annotations.as_ref()?.get(ANNOTATION_INGRESS_CLASS);
    match ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref()) {
        Some(name) => classes.contains(name),
        None => annotated().is_some_and(|name| classes.contains(name) || name == INGRESS_CLASS),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ingress_is_ours_by_its_class() {
        let class = |controller: &str| serde_json::from_value(json!({ "spec": { "controller": controller } })).unwrap();
        assert!(is_ours(&class(INGRESS_CONTROLLER)) && !is_ours(&class("k8s.io/ingress-nginx")));
        let classes = BTreeSet::from(["mine".to_owned()]);
        let check = |class: Option<&str>, annotation: Option<&str>, expected: bool| {
            let annotations = annotation.map(|name| json!({ ANNOTATION_INGRESS_CLASS: name }));
            let object = json!({ "metadata": { "annotations": annotations }, "spec": { "ingressClassName": class } });
            let ingress: Ingress = serde_json::from_value(object).unwrap();
            assert_eq!(is_of(&ingress, &classes), expected, "{class:?} {annotation:?}");
        };
        check(Some("mine"), None, true);
        check(Some("nginx"), None, false);
        check(Some("nginx"), Some("mine"), false);
        check(None, Some("mine"), true);
        check(None, Some("coracle"), true);
        check(None, Some("nginx"), false);
        check(None, None, false);
    }
}
