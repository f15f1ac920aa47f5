//! The downward API: what a pod may know about itself, as text.
//!
//! Pure. The same fields serve environment variables and volumes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use coracle_api::quantity;
use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};

/// What is known about a pod beside its object.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its address.
    pub pod_ip: IpAddr,
    /// The node's address.
    pub host_ip: IpAddr,
    /// What the node offers, in millicores and bytes: the limit of a container that has none.
    pub allocatable: Allocatable,
}

/// What a node offers to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocatable {
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of disk.
    pub ephemeral_storage: i64,
}

/// A field that the downward API does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported fieldPath: {0}")]
pub struct NoSuchField(pub String);

impl Facts<'_> {
    /// The value of a `fieldRef`.
    ///
    /// # Errors
    /// [`NoSuchField`] for a path that the downward API does not have.
    pub fn field(&self, selector: &ObjectFieldSelector) -> Result<String, NoSuchField> {
        let path = selector.field_path.as_str();
        let meta = &self.pod.metadata;
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        let spec = |f: fn(&k8s_openapi::api::core::v1::PodSpec) -> &Option<String>| {
            self.pod.spec.as_ref().and_then(|s| f(s).clone()).unwrap_or_default()
        };
        if let Some(value) = subscript(path, "metadata.labels", meta.labels.as_ref()) {
            return Ok(value);
        }
        if let Some(value) = subscript(path, "metadata.annotations", meta.annotations.as_ref()) {
            return Ok(value);
        }
        match path {
            "metadata.name" => Ok(text(&meta.name)),
            "metadata.namespace" => Ok(text(&meta.namespace)),
            "metadata.uid" => Ok(text(&meta.uid)),
            "metadata.labels" => Ok(lines(meta.labels.as_ref())),
            "metadata.annotations" => Ok(lines(meta.annotations.as_ref())),
            "spec.nodeName" => Ok(spec(|s| &s.node_name)),
            "spec.serviceAccountName" => Ok(spec(|s| &s.service_account_name)),
            "status.hostIP" | "status.hostIPs" => Ok(self.host_ip.to_string()),
            "status.podIP" | "status.podIPs" => Ok(self.pod_ip.to_string()),
            other => Err(NoSuchField(other.to_owned())),
        }
    }

    /// The value of a `resourceFieldRef`; `own` is the container that asks, if it names no other.
    ///
    /// # Errors
    /// [`NoSuchField`] for a container or resource that there is not.
    pub fn resource(&self, selector: &ResourceFieldSelector, own: Option<&Container>) -> Result<String, NoSuchField> {
        let named = selector.container_name.as_deref().filter(|n| !n.is_empty());
        let container = match named {
            Some(name) => self
                .pod
                .spec
                .iter()
                .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
                .find(|c| c.name == name)
                .ok_or_else(|| NoSuchField(format!("container {name:?}")))?,
            None => own.ok_or_else(|| NoSuchField("containerName is missing".to_owned()))?,
        };
        let no = || NoSuchField(selector.resource.clone());
        let (which, resource) = selector.resource.split_once('.').ok_or_else(no)?;
        let of = |map: fn(&k8s_openapi::api::core::v1::ResourceRequirements) -> Option<&Amounts>| {
            container.resources.as_ref().and_then(map).and_then(|m| m.get(resource))
        };
        let limit = || of(|r| r.limits.as_ref());
        let amount = match which {
            "limits" => limit(),
            "requests" => of(|r| r.requests.as_ref()).or_else(limit),
            _ => return Err(no()),
        };
        let value = match amount {
            Some(q) => quantity::nanos(&q.0).map_err(|_| no())?,
            None if which == "requests" => 0,
            None => self.whole_node(resource).ok_or_else(no)?,
        };
        let divisor = selector.divisor.as_ref().and_then(|d| quantity::nanos(&d.0).ok()).filter(|d| *d > 0);
        let divisor = divisor.unwrap_or(NANO);
        Ok(((value + divisor - 1) / divisor).to_string())
    }

    fn whole_node(&self, resource: &str) -> Option<i128> {
        match resource {
            "cpu" => Some(i128::from(self.allocatable.cpu_millis) * (NANO / 1000)),
            "memory" => Some(i128::from(self.allocatable.memory) * NANO),
            "ephemeral-storage" => Some(i128::from(self.allocatable.ephemeral_storage) * NANO),
            _ => None,
        }
    }
}

type Amounts = BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

const NANO: i128 = 1_000_000_000;

/// The value of `metadata.labels['key']`, if `path` has that form.
fn subscript(path: &str, field: &str, map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let key = path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")?;
    Some(map.and_then(|m| m.get(key)).cloned().unwrap_or_default())
}

/// `key="value"` by line, as the kubelet writes labels and annotations.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let all: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
    all.join("\n")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;

    pub(crate) fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "web", "x": "a\"b"}},
            "spec": spec,
        }))
        .unwrap()
    }

    pub(crate) fn facts(pod: &Pod) -> Facts<'_> {
        Facts {
            pod,
            pod_ip: IpAddr::V4(Ipv4Addr::new(10, 42, 0, 7)),
            host_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            allocatable: Allocatable { cpu_millis: 2000, memory: 1 << 30, ephemeral_storage: 1 << 32 },
        }
    }

    #[test]
    fn fields_are_named_as_upstream_names_them() {
        let pod = pod(json!({"containers": [], "nodeName": "n"}));
        let facts = facts(&pod);
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"web\"\nx=\"a\\\"b\""),
            ("spec.nodeName", "n"),
            ("status.podIP", "10.42.0.7"),
        ] {
            let selector = ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() };
            assert_eq!(facts.field(&selector).as_deref(), Ok(expected), "{path}");
        }
        let selector = ObjectFieldSelector { field_path: "spec.x".into(), ..ObjectFieldSelector::default() };
        assert!(facts.field(&selector).is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod(json!({"containers": [
            {"name": "c", "resources": {"limits": {"memory": "65Mi"}, "requests": {"cpu": "250m"}}}
        ]}));
        for (resource, divisor, expected) in [
            ("limits.memory", "1Mi", "65"),
            ("limits.memory", "1", "68157440"),
            ("requests.cpu", "1", "1"),
            ("requests.cpu", "1m", "250"),
            ("limits.cpu", "1", "2"),
            ("requests.memory", "1Mi", "65"),
        ] {
            let selector: ResourceFieldSelector =
                serde_json::from_value(json!({"containerName": "c", "resource": resource, "divisor": divisor}))
                    .unwrap();
            assert_eq!(facts(&pod).resource(&selector, None).as_deref(), Ok(expected), "{resource}/{divisor}");
        }
    }
}
