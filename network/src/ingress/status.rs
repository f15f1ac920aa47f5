//! What is said of Ingresses: where they are reached, in their status; what was done and what is wrong, in events.
//!
//! Level, not edge: each pass compares the status with what is open, so that what was not written is written by the next.
//! A complaint is said once it has stood for a moment: objects that are applied together come one after the other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::event::Kind;
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerIngress, IngressPortStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::complaint::{Complaint, Subject};
use crate::events::Events;

/// How many statuses are on their way at the same time; the next pass writes the others.
const WRITES_IN_FLIGHT_MAX: usize = 16;

/// How long a complaint must stand before it is said.
const COMPLAINT_DELAY: Duration = Duration::from_secs(1);

/// Says things of Ingresses.
pub(super) struct Status {
    client: Client,
    address: IpAddr,
    events: Events,
    writing: JoinSet<()>,
    /// The generation of each that was said to be in force.
    synced: HashMap<Subject, Option<i64>>,
    /// Since when each stands, and whether it was said.
    complaints: BTreeMap<Complaint, (Instant, bool)>,
}

impl Status {
    /// Of a controller on the node at `address`.
    pub(super) fn new(client: Client, address: IpAddr, node: &str) -> Self {
        let events = Events::of(client.clone(), "coracle-ingress", node);
        let (writing, synced, complaints) = (JoinSet::new(), HashMap::new(), BTreeMap::new());
        Self { client, address, events, writing, synced, complaints }
    }

    /// These are in force, and reached at these ports.
    pub(super) fn tell(&mut self, ingresses: &[Arc<Ingress>], ports: &[u16]) {
        while self.writing.try_join_next().is_some() {}
        let mut synced = HashMap::new();
        for ingress in ingresses {
            let about = Subject::of(ingress);
            let generation = ingress.metadata.generation;
            if self.synced.get(&about) != Some(&generation) {
                self.events.say(&about.said(Kind::Normal, "Sync", "Scheduled for sync".to_owned()));
            }
            if let Some(wanted) = change(ingress, self.address, ports)
                && self.writing.len() < WRITES_IN_FLIGHT_MAX
            {
                self.writing.spawn(write(self.client.clone(), about.clone(), wanted));
            }
            synced.insert(about, generation);
        }
        self.synced = synced;
    }

    /// These stand, and no others.
    pub(super) fn note(&mut self, complaints: Vec<Complaint>) {
        let now = Instant::now();
        let before = std::mem::take(&mut self.complaints);
        for complaint in complaints {
            let since = before.get(&complaint).copied().unwrap_or((now, false));
            self.complaints.insert(complaint, since);
        }
    }

    /// When the next complaint is to be said.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.complaints.values().filter(|(_, is_said)| !is_said);
        waiting.map(|(since, _)| *since + COMPLAINT_DELAY).min()
    }

    /// Says the complaints that have stood for long enough.
    pub(super) fn complain(&mut self) {
        let now = Instant::now();
        for (complaint, (since, is_said)) in &mut self.complaints {
            if !*is_said && *since + COMPLAINT_DELAY <= now {
                *is_said = true;
                tracing::info!(ingress = %complaint.about.name, "{}", complaint.message);
                self.events.say(&complaint.said());
            }
        }
    }
}

/// What the status is to say instead of what it says; nothing where it is right.
fn change(ingress: &Ingress, address: IpAddr, ports: &[u16]) -> Option<Vec<IngressLoadBalancerIngress>> {
    let port = |port: &u16| IngressPortStatus { port: (*port).into(), protocol: "TCP".to_owned(), error: None };
    let point = IngressLoadBalancerIngress {
        ip: Some(address.to_string()),
        ports: Some(ports.iter().map(port).collect()),
        ..IngressLoadBalancerIngress::default()
    };
    let wanted = if ports.is_empty() { Vec::new() } else { vec![point] };
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let current = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    (current != wanted).then_some(wanted)
}

async fn write(client: Client, ingress: Subject, wanted: Vec<IngressLoadBalancerIngress>) {
    let api = Api::<Ingress>::namespaced(client, &ingress.name.namespace);
    let patch = Patch::Merge(json!({ "status": { "loadBalancer": { "ingress": wanted } } }));
    if let Err(error) = api.patch_status(&ingress.name.name, &PatchParams::default(), &patch).await {
        tracing::debug!(%error, ingress = %ingress.name, "the status of an Ingress was not written");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_status_tells_of_the_node_and_the_ports_that_are_open() {
        let told = |current: serde_json::Value, ports: &[u16]| {
            let status = json!({ "status": { "loadBalancer": { "ingress": current } } });
            let ingress: Ingress = serde_json::from_value(status).unwrap();
            let wanted = change(&ingress, Ipv4Addr::LOCALHOST.into(), ports);
            wanted.map(|wanted| serde_json::to_value(wanted).unwrap())
        };
        let ports = json!([{ "port": 80, "protocol": "TCP" }, { "port": 443, "protocol": "TCP" }]);
        let here = json!([{ "ip": "127.0.0.1", "ports": ports }]);
        assert_eq!(told(json!([]), &[80, 443]), Some(here.clone()));
        assert_eq!(told(here.clone(), &[80, 443]), None);
        assert_eq!(told(here, &[]), Some(json!([])));
    }
}
