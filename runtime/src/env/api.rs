//! Where a pod finds the API, as the variables that clients of Kubernetes look for.

use coracle_api::wellknown::CLUSTER_DOMAIN;
use k8s_openapi::api::core::v1::Service;

/// The Service `kubernetes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    host: String,
    port: i32,
}

impl Api {
    /// Reads it off the Service; nothing if that has no address or port.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let port = spec.ports.iter().flatten().next()?.port;
        Some(Self { host: spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?, port })
    }

    /// The hosts by which pods reach it: its names, as resolvers know them, and its address.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
        let whole = format!("kubernetes.default.svc.{CLUSTER_DOMAIN}");
        names.into_iter().chain([whole, self.host.clone()]).collect()
    }

    /// The variables, those of links among containers included, as the kubelet gives them to every pod.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let Self { host, port } = self;
        // An IPv6 address stands in brackets before a port.
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let url = format!("tcp://{shown}:{port}");
        let link = format!("KUBERNETES_PORT_{port}_TCP");
        vec![
            ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
            ("KUBERNETES_PORT".to_owned(), url.clone()),
            (link.clone(), url),
            (format!("{link}_PROTO"), "tcp".to_owned()),
            (format!("{link}_PORT"), port.to_string()),
            (format!("{link}_ADDR"), host.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_api_is_found_under_the_names_that_clients_look_for() {
        let service = |ip: &str| serde_json::from_value(json!({"spec": {"clusterIP": ip, "ports": [{"port": 443}]}}));
        let api = Api::of(&service("10.43.0.1").unwrap()).unwrap();
        let all: Vec<String> = api.variables().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(all[0], "KUBERNETES_SERVICE_HOST=10.43.0.1");
        assert!(all.contains(&"KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443".to_owned()), "{all:?}");
        assert_eq!(Api::of(&service("None").unwrap()), None);
    }
}
