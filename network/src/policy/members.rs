//! The pods that policies speak of, by address: those of this node from the moment they have one, others by the API.
//!
//! Invariant: an address of this node's range is the pod's to which it was given here, whatever a pod's status says;
//! so a namesake, or a pod that has ended, is never taken for who has its address now.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::meet::{NamedPort, PodSlot};
use k8s_openapi::api::core::v1::Pod;

use super::rules::Labels;
use crate::cidr::Cidr;
use crate::shards::Shards;

/// What policies look at in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) namespace: String,
    pub(super) labels: Labels,
    pub(super) ports: Vec<NamedPort>,
}

/// A pod as the API has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    member: Arc<Member>,
    /// Its address, unless it has none yet or has ended.
    ip: Option<IpAddr>,
}

/// All of them.
pub(super) struct Members {
    /// The addresses of this node's pods.
    ours: Cidr,
    /// Read by every question.
    by_ip: Shards<IpAddr, Arc<Member>>,
    /// Read by who changes it.
    by_uid: Mutex<ByUid>,
}

#[derive(Default)]
struct ByUid {
    /// The addresses that were given here.
    here: HashMap<String, IpAddr>,
    /// What the API says, while it is listened to.
    told: HashMap<String, Told>,
}

impl Members {
    pub(super) fn new(ours: Cidr) -> Self {
        Self { ours, by_ip: Shards::new(), by_uid: Mutex::default() }
    }

    /// The pod with this address.
    pub(super) fn get(&self, ip: IpAddr) -> Option<Arc<Member>> {
        self.by_ip.get(&ip)
    }

    /// A pod was given an address of this node.
    pub(super) fn attached(&self, slot: &PodSlot, ip: IpAddr) {
        let mut by_uid = self.by_uid();
        let uid = slot.uid.as_str();
        // Who attaches it read the object some time ago, and it does not change again because of that.
        let member = by_uid.told.get(uid).map_or_else(|| Arc::new(Member::in_slot(slot)), |told| told.member.clone());
        by_uid.here.insert(uid.to_owned(), ip);
        self.by_ip.insert(ip, member);
    }

    /// The address is going to be somebody else's.
    pub(super) fn detached(&self, slot: &PodSlot, ip: IpAddr) {
        let mut by_uid = self.by_uid();
        if by_uid.here.get(slot.uid.as_str()) == Some(&ip) {
            by_uid.here.remove(slot.uid.as_str());
        }
        self.by_ip.remove(&ip);
    }

    /// What the API says of a pod.
    pub(super) fn told(&self, pod: &Pod) {
        let Some((uid, told)) = Told::by(pod) else { return };
        let mut by_uid = self.by_uid();
        if by_uid.told.get(&uid) != Some(&told) {
            self.put(&mut by_uid, uid, told);
        }
    }

    /// A pod is gone from the API.
    pub(super) fn gone(&self, pod: &Pod) {
        let Some((uid, _)) = Told::by(pod) else { return };
        let mut by_uid = self.by_uid();
        if let Some(told) = by_uid.told.remove(&uid) {
            self.leave(told.ip);
        }
    }

    /// These are all pods that the API has.
    pub(super) fn listed(&self, pods: HashMap<String, Told>) {
        let mut by_uid = self.by_uid();
        let gone: Vec<String> = by_uid.told.keys().filter(|uid| !pods.contains_key(*uid)).cloned().collect();
        for uid in gone {
            if let Some(told) = by_uid.told.remove(&uid) {
                self.leave(told.ip);
            }
        }
        for (uid, told) in pods {
            self.put(&mut by_uid, uid, told);
        }
    }

    /// Takes in what the API says of a pod: under the address that it has here, or elsewhere.
    fn put(&self, by_uid: &mut ByUid, uid: String, told: Told) {
        let here = by_uid.here.get(&uid).copied();
        let elsewhere = told.ip.filter(|ip| !self.ours.contains(*ip));
        if let Some(ip) = here.or(elsewhere) {
            self.by_ip.insert(ip, told.member.clone());
        }
        let ip = told.ip;
        if let Some(before) = by_uid.told.insert(uid, told).filter(|before| before.ip != ip) {
            self.leave(before.ip);
        }
    }

    /// A pod of another node has this address no more.
    fn leave(&self, ip: Option<IpAddr>) {
        if let Some(ip) = ip.filter(|ip| !self.ours.contains(*ip)) {
            self.by_ip.remove(&ip);
        }
    }

    fn by_uid(&self) -> MutexGuard<'_, ByUid> {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn in_slot(slot: &PodSlot) -> Self {
        Self { namespace: slot.pod.namespace.clone(), labels: slot.labels.clone(), ports: slot.ports.clone() }
    }
}

impl Told {
    /// A pod's uid and what policies look at.
    pub(super) fn by(pod: &Pod) -> Option<(String, Self)> {
        let meta = &pod.metadata;
        let member = Member {
            namespace: meta.namespace.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            ports: NamedPort::of(pod),
        };
        let status = pod.status.as_ref();
        let has_ended = matches!(status.and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"));
        let ip = status.filter(|_| !has_ended).and_then(|s| s.pod_ip.as_ref()?.parse().ok());
        Some((meta.uid.clone()?, Self { member: Arc::new(member), ip }))
    }
}
