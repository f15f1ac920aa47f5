//! Addresses of Services: cluster IPs and node ports, each given to one Service at a time.
//!
//! Invariant: what is in use is what the stored Services hold and what assignments not yet committed hold. An
//! assignment that is dropped gives back what it took; an address is free again only when its Service is stored
//! without it.

mod cidr;
mod held;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::field::FieldError;
use serde_json::{Value, json};

pub use cidr::{Cidr, InvalidCidr};
use held::Held;

/// The Service that is the API server itself has the first address.
const API_SERVICE: (&str, &str) = ("default", "kubernetes");

/// Who has which address. A clone is the same book.
#[derive(Clone)]
pub struct Addresses(Arc<Book>);

struct Book {
    cidr: Cidr,
    ports: RangeInclusive<u16>,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    held: Held,
    /// Where to look next, so that what was just given back is not given to another at once.
    next_ip: u64,
    next_port: u64,
}

/// Addresses taken for a Service that is about to be stored. Dropped, it gives them back.
#[must_use = "addresses that are not committed are given back"]
pub struct Assigned {
    book: Arc<Book>,
    taken: Held,
    left: Held,
}

impl Assigned {
    /// The Service is stored: it has these addresses, and no longer those that it had before.
    pub fn commit(mut self) {
        self.taken = Held::default();
        let left = std::mem::take(&mut self.left);
        self.book.used().held.remove(&left);
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.book.used().held.remove(&self.taken);
    }
}

impl Book {
    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses {
    /// An empty book over these ranges.
    #[must_use]
    pub fn new(cidr: Cidr, ports: RangeInclusive<u16>) -> Self {
        Self(Arc::new(Book { cidr, ports, used: Mutex::default() }))
    }

    /// The address of the API server's own Service: the first.
    #[must_use]
    pub fn of_api_server(&self) -> Ipv4Addr {
        self.0.cidr.nth(1)
    }

    /// The address that the cluster's DNS has by convention: the tenth.
    #[must_use]
    pub fn of_dns(&self) -> Ipv4Addr {
        self.0.cidr.nth(10)
    }

    /// Takes what a stored Service holds: for each of them at start.
    pub fn occupy(&self, service: &Value) {
        self.0.used().held.add(&Held::by(service));
    }

    /// Gives back what a deleted Service held.
    pub fn release(&self, service: &Value) {
        self.0.used().held.remove(&Held::by(service));
    }

    /// Gives a Service the addresses that its type asks for and writes them into it. What `old` has and `new` wants
    /// stays. To be called before the rules for Services are asked; they tell what is no address at all.
    ///
    /// # Errors
    /// Addresses that another Service has, or that are out of range; then nothing is taken.
    pub fn assign(&self, new: &mut Value, old: Option<&Value>) -> Result<Assigned, Vec<FieldError>> {
        let had = old.map(Held::by).unwrap_or_default();
        let mut assigned = Assigned { book: Arc::clone(&self.0), taken: Held::default(), left: Held::default() };
        let mut errors = Vec::new();
        let mut work = Work { book: &self.0, used: self.0.used(), had: &had, taken: &mut assigned.taken };
        if let Err(error) = work.cluster_ip(new) {
            errors.push(error);
        }
        work.node_ports(new, &mut errors);
        drop(work);
        if !errors.is_empty() {
            return Err(errors);
        }
        assigned.left = had.without(&Held::by(new));
        Ok(assigned)
    }
}

/// One assignment, while the book is open.
struct Work<'a> {
    book: &'a Book,
    used: MutexGuard<'a, Used>,
    had: &'a Held,
    taken: &'a mut Held,
}

fn spec_text<'a>(service: &'a Value, field: &str) -> &'a str {
    service.get("spec").and_then(|s| s.get(field)).and_then(Value::as_str).unwrap_or_default()
}

impl Work<'_> {
    fn cluster_ip(&mut self, service: &mut Value) -> Result<(), FieldError> {
        let given = spec_text(service, "clusterIP").to_owned();
        if spec_text(service, "type") == "ExternalName" || given == "None" {
            return Ok(());
        }
        if given.is_empty() {
            let address = self.free_ip(service)?;
            self.take_ip(address);
            if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("clusterIP".to_owned(), address.to_string().into());
                spec.insert("clusterIPs".to_owned(), json!([address.to_string()]));
            }
            return Ok(());
        }
        // What is no IPv4 address, the rules for Services tell.
        let Ok(address) = given.parse::<Ipv4Addr>() else { return Ok(()) };
        if self.had.ips.contains(&address) {
            return Ok(());
        }
        let refused = |why: String| {
            FieldError::invalid("spec.clusterIPs", json!([given]), format!("failed to allocate IP {given}: {why}"))
        };
        if !self.book.cidr.has_host(address) {
            return Err(refused(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                self.book.cidr
            )));
        }
        if self.used.held.ips.contains(&address) {
            return Err(refused("provided IP is already allocated".to_owned()));
        }
        self.take_ip(address);
        Ok(())
    }

    fn take_ip(&mut self, address: Ipv4Addr) {
        self.used.held.ips.insert(address);
        self.taken.ips.insert(address);
    }

    fn free_ip(&mut self, service: &Value) -> Result<Ipv4Addr, FieldError> {
        let cidr = self.book.cidr;
        let name = |field: &str| service.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str);
        let free = |used: &Used, address: &Ipv4Addr| !used.held.ips.contains(address);
        if (name("namespace"), name("name")) == (Some(API_SERVICE.0), Some(API_SERVICE.1))
            && free(&self.used, &cidr.nth(1))
        {
            return Ok(cidr.nth(1));
        }
        // The lower part is for those who ask for an address; others get one of it only when the rest is used up.
        let (reserved, count) = (cidr.reserved(), cidr.hosts());
        let upper = count.saturating_sub(reserved);
        let start = self.used.next_ip;
        let in_upper = (0..upper).map(|i| reserved + 1 + (start + i) % upper);
        let in_lower = 2..=reserved.min(count);
        let found = in_upper.chain(in_lower).map(|n| cidr.nth(n)).find(|address| free(&self.used, address));
        let Some(address) = found else {
            return Err(FieldError::invalid("spec.clusterIPs", json!([]), "failed to allocate IP: range is full"));
        };
        self.used.next_ip = cidr.position(address).saturating_sub(reserved) % upper.max(1);
        Ok(address)
    }

    fn node_ports(&mut self, service: &mut Value, errors: &mut Vec<FieldError>) {
        let kind = spec_text(service, "type").to_owned();
        if !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            return;
        }
        let local = spec_text(service, "externalTrafficPolicy") == "Local";
        let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
        let automatic = spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)) || kind == "NodePort";
        let mut own = BTreeSet::new();
        let mut ports: Vec<&mut Value> =
            spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().collect();
        for (index, port) in ports.iter().enumerate() {
            if let Some(number) = port.get("nodePort").and_then(Value::as_i64).filter(|n| *n != 0) {
                let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                let shared = own.iter().any(|(n, p): &(i64, String)| *n == number && p != protocol);
                if !shared && let Err(error) = self.given_port(format!("spec.ports[{index}].nodePort"), number) {
                    errors.push(error);
                }
                own.insert((number, protocol.to_owned()));
            }
        }
        for port in
            ports.iter_mut().filter(|p| automatic && p.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0)
        {
            match self.free_port() {
                Ok(number) => insert(port, "nodePort", number),
                Err(error) => errors.push(error),
            }
        }
        if kind == "LoadBalancer" && local {
            self.health_port(spec, errors);
        }
    }

    fn health_port(&mut self, spec: &mut serde_json::Map<String, Value>, errors: &mut Vec<FieldError>) {
        const FIELD: &str = "healthCheckNodePort";
        let result = match spec.get(FIELD).and_then(Value::as_i64).filter(|n| *n != 0) {
            Some(number) => self.given_port(format!("spec.{FIELD}"), number),
            None => self.free_port().map(|number| {
                spec.insert(FIELD.to_owned(), number.into());
            }),
        };
        errors.extend(result.err());
    }

    fn given_port(&mut self, path: String, number: i64) -> Result<(), FieldError> {
        let (first, last) = (self.book.ports.start(), self.book.ports.end());
        let Some(port) = u16::try_from(number).ok().filter(|p| self.book.ports.contains(p)) else {
            let detail = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
            return Err(FieldError::invalid(path, number, detail));
        };
        if self.had.ports.contains(&port) && !self.taken.ports.contains(&port) {
            return Ok(());
        }
        if !self.used.held.ports.insert(port) {
            return Err(FieldError::invalid(path, number, "provided port is already allocated"));
        }
        self.taken.ports.insert(port);
        Ok(())
    }

    fn free_port(&mut self) -> Result<u16, FieldError> {
        let (first, count) = (*self.book.ports.start(), u64::try_from(self.book.ports.len()).unwrap_or(0));
        let start = self.used.next_port;
        let candidates = (0..count).filter_map(|i| u16::try_from(u64::from(first) + (start + i) % count).ok());
        let mut free = candidates.filter(|port| !self.used.held.ports.contains(port));
        let Some(port) = free.next() else {
            let detail = "failed to allocate a nodePort: range is full";
            return Err(FieldError::invalid("spec.ports", json!([]), detail));
        };
        drop(free);
        self.used.next_port = u64::from(port - first) + 1;
        self.used.held.ports.insert(port);
        self.taken.ports.insert(port);
        Ok(port)
    }
}

fn insert(object: &mut Value, field: &str, value: u16) {
    if let Some(object) = object.as_object_mut() {
        object.insert(field.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Addresses {
        Addresses::new("10.0.0.0/24".parse().unwrap(), 30000..=30002)
    }

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "s", "namespace": "x"}, "spec": spec})
    }

    fn assign(book: &Addresses, spec: Value) -> Result<Value, Vec<String>> {
        let mut service = service(spec);
        match book.assign(&mut service, None) {
            Ok(assigned) => {
                assigned.commit();
                Ok(service)
            }
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn every_service_has_an_address_of_its_own() {
        let book = book();
        let mut seen = BTreeSet::new();
        for _ in 0..253 {
            let service = assign(&book, json!({"type": "ClusterIP"})).unwrap();
            assert!(seen.insert(service["spec"]["clusterIP"].as_str().unwrap().to_owned()));
            assert_eq!(service["spec"]["clusterIPs"][0], service["spec"]["clusterIP"]);
        }
        assert!(!seen.contains("10.0.0.1"), "the first address is the API server's");
        let full = assign(&book, json!({"type": "ClusterIP"})).unwrap_err();
        assert_eq!(full, ["spec.clusterIPs: Invalid value: []: failed to allocate IP: range is full"]);
    }

    #[test]
    fn the_api_server_has_the_first_address_and_dns_may_ask_for_the_tenth() {
        let book = book();
        let mut api =
            json!({"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"type": "ClusterIP"}});
        book.assign(&mut api, None).unwrap().commit();
        assert_eq!(api["spec"]["clusterIP"], json!(book.of_api_server().to_string()));
        assert!(assign(&book, json!({"type": "ClusterIP", "clusterIP": book.of_dns().to_string()})).is_ok());
    }

    #[test]
    fn what_another_has_or_is_out_of_range_is_refused() {
        let book = book();
        let ip = |ip: &str| json!({"type": "ClusterIP", "clusterIP": ip});
        let port = |port: u16| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
        assign(&book, ip("10.0.0.9")).unwrap();
        assign(&book, port(30000)).unwrap();
        expect_test::expect![[r#"
            spec.clusterIPs: Invalid value: ["10.0.0.9"]: failed to allocate IP 10.0.0.9: provided IP is already allocated
            spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.0.0.0/24
            spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated
            spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30002"#]]
        .assert_eq(&[ip("10.0.0.9"), ip("1.2.3.4"), port(30000), port(80)].map(|s| assign(&book, s).unwrap_err().join("")).join("\n"));
    }

    #[test]
    fn one_port_may_serve_two_protocols_of_one_service() {
        let two = |protocol: &str| {
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"},
                {"port": 80, "nodePort": 30001, "protocol": protocol}]})
        };
        assert!(assign(&book(), two("UDP")).is_ok());
        assert!(assign(&book(), two("TCP")).is_err());
    }

    #[test]
    fn what_is_not_committed_is_given_back() {
        let book = book();
        let wanted = || service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.9"}));
        drop(book.assign(&mut wanted(), None).unwrap());
        book.assign(&mut wanted(), None).unwrap().commit();
        assert!(book.assign(&mut wanted(), None).is_err());
        book.release(&wanted());
        assert!(book.assign(&mut wanted(), None).is_ok());
    }

    #[test]
    fn a_change_keeps_what_it_wants_and_leaves_the_rest() {
        let book = book();
        let old = assign(&book, json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}, {"port": 81}]}))
            .unwrap();
        let mut new = old.clone();
        new["spec"]["ports"].as_array_mut().unwrap().pop();
        let assigned = book.assign(&mut new, Some(&old)).unwrap();
        assert_eq!(new["spec"]["clusterIP"], old["spec"]["clusterIP"]);
        assigned.commit();
        // Of three ports one is left with the Service, so two are free.
        assert!(assign(&book, json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]})).is_ok());
        assert!(assign(&book, json!({"type": "NodePort", "ports": [{"port": 1}]})).is_err());
    }
}
