//! The book of Services and their slices: what a change of one of them means for the routes, and no more than that.
//!
//! Invariant: a front has one owner at a time, the oldest of the Services that want it; when that goes or wants it no
//! more, the next one has it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use coracle_api::listed::Listed;
use coracle_api::meet::Protocol;
use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;

use crate::asked::{Asked, name_of};
use crate::listeners::{BIND, Refusal};
use crate::offered::{Offered, service_of};
use crate::routes::{Front, Route, routes};
use crate::wake::Sleepy;

/// What fronts lead to from now on; nothing for those that are gone.
pub(crate) type Changes = Vec<(Front, Option<Arc<Route>>)>;

/// All that is known of Services.
pub(crate) struct Book {
    node: String,
    services: Listed<NamespacedName, Option<Asked>>,
    /// The whole of those whose status is ours to write.
    balanced: BTreeMap<NamespacedName, Arc<Service>>,
    /// Those that may sleep.
    sleepy: BTreeMap<NamespacedName, Arc<Sleepy>>,
    /// By the slice's own name: whose it is.
    owners: Listed<NamespacedName, NamespacedName>,
    slices: HashMap<NamespacedName, BTreeMap<NamespacedName, Offered>>,
    held: HashMap<NamespacedName, Vec<(Front, Arc<Route>)>>,
    wanted: HashMap<Front, Vec<NamespacedName>>,
    /// Who has been told that another one has a front.
    told: BTreeSet<(Front, NamespacedName)>,
    stale: BTreeSet<NamespacedName>,
}

impl Book {
    /// An empty one, for the routes of `node`.
    pub(crate) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            services: Listed::default(),
            balanced: BTreeMap::new(),
            sleepy: BTreeMap::new(),
            owners: Listed::default(),
            slices: HashMap::new(),
            held: HashMap::new(),
            wanted: HashMap::new(),
            told: BTreeSet::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Whether both lists have come. Routes made of half the objects would refuse connections that are fine.
    pub(crate) fn is_whole(&self) -> bool {
        self.services.is_whole() && self.owners.is_whole()
    }

    /// Whether something has changed since the last [`Book::changes`].
    pub(crate) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Notes what the watch of Services said.
    pub(crate) fn note_service(&mut self, event: Event<Service>) {
        match event {
            Event::Init => self.services.begin(),
            Event::Apply(service) | Event::InitApply(service) => {
                let name = name_of(&service);
                self.stale.insert(name.clone());
                self.services.put(name.clone(), Asked::of(&service));
                match Sleepy::of(&service) {
                    Some(sleepy) => self.sleepy.insert(name.clone(), Arc::new(sleepy)),
                    None => self.sleepy.remove(&name),
                };
                if has_status(&service) {
                    self.balanced.insert(name, Arc::new(service));
                } else {
                    self.balanced.remove(&name);
                }
            }
            Event::Delete(service) => {
                let name = name_of(&service);
                self.services.remove(&name);
                self.balanced.remove(&name);
                self.sleepy.remove(&name);
                self.stale.insert(name);
            }
            Event::InitDone => {
                for (name, _) in self.services.end() {
                    self.balanced.remove(&name);
                    self.sleepy.remove(&name);
                    self.stale.insert(name);
                }
            }
        }
    }

    /// Notes what the watch of EndpointSlices said.
    pub(crate) fn note_slice(&mut self, event: Event<EndpointSlice>) {
        match event {
            Event::Init => self.owners.begin(),
            Event::Apply(slice) | Event::InitApply(slice) => {
                let name = slice_name(&slice);
                let owner = service_of(&slice);
                let before = owner.clone().and_then(|owner| self.owners.put(name.clone(), owner));
                let before = if owner.is_none() { self.owners.remove(&name) } else { before };
                if before != owner {
                    self.take_slice(before, &name);
                }
                if let Some(owner) = owner {
                    let offered = Offered::of(&slice, &self.node);
                    let slices = self.slices.entry(owner.clone()).or_default();
                    if slices.get(&name) != Some(&offered) {
                        slices.insert(name, offered);
                        self.stale.insert(owner);
                    }
                }
            }
            Event::Delete(slice) => {
                let name = slice_name(&slice);
                let owner = self.owners.remove(&name);
                self.take_slice(owner, &name);
            }
            Event::InitDone => {
                for (name, owner) in self.owners.end() {
                    self.take_slice(Some(owner), &name);
                }
                self.stale.extend(self.slices.keys().cloned());
            }
        }
    }

    fn take_slice(&mut self, owner: Option<NamespacedName>, slice: &NamespacedName) {
        let Some(owner) = owner else { return };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(slice);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.stale.insert(owner);
    }

    /// What has changed about the routes since the last call.
    pub(crate) fn changes(&mut self) -> Changes {
        let mut fronts = BTreeSet::new();
        for name in std::mem::take(&mut self.stale) {
            let asked = self.services.get(&name).and_then(Option::as_ref);
            let slices: Vec<&Offered> = self.slices.get(&name).iter().flat_map(|slices| slices.values()).collect();
            let routes = asked.map(|asked| routes(asked, &slices)).unwrap_or_default();
            let now: HashSet<Front> = routes.iter().map(|(front, _)| *front).collect();
            let before =
                if routes.is_empty() { self.held.remove(&name) } else { self.held.insert(name.clone(), routes) };
            for (front, _) in before.iter().flatten().filter(|(front, _)| !now.contains(front)) {
                self.give_up(*front, &name);
                fronts.insert(*front);
            }
            for front in now {
                let wanted = self.wanted.entry(front).or_default();
                if !wanted.contains(&name) {
                    wanted.push(name.clone());
                }
                fronts.insert(front);
            }
        }
        fronts.into_iter().map(|front| (front, self.route(front))).collect()
    }

    fn give_up(&mut self, front: Front, name: &NamespacedName) {
        if let Some(wanted) = self.wanted.get_mut(&front) {
            wanted.retain(|other| other != name);
            if wanted.is_empty() {
                self.wanted.remove(&front);
            }
        }
    }

    /// The route that a front has: its oldest Service's.
    fn route(&self, front: Front) -> Option<Arc<Route>> {
        let born = |name: &NamespacedName| self.services.get(name).and_then(Option::as_ref).map(|asked| asked.born);
        let owner = self.wanted.get(&front)?.iter().min_by_key(|name| (born(name), *name))?;
        let (_, route) = self.held.get(owner)?.iter().find(|(other, _)| *other == front)?;
        Some(Arc::clone(route))
    }

    /// What is to be said to those that want one of these fronts and do not have it: once to each, until that changes.
    pub(crate) fn conflicts(&mut self, changed: &[Front]) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for front in changed {
            let Some(port) = shown(*front) else { continue };
            let owner = self.route(*front).map(|route| route.service.clone());
            let wanting = self.wanted.get(front).into_iter().flatten();
            let losing: Vec<NamespacedName> = wanting.filter(|name| owner.as_ref() != Some(*name)).cloned().collect();
            self.told.retain(|(at, name)| at != front || losing.contains(name));
            for service in losing {
                if !self.told.insert((*front, service.clone())) {
                    continue;
                }
                let (Some(owner), Some(Some(asked))) = (&owner, self.services.get(&service)) else { continue };
                let message = format!("{port} is Service {owner}'s, which is older: delete that, or choose another");
                refusals.push(Refusal { uid: asked.uid.clone(), service, reason: BIND, message });
            }
        }
        refusals
    }

    /// The Services whose status tells of a load balancer, or should.
    pub(crate) fn balanced(&self) -> impl Iterator<Item = (&Arc<Service>, Option<&Asked>)> {
        self.balanced.iter().map(|(name, service)| (service, self.services.get(name).and_then(Option::as_ref)))
    }

    /// The Services that may sleep.
    pub(crate) fn sleepy(&self) -> impl Iterator<Item = &Arc<Sleepy>> {
        self.sleepy.values()
    }

    /// Where their ports are found inside the cluster.
    pub(crate) fn sleepy_ports(&self) -> impl Iterator<Item = (Front, &Arc<Route>)> {
        let valid = self.sleepy.values().filter(|sleepy| sleepy.wish.is_ok());
        let held = valid.filter_map(|sleepy| self.held.get(&sleepy.service)).flatten();
        held.filter(|(front, _)| matches!(front, Front::ClusterIp(..))).map(|(front, route)| (*front, route))
    }
}

/// A front that only one Service can have, for a person. Cluster addresses are given out once each.
fn shown(front: Front) -> Option<String> {
    let protocol = if front.protocol() == Protocol::Tcp { "TCP" } else { "UDP" };
    match front {
        Front::ClusterIp(..) => None,
        Front::ExternalIp(_, at) => Some(format!("externalIP {at}/{protocol}")),
        Front::NodePort(_, port) => Some(format!("nodePort {port}/{protocol}")),
        Front::LoadBalancer(_, port) => Some(format!("port {port}/{protocol} of the load balancer")),
        Front::HealthCheck(port) => Some(format!("healthCheckNodePort {port}")),
    }
}

fn slice_name(slice: &EndpointSlice) -> NamespacedName {
    let meta = &slice.metadata;
    NamespacedName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn has_status(service: &Service) -> bool {
    let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    kind == Some("LoadBalancer") || status.is_some_and(|balancer| balancer.ingress.is_some())
}

#[cfg(test)]
mod tests;
