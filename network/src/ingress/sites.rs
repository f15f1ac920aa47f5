//! Ingresses, turned into sites: which backend a host and path lead to.
//!
//! A pure function of the objects. The oldest Ingress wins where two say the same, so that nobody takes a path that is
//! somebody else's; what is left out is said in a complaint. The rules of the most telling host count alone: rules
//! without a host are for hosts that no other rule names.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::duration;
use coracle_api::meet::Protocol;
use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, ServiceBackendPort};

use super::complaint::{Complaint, Reason, Subject};
use super::host::{ByHost, Host};
use super::path::{PathType, Paths};
use crate::routes::Front;

/// How long a backend may take for each step of an answer, unless the Ingress says otherwise: what ingress-nginx allows.
const PATIENCE: Duration = Duration::from_secs(60);

/// On an Ingress: how long its backends may take for each step of an answer, as `30s`; `0` is for ever.
/// Pods have the same annotation, for themselves.
const REQUEST_TIMEOUT: &str = "coracle.dev/request-timeout";

/// Where requests go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backend {
    /// The port of a Service; none if there is no such Service or port.
    pub(super) front: Option<Front>,
    /// How long each step of an answer may take; none is for ever.
    pub(super) patience: Option<Duration>,
}

/// One host's paths.
#[derive(Debug, Default)]
struct Site {
    paths: Paths<(Arc<Backend>, Subject)>,
    /// For what no path fits.
    rest: Option<Arc<Backend>>,
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Sites {
    hosts: ByHost<Site>,
    /// For what no rule fits.
    rest: Option<Arc<Backend>>,
}

impl Sites {
    /// The backend for a host, as [`super::host::asked`] reads it, and a path.
    pub(super) fn find(&self, host: &str, path: &str) -> Option<&Arc<Backend>> {
        let site = self.hosts.find(host);
        let of_path = site.and_then(|site| Some(&site.paths.find(path)?.0));
        of_path.or_else(|| site?.rest.as_ref()).or(self.rest.as_ref())
    }
}

/// The Services that there are.
pub(super) type Services = HashMap<NamespacedName, Arc<Service>>;

/// The sites of these Ingresses, which are sorted by [`by_age`], and what is wrong with them.
pub(super) fn sites(ingresses: &[Arc<Ingress>], services: &Services) -> (Sites, Vec<Complaint>) {
    let mut made = Making { services, sites: Sites::default(), complaints: Vec::new() };
    for ingress in ingresses {
        made.add(ingress);
    }
    (made.sites, made.complaints)
}

/// The oldest first; of the same age, by namespace and name.
pub(super) fn by_age(ingresses: &mut [Arc<Ingress>]) {
    ingresses.sort_by_key(|ingress| {
        let meta = &ingress.metadata;
        (meta.creation_timestamp.as_ref().map(|time| time.0), meta.namespace.clone(), meta.name.clone())
    });
}

struct Making<'a> {
    services: &'a Services,
    sites: Sites,
    complaints: Vec<Complaint>,
}

impl Making<'_> {
    fn add(&mut self, ingress: &Ingress) {
        let Some(spec) = &ingress.spec else { return };
        let about = Subject::of(ingress);
        let patience = self.patience(ingress, &about);
        let rest = spec.default_backend.as_ref().map(|backend| self.backend(&about, backend, patience));
        for rule in spec.rules.iter().flatten() {
            let host = Host::of_rule(rule.host.as_deref());
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let backend = self.backend(&about, &path.backend, patience);
                let kind = if path.path_type == "Exact" { PathType::Exact } else { PathType::Prefix };
                let text = path.path.as_deref().unwrap_or("/");
                let site = self.sites.hosts.entry(host.clone()).or_default();
                if let Err((_, first)) = site.paths.add(kind, text, (backend, about.clone())) {
                    let message = format!(
                        "path {text:?} of host \"{host}\" leads where Ingress {} has it lead already",
                        first.name
                    );
                    self.complaints.push(Complaint::new(&about, Reason::Conflict, message));
                }
            }
            let site = self.sites.hosts.entry(host).or_default();
            site.rest = site.rest.take().or_else(|| rest.clone());
        }
        self.sites.rest = self.sites.rest.take().or(rest);
    }

    fn patience(&mut self, ingress: &Ingress, about: &Subject) -> Option<Duration> {
        let annotations = ingress.metadata.annotations.as_ref();
        let Some(text) = annotations.and_then(|all| all.get(REQUEST_TIMEOUT)) else { return Some(PATIENCE) };
        match duration::parse(text) {
            Ok(length) => (!length.is_zero()).then_some(length),
            Err(error) => {
                let message = format!("annotation {REQUEST_TIMEOUT}: {error}; write for example 30s");
                self.complaints.push(Complaint::new(about, Reason::InvalidAnnotation, message));
                Some(PATIENCE)
            }
        }
    }

    fn backend(&mut self, about: &Subject, backend: &IngressBackend, patience: Option<Duration>) -> Arc<Backend> {
        let front = self.front(&about.name.namespace, backend).unwrap_or_else(|(reason, message)| {
            self.complaints.push(Complaint::new(about, reason, message));
            None
        });
        Arc::new(Backend { front, patience })
    }

    fn front(&self, namespace: &str, backend: &IngressBackend) -> Result<Option<Front>, (Reason, String)> {
        if let Some(resource) = &backend.resource {
            let message =
                format!("backend {} {:?} is no Service: its paths are answered 503", resource.kind, resource.name);
            return Err((Reason::Unsupported, message));
        }
        let Some(wanted) = &backend.service else { return Ok(None) };
        let name = NamespacedName::new(namespace, &*wanted.name);
        let service = self.services.get(&name).and_then(|service| service.spec.as_ref()).ok_or_else(|| {
            let message = format!("Service \"{name}\" not found: its paths are answered 503");
            (Reason::ServiceNotFound, message)
        })?;
        if service.type_.as_deref() == Some("ExternalName") {
            let message = format!("Service \"{name}\" is an ExternalName: its paths are answered 503");
            return Err((Reason::Unsupported, message));
        }
        let number = wanted.port.as_ref().and_then(|port| number(service.ports.as_deref().unwrap_or_default(), port));
        let number = number.ok_or_else(|| {
            let port = wanted.port.as_ref().map(said).unwrap_or_default();
            let message = format!("Service \"{name}\" has no TCP port {port}: its paths are answered 503");
            (Reason::PortNotFound, message)
        })?;
        let ips = service.cluster_ips.iter().flatten().chain(&service.cluster_ip);
        let ip = ips.filter_map(|ip| ip.parse::<IpAddr>().ok()).next().ok_or_else(|| {
            let message = format!("Service \"{name}\" has no cluster address: its paths are answered 503");
            (Reason::Unsupported, message)
        })?;
        Ok(Some(Front::ClusterIp(Protocol::Tcp, SocketAddr::new(ip, number))))
    }
}

/// The number of a port that is named or numbered, if a Service has it.
fn number(ports: &[k8s_openapi::api::core::v1::ServicePort], wanted: &ServiceBackendPort) -> Option<u16> {
    let mut tcp = ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let found = tcp.find(|port| match (&wanted.name, wanted.number) {
        (Some(name), _) if !name.is_empty() => port.name.as_ref() == Some(name),
        (_, number) => Some(port.port) == number,
    });
    found.and_then(|port| u16::try_from(port.port).ok())
}

fn said(port: &ServiceBackendPort) -> String {
    match (&port.name, port.number) {
        (Some(name), _) if !name.is_empty() => format!("{name:?}"),
        (_, number) => number.unwrap_or_default().to_string(),
    }
}

#[cfg(test)]
mod tests;
