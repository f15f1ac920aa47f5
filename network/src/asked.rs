//! What a Service asks for, read once: its addresses, ports and policies, and nothing else of it.
//!
//! It refuses to guess: what cannot be read (an address that is none, a protocol that is not ours) is left out.

use std::net::IpAddr;
use std::time::Duration;

use coracle_api::meet::Protocol;
use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use crate::cidr::Cidr;

/// How long a client stays with its endpoint when the Service does not say: the API's own default.
const AFFINITY_DEFAULT: Duration = Duration::from_secs(10_800);

/// A Service, as far as routes depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) service: NamespacedName,
    pub(crate) uid: String,
    /// When it was created, in nanoseconds since 1970: of two that want one port of the node, the older gets it.
    pub(crate) born: i128,
    pub(crate) ports: Vec<Port>,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) external_ips: Vec<IpAddr>,
    /// Set if the node is its load balancer.
    pub(crate) balancer: Option<Balancer>,
    pub(crate) affinity: Affinity,
    /// Which endpoints its cluster addresses lead to.
    pub(crate) internal: Reach,
    /// Which endpoints all its other addresses lead to.
    pub(crate) external: Reach,
    /// The port of the node at which its load balancer asks whether there are endpoints.
    pub(crate) health_check: Option<u16>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// Empty if it has none.
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) number: u16,
    /// The port of the node that is this one too.
    pub(crate) node_port: Option<u16>,
}

/// What a load balancer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Balancer {
    /// Who may connect; everybody if it is empty.
    pub(crate) sources: Vec<Cidr>,
}

/// Whether a client comes back to the endpoint it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// Every connection goes to the next endpoint.
    None,
    /// By the client's address, unless it has been away for so long.
    ClientIp(Duration),
}

/// Which endpoints are led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of all nodes.
    Cluster,
    /// Those of this node; where it has none, nobody.
    Local,
}

impl Asked {
    /// What the Service asks for; nothing if it has no endpoints by its nature.
    pub(crate) fn of(service: &Service) -> Option<Self> {
        let (meta, spec) = (&service.metadata, service.spec.as_ref()?);
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        if kind == "ExternalName" {
            return None;
        }
        let exposed = matches!(kind, "NodePort" | "LoadBalancer");
        // A class names somebody else's load balancer.
        let is_balanced = kind == "LoadBalancer" && spec.load_balancer_class.is_none();
        let external = reach(spec.external_traffic_policy.as_deref());
        let health_check = number(spec.health_check_node_port).filter(|_| is_local_balancer(kind, external));
        Some(Self {
            service: name_of(service),
            uid: meta.uid.clone().unwrap_or_default(),
            born: meta.creation_timestamp.as_ref().map_or(i128::MIN, |time| time.0.as_nanosecond()),
            ports: spec.ports.iter().flatten().filter_map(|p| port(p, exposed)).collect(),
            cluster_ips: cluster_ips(spec),
            external_ips: spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect(),
            balancer: is_balanced.then(|| Balancer { sources: sources(spec) }),
            affinity: affinity(spec),
            internal: reach(spec.internal_traffic_policy.as_deref()),
            external,
            health_check,
        })
    }
}

/// Namespace and name of a Service.
pub(crate) fn name_of(service: &Service) -> NamespacedName {
    let meta = &service.metadata;
    NamespacedName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// A protocol that is ours.
pub(crate) fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text.filter(|text| !text.is_empty()).unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

fn port(port: &ServicePort, exposed: bool) -> Option<Port> {
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: protocol(port.protocol.as_deref())?,
        number: number(Some(port.port))?,
        node_port: number(port.node_port).filter(|_| exposed),
    })
}

fn number(port: Option<i32>) -> Option<u16> {
    port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
}

fn reach(policy: Option<&str>) -> Reach {
    if policy == Some("Local") { Reach::Local } else { Reach::Cluster }
}

fn is_local_balancer(kind: &str, external: Reach) -> bool {
    kind == "LoadBalancer" && external == Reach::Local
}

/// The Service's cluster addresses; none if it is headless or has not been given one yet.
fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let texts = if all.is_empty() { spec.cluster_ip.as_slice() } else { all };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The API server has checked them; one that could still not be read must not open the Service to all.
fn sources(spec: &ServiceSpec) -> Vec<Cidr> {
    let nobody = || Cidr::host(IpAddr::from([0, 0, 0, 0]));
    let texts = spec.load_balancer_source_ranges.iter().flatten();
    texts.map(|text| text.trim().parse().unwrap_or_else(|_| nobody())).collect()
}

fn affinity(spec: &ServiceSpec) -> Affinity {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return Affinity::None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client| client.timeout_seconds).and_then(|s| u64::try_from(s).ok());
    Affinity::ClientIp(seconds.map_or(AFFINITY_DEFAULT, Duration::from_secs))
}
