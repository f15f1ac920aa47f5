//! The first objects: the namespaces, and the Service by which pods find the API.
//!
//! Made at every start where they are missing, and brought up to date where the server's address has changed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use coracle_api::clock;
use coracle_api::wellknown::{LABEL_SERVICE_NAME, NAMESPACE_DEFAULT, NAMESPACES, USER_APISERVER};
use serde_json::{Value, json};

use crate::admit;
use crate::answer::Refused;
use crate::apply::Typed;
use crate::apply::update::track;
use crate::authorizer::{defaults, rbac};
use crate::identity::Identity;
use crate::machine::{Call, Machine};
use crate::object;
use crate::options::write::WriteOptions;
use crate::registry::SYSTEM_PRIORITIES;
use crate::request::ResourcePath;
use crate::store::{Action, Entry, Expect, Happened, Key, Prefix, WatchError, Watcher};
use crate::verbs::write::{self, Attempt};

/// How long to wait before trying again to write what was deleted.
const KEEP_RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// Who manages these objects: upstream's name for the server.
const AGENT: &str = "kube-apiserver";

/// The name of the API's own Service.
const SERVICE: &str = "kubernetes";

/// Makes what is missing. `addr` is where the server really listens, `service` the address of its Service.
pub(crate) async fn bootstrap(machine: &Arc<Machine>, addr: SocketAddr, service: IpAddr) -> Result<(), Refused> {
    for name in NAMESPACES {
        ensure(machine, ("", "namespaces", ""), json!({"metadata": {"name": name}})).await?;
    }
    for (name, value, description) in SYSTEM_PRIORITIES {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description});
        ensure(machine, ("scheduling.k8s.io", "priorityclasses", ""), class).await?;
    }
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let port = json!({"name": "https", "protocol": "TCP", "port": 443, "targetPort": addr.port()});
    let wanted = json!({
        "metadata": {"name": SERVICE, "labels": labels},
        "spec": {"type": "ClusterIP", "clusterIP": service.to_string(), "ports": [port]},
    });
    ensure(machine, ("", "services", NAMESPACE_DEFAULT), wanted).await?;
    let reached = crate::pki::kubeconfig::reachable(addr.ip()).to_string();
    let port = json!({"name": "https", "port": addr.port(), "protocol": "TCP"});
    let endpoints = json!({
        "metadata": {"name": SERVICE, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": reached}], "ports": [port]}],
    });
    ensure(machine, ("", "endpoints", NAMESPACE_DEFAULT), endpoints).await?;
    let slice = json!({
        "metadata": {"name": SERVICE, "labels": {LABEL_SERVICE_NAME: SERVICE}},
        "addressType": if addr.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [reached], "conditions": {"ready": true}}],
        "ports": [port],
    });
    ensure(machine, ("discovery.k8s.io", "endpointslices", NAMESPACE_DEFAULT), slice).await
}

/// Makes what is missing of the roles and bindings that a new cluster has.
pub(crate) async fn policy(machine: &Arc<Machine>) -> Result<(), Refused> {
    for resource in ["clusterroles", "clusterrolebindings"] {
        let wanted = defaults::objects(resource).into_iter();
        let made = wanted.map(|object| ensure(machine, (rbac::GROUP, resource, ""), object));
        // All at once: they are written together.
        futures::future::try_join_all(made).await?;
    }
    Ok(())
}

/// Makes again what is deleted of the API's own Service, for as long as the store is open: without it no pod finds the API.
pub(crate) async fn keep(machine: &Arc<Machine>, addr: SocketAddr, service: IpAddr) {
    let ours = [("", "services"), ("", "endpoints"), ("discovery.k8s.io", "endpointslices")];
    let keys = ours.map(|(group, resource)| Key::new(group, resource, NAMESPACE_DEFAULT, SERVICE));
    loop {
        let revision = machine.store.revision();
        let watches = keys.iter().map(|key| machine.store.watch(&Prefix::object(key), revision));
        let Ok(mut watches) = watches.collect::<Result<Vec<_>, _>>() else { return };
        // After the watches have begun: what is deleted meanwhile is seen by them.
        if let Err(refused) = bootstrap(machine, addr, service).await {
            // A deletion is seen before its address is given back.
            tracing::debug!(reason = %refused.json(), "the API's own Service cannot be written yet");
            tokio::time::sleep(KEEP_RETRY).await;
            continue;
        }
        let next = watches.iter_mut().map(|watch| Box::pin(deleted(watch)));
        if futures::future::select_all(next).await.0 == Err(WatchError::Stopped) {
            return;
        }
    }
}

/// Waits until the watched object is deleted.
async fn deleted(watch: &mut Watcher) -> Result<(), WatchError> {
    loop {
        if let Happened::Deleted(_) = watch.next().await?.happened {
            return Ok(());
        }
    }
}

/// Makes the object, or brings an older one up to date.
async fn ensure(
    machine: &Arc<Machine>,
    (group, resource, namespace): (&str, &str, &str),
    mut wanted: Value,
) -> Result<(), Refused> {
    let rows = machine.registry.rows();
    let Some(row) = rows.iter().find(|r| r.group == group && r.plural == resource) else { return Ok(()) };
    let fields = object::map_mut(&mut wanted);
    fields.insert("apiVersion".to_owned(), row.api_version().into());
    fields.insert("kind".to_owned(), row.kind.into());
    let path = ResourcePath {
        group: group.to_owned(),
        version: row.version.to_owned(),
        namespace: namespace.to_owned(),
        resource: resource.to_owned(),
        name: object::text(&wanted, "name").to_owned(),
        subresource: String::new(),
        rest: String::new(),
        watched: false,
    };
    let call = Call {
        machine: Arc::clone(machine),
        user: Identity::user(USER_APISERVER),
        row: Arc::clone(row),
        path,
        query: String::new(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
        agent: AGENT.to_owned(),
        upgrade: None,
    };
    match call.existing() {
        Err(_) => make(&call, wanted).await,
        Ok(entry) => renew(&call, &entry, &wanted).await,
    }
}

async fn make(call: &Call, mut wanted: Value) -> Result<(), Refused> {
    let uid = uuid::Uuid::new_v4().to_string();
    object::begin(&mut wanted, &call.row, &call.path.namespace, uid, clock::now());
    let (admitted, reserved) =
        admit::create_our_own(&call.machine, &call.row, wanted, &call.writer(&WriteOptions::default()))?;
    let put = Action::Put(write::encode(&admitted)?);
    if let Attempt::Done(_) = write::commit(call, call.key(&call.path.name), Expect::Absent, put).await? {
        reserved.keep();
    }
    Ok(())
}

/// Gives an object of an earlier start what may have changed: where the server is reached.
async fn renew(call: &Call, entry: &Entry, wanted: &Value) -> Result<(), Refused> {
    let old = entry.value();
    let mut new = old.clone();
    let fields = object::map_mut(&mut new);
    for name in ["subsets", "endpoints", "ports"] {
        if let Some(value) = wanted.get(name) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(ports) = wanted.pointer("/spec/ports") {
        object::map_mut(fields.entry("spec").or_insert(Value::Null)).insert("ports".to_owned(), ports.clone());
    }
    if new == old {
        return Ok(());
    }
    let writer = call.writer(&WriteOptions::default());
    track(&Typed::of(&call.row, &writer.subresource), Some(&old), &mut new, None, &writer);
    let put = Action::Put(write::encode(&admit::of_our_own(new))?);
    write::commit(call, entry.key().clone(), Expect::At(entry.revision()), put).await.map(|_| ())
}
