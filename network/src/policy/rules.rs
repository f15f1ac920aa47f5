//! What policies say, compiled: selectors and ranges are read once, and a question only compares.
//!
//! Pure. It refuses to guess: what it cannot read allows nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use coracle_api::meet::Protocol;
use coracle_api::selector::Selector;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::members::Member;
use crate::cidr::Cidr;

/// Labels of a namespace or pod.
pub(super) type Labels = BTreeMap<String, String>;

/// All policies, and what they need to know of namespaces.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    namespaces: HashMap<String, Arc<Labels>>,
    /// By their namespace.
    policies: HashMap<String, Vec<Arc<Policy>>>,
}

/// One side of a connection: its address, and which pod it is, if it is one that is known.
#[derive(Clone, Copy)]
pub(super) struct Party<'a> {
    ip: IpAddr,
    pod: Option<&'a Member>,
}

/// One policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Policy {
    namespace: String,
    /// Which pods of its namespace it is about.
    selects: Selector,
    /// What may come in; nothing if it says nothing of that.
    ingress: Option<Vec<Rule>>,
    /// What may go out, likewise.
    egress: Option<Vec<Rule>>,
}

/// What one rule allows.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// Who is on the other side; nothing for everybody.
    peers: Option<Vec<Peer>>,
    /// Which ports of who listens; nothing for all.
    ports: Option<Vec<Ports>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Peer {
    /// Pods by their labels, in the policy's own namespace or in those that are selected.
    Pods { namespaces: Option<Selector>, pods: Selector },
    /// Addresses.
    Block { range: Cidr, except: Vec<Cidr> },
}

#[derive(Debug, PartialEq, Eq)]
enum Ports {
    All(Protocol),
    Range(Protocol, RangeInclusive<u16>),
    /// Whatever number the pod that listens has for the name.
    Named(Protocol, String),
}

impl Rules {
    /// The rules of these policies, in namespaces with these labels.
    pub(super) fn new(
        namespaces: impl IntoIterator<Item = (String, Arc<Labels>)>,
        policies: impl IntoIterator<Item = Arc<Policy>>,
    ) -> Self {
        let mut rules = Self { namespaces: namespaces.into_iter().collect(), policies: HashMap::new() };
        for policy in policies {
            rules.policies.entry(policy.namespace.clone()).or_default().push(policy);
        }
        rules
    }

    /// Whether there is no policy.
    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether `source` may speak to `target` at its `port`: both sides must let it.
    pub(super) fn allow(&self, source: Party<'_>, protocol: Protocol, target: Party<'_>, port: u16) -> bool {
        let passes = |rule: &Rule| rule.is_for_port(protocol, target, port);
        self.lets(
            source,
            |policy| policy.egress.as_deref(),
            |policy, rule| passes(rule) && rule.is_for_peer(self, policy, target),
        ) && self.lets(
            target,
            |policy| policy.ingress.as_deref(),
            |policy, rule| passes(rule) && rule.is_for_peer(self, policy, source),
        )
    }

    /// Whether the policies about a pod let something pass, in the direction whose rules `direction` picks.
    /// Who is no pod of ours, or is selected by none, is open.
    fn lets(
        &self,
        party: Party<'_>,
        direction: impl Fn(&Policy) -> Option<&[Rule]>,
        passes: impl Fn(&Policy, &Rule) -> bool,
    ) -> bool {
        let Some(pod) = party.pod else { return true };
        let mut is_open = true;
        for policy in self.policies.get(&pod.namespace).into_iter().flatten() {
            let Some(rules) = direction(policy).filter(|_| policy.selects.matches(&pod.labels)) else { continue };
            is_open = false;
            if rules.iter().any(|rule| passes(policy, rule)) {
                return true;
            }
        }
        is_open
    }
}

impl<'a> Party<'a> {
    pub(super) fn new(ip: IpAddr, pod: Option<&'a Member>) -> Self {
        Self { ip, pod }
    }
}

impl Rule {
    fn is_for_port(&self, protocol: Protocol, target: Party<'_>, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| {
            ports.iter().any(|allowed| match allowed {
                Ports::All(of) => *of == protocol,
                Ports::Range(of, numbers) => *of == protocol && numbers.contains(&port),
                Ports::Named(of, name) => {
                    let named = target.pod.into_iter().flat_map(|pod| &pod.ports);
                    *of == protocol
                        && named.into_iter().any(|p| p.protocol == protocol && p.number == port && p.name == *name)
                }
            })
        })
    }

    fn is_for_peer(&self, rules: &Rules, policy: &Policy, peer: Party<'_>) -> bool {
        self.peers.as_ref().is_none_or(|peers| {
            peers.iter().any(|allowed| match allowed {
                Peer::Pods { namespaces, pods } => peer.pod.is_some_and(|pod| {
                    let is_near = match namespaces {
                        None => pod.namespace == policy.namespace,
                        Some(selector) => {
                            rules.namespaces.get(&pod.namespace).is_some_and(|labels| selector.matches(labels))
                        }
                    };
                    is_near && pods.matches(&pod.labels)
                }),
                Peer::Block { range, except } => {
                    range.contains(peer.ip) && !except.iter().any(|part| part.contains(peer.ip))
                }
            })
        })
    }
}

impl Policy {
    /// What a policy says. The API server has filled in its defaults; where there are none, they are the same here.
    pub(super) fn new(policy: &NetworkPolicy) -> Self {
        let spec = policy.spec.clone().unwrap_or_default();
        let egress = spec.egress.unwrap_or_default();
        let says = |direction: &str, otherwise: bool| match spec.policy_types.as_deref() {
            Some(types @ [_, ..]) => types.iter().any(|t| t == direction),
            Some([]) | None => otherwise,
        };
        let (says_ingress, says_egress) = (says("Ingress", true), says("Egress", !egress.is_empty()));
        let ingress = spec.ingress.unwrap_or_default().into_iter().map(|rule| Rule::new(rule.from, rule.ports));
        let egress = egress.into_iter().map(|rule| Rule::new(rule.to, rule.ports));
        Self {
            namespace: policy.metadata.namespace.clone().unwrap_or_default(),
            // One that cannot be read closes its whole namespace rather than nothing.
            selects: spec.pod_selector.map_or_else(Selector::everything, |s| read(&s).unwrap_or_default()),
            ingress: says_ingress.then(|| ingress.collect()),
            egress: says_egress.then(|| egress.collect()),
        }
    }
}

impl Rule {
    fn new(peers: Option<Vec<NetworkPolicyPeer>>, ports: Option<Vec<NetworkPolicyPort>>) -> Self {
        let peers = peers.filter(|all| !all.is_empty());
        let ports = ports.filter(|all| !all.is_empty());
        Self {
            peers: peers.map(|all| all.iter().filter_map(Peer::new).collect()),
            ports: ports.map(|all| all.iter().filter_map(Ports::new).collect()),
        }
    }
}

impl Peer {
    fn new(peer: &NetworkPolicyPeer) -> Option<Self> {
        if let Some(block) = &peer.ip_block {
            return Self::block(block);
        }
        let (pods, namespaces) = (peer.pod_selector.as_ref(), peer.namespace_selector.as_ref());
        if pods.is_none() && namespaces.is_none() {
            return None;
        }
        let selected = |selector: &LabelSelector| read(selector).unwrap_or_else(Selector::nothing);
        Some(Self::Pods {
            namespaces: namespaces.map(selected),
            pods: pods.map_or_else(Selector::everything, selected),
        })
    }

    fn block(block: &IPBlock) -> Option<Self> {
        let except: Result<_, _> = block.except.iter().flatten().map(|part| part.parse()).collect();
        Some(Self::Block { range: block.cidr.parse().ok()?, except: except.ok()? })
    }
}

impl Ports {
    fn new(ports: &NetworkPolicyPort) -> Option<Self> {
        let protocol = Protocol::named(ports.protocol.as_deref())?;
        let number = |number: i32| u16::try_from(number).ok();
        Some(match &ports.port {
            None => Self::All(protocol),
            Some(IntOrString::Int(first)) => {
                Self::Range(protocol, number(*first)?..=number(ports.end_port.unwrap_or(*first))?)
            }
            Some(IntOrString::String(name)) => Self::Named(protocol, name.clone()),
        })
    }
}

fn read(selector: &LabelSelector) -> Option<Selector> {
    Selector::from_structured(selector).ok()
}
