//! What a new cluster has beside the API server's own objects: the `kube-dns` Service, pointing at the DNS server, the
//! storage class `local-path`, and the class `coracle` of Ingresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use coracle_api::meet::{PodNames, Resolver};
use coracle_api::{storage, wellknown};
use coracle_runtime::NameFacts;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// By convention the tenth address of the Service range.
const CLUSTER_DNS_INDEX: u32 = 10;

/// Where this machine says whom it asks for names.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Corrects or creates `kube-dns`. Without a DNS server there is none.
pub(crate) async fn cluster_dns(
    client: kube::Client,
    service_cidr: &str,
    address: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let ip = nth_address(service_cidr, CLUSTER_DNS_INDEX)
        .with_context(|| format!("--service-cluster-ip-range {service_cidr:?} has no tenth address"))?;
    let namespace = wellknown::NAMESPACE_KUBE_SYSTEM;
    patch_or_create(Api::<Service>::namespaced(client.clone(), namespace), "kube-dns", service(ip)).await?;
    let reachable = reachable(address);
    patch_or_create(Api::<EndpointSlice>::namespaced(client, namespace), "kube-dns", slice(reachable)).await
}

/// Makes the storage class `local-path`.
pub(crate) async fn storage_class(client: kube::Client) -> anyhow::Result<()> {
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {
            "name": storage::CLASS_LOCAL_PATH, "annotations": {storage::ANNOTATION_DEFAULT_CLASS: "true"},
        },
        "provisioner": storage::PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    }))?;
    once(client, "coracle.dev/storage-class-made", class).await.context("the storage class cannot be written")
}

/// Makes the class `coracle` of Ingresses.
pub(crate) async fn ingress_class(client: kube::Client) -> anyhow::Result<()> {
    let class: IngressClass = serde_json::from_value(json!({
        "metadata": {
            "name": wellknown::INGRESS_CLASS,
            "annotations": {wellknown::ANNOTATION_DEFAULT_INGRESS_CLASS: "true"},
        },
        "spec": {"controller": wellknown::INGRESS_CONTROLLER},
    }))?;
    once(client, "coracle.dev/ingress-class-made", class).await.context("the class of Ingresses cannot be written")
}

/// Makes an object once in the life of a cluster: who deletes or changes it is not overruled by the next start.
/// That it was made is noted on the namespace `kube-system`.
async fn once<K>(client: kube::Client, mark: &str, object: K) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = namespaces.get(wellknown::NAMESPACE_KUBE_SYSTEM).await?;
    if storage::annotation(&system.metadata, mark).is_some() {
        return Ok(());
    }
    match Api::<K>::all(client).create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => drop(made?),
    }
    let mark = json!({"metadata": {"annotations": {mark: object.meta().name}}});
    namespaces.patch(wellknown::NAMESPACE_KUBE_SYSTEM, &PatchParams::default(), &Patch::Merge(mark)).await?;
    Ok(())
}

fn service(ip: IpAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
        "spec": {"clusterIP": ip, "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        ]},
    })
}

fn slice(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "labels": {wellknown::LABEL_SERVICE_NAME: "kube-dns"}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
        "ports": [
            {"name": "dns", "port": address.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": address.port(), "protocol": "TCP"},
        ],
    })
}

async fn patch_or_create<K>(api: Api<K>, name: &str, object: Value) -> anyhow::Result<()>
where
    K: kube::Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let written = match api.patch(name, &PatchParams::default(), &Patch::Merge(&object)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            api.create(&PostParams::default(), &serde_json::from_value(object)?).await
        }
        patched => patched,
    };
    written.map(|_| ()).with_context(|| format!("{name} of the cluster cannot be written"))
}

/// Where pods reach a server bound to `address`: the wildcard address is this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        _ => address,
    }
}

fn nth_address(cidr: &str, index: u32) -> Option<IpAddr> {
    let (base, bits) = cidr.split_once('/')?;
    let base: std::net::Ipv4Addr = base.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|b| *b <= 32)?;
    let size = 1_u64 << (32 - bits);
    (u64::from(index) < size).then(|| IpAddr::from((u32::from(base) + index).to_be_bytes()))
}

/// The resolver that guests ask: the cluster's, or one that knows no name where DNS is left out.
pub(crate) fn resolver(dns: Option<&coracle_dns::Dns>) -> Arc<dyn Resolver> {
    dns.map_or_else(|| Arc::new(NoNames) as Arc<dyn Resolver>, coracle_dns::Dns::resolver)
}

struct NoNames;

#[async_trait]
impl Resolver for NoNames {
    async fn lookup(&self, name: &str, _pod: &PodNames) -> Vec<IpAddr> {
        name.parse().into_iter().collect()
    }
}

/// What names of pods are made of; `has_dns` if the cluster has a name server.
pub(crate) fn name_facts(service_cidr: &str, has_dns: bool) -> NameFacts {
    let server = nth_address(service_cidr, CLUSTER_DNS_INDEX).filter(|_| has_dns);
    NameFacts { server, resolv_conf: Some(RESOLV_CONF.into()), ..NameFacts::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_address_is_counted_from_the_range_s_first() {
        assert_eq!(nth_address("127.43.0.0/16", 10), Some(IpAddr::from([127, 43, 0, 10])));
        assert_eq!(nth_address("10.0.0.0/29", 10), None);
        assert_eq!(nth_address("nonsense", 10), None);
    }
}
