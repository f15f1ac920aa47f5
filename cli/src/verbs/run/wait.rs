//! Waits until what was applied is ready, and says early what stands in its way.

use std::time::Duration;

use anyhow::bail;
use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use super::objects::Wanted;
use crate::call;

/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// For how long a port that could not be opened may still be: the network tries again every five seconds.
const PORT_PATIENCE: Duration = Duration::from_secs(6);

/// Reasons of a waiting container that do not pass by themselves.
const HOPELESS: [&str; 7] = [
    "InvalidImage",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Ready,
    /// Not yet, and why.
    Waiting(String),
    /// It will not be, and why.
    Failed(String),
}

/// Waits until all replicas of the newest image are ready and its port is open.
pub(super) async fn until_ready(
    client: &Client,
    namespace: &str,
    wanted: &Wanted,
    timeout: Duration,
) -> anyhow::Result<()> {
    let name = &wanted.name;
    let began = Instant::now();
    loop {
        let why = match look(client, namespace, wanted, began).await? {
            Progress::Ready => return Ok(()),
            Progress::Waiting(why) if began.elapsed() < timeout => why,
            Progress::Waiting(why) => {
                bail!("{name} is not ready after {timeout:?}: {why}; `coracle describe deploy/{name}` tells more")
            }
            Progress::Failed(why) => bail!("{name} does not become ready: {why}"),
        };
        crate::output::progress(&format!("waiting for {name}: {why}"));
        tokio::time::sleep(LOOK_AGAIN).await;
        crate::output::progress_done();
    }
}

async fn look(client: &Client, namespace: &str, wanted: &Wanted, began: Instant) -> anyhow::Result<Progress> {
    let name = &wanted.name;
    let deployment: Value =
        call::get(client, &format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")).await?;
    let pods = pods(client, namespace, wanted).await?;
    let progress = progress(&deployment, &pods, &wanted.image);
    if progress != Progress::Ready || wanted.port.is_none() {
        return Ok(progress);
    }
    let service = service(client, namespace, wanted).await?;
    if address(&service).is_some() {
        return Ok(Progress::Ready);
    }
    let all: Value = call::get(client, "/api/v1/services").await?;
    if let Some(holder) = wanted.port.and_then(|port| holder(&all, port)) {
        let port = wanted.port.unwrap_or_default();
        return Ok(Progress::Failed(format!("port {port} is that of service {holder}: choose another with --port")));
    }
    let uid = service.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let query = format!("fieldSelector=involvedObject.uid%3D{uid}%2Creason%3DFailedToBind");
    let events: Value = call::get(client, &format!("/api/v1/namespaces/{namespace}/events?{query}")).await?;
    let said = events.pointer("/items").and_then(Value::as_array).and_then(|items| items.last());
    Ok(match said.and_then(|event| event.get("message")).and_then(Value::as_str) {
        Some(message) if began.elapsed() >= PORT_PATIENCE => Progress::Failed(message.to_owned()),
        Some(message) => Progress::Waiting(message.to_owned()),
        None => Progress::Waiting("its port is not open yet".to_owned()),
    })
}

/// The pods that are its, those of earlier images included.
pub(super) async fn pods(client: &Client, namespace: &str, wanted: &Wanted) -> anyhow::Result<Vec<Value>> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("labelSelector", &wanted.selector());
    let list: Value = call::get(client, &format!("/api/v1/namespaces/{namespace}/pods?{}", query.finish())).await?;
    Ok(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

async fn service(client: &Client, namespace: &str, wanted: &Wanted) -> anyhow::Result<Value> {
    call::get(client, &format!("/api/v1/namespaces/{namespace}/services/{}", wanted.name)).await
}

/// The Service that is reached at this port already, as `namespace/name`.
pub(super) fn holder(services: &Value, port: u16) -> Option<String> {
    let all = services.get("items").and_then(Value::as_array)?;
    let has = |service: &Value| {
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let mut numbers = ports.into_iter().flatten().filter_map(|p| p.get("port").and_then(Value::as_u64));
        address(service).is_some() && numbers.any(|number| number == u64::from(port))
    };
    let text = |service: &Value, key: &str| service.pointer(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let service = all.iter().find(|service| has(service))?;
    Some(format!("{}/{}", text(service, "/metadata/namespace"), text(service, "/metadata/name")))
}

fn address(service: &Value) -> Option<&str> {
    service.pointer("/status/loadBalancer/ingress/0/ip").and_then(Value::as_str)
}

/// What a person does next.
pub(super) async fn where_it_is(client: &Client, namespace: &str, wanted: &Wanted) -> anyhow::Result<String> {
    let name = &wanted.name;
    let Some(port) = wanted.port else {
        return Ok(format!("{name} is ready; `coracle logs -f deploy/{name}` shows what it writes"));
    };
    let service = service(client, namespace, wanted).await?;
    let host = match address(&service) {
        None | Some("127.0.0.1" | "::1") => "localhost".to_owned(),
        Some(ip) if ip.contains(':') => format!("[{ip}]"),
        Some(ip) => ip.to_owned(),
    };
    let scheme = if wanted.http { "http://" } else { "" };
    Ok(format!("{name} is ready at {scheme}{host}:{port}"))
}

/// How far a Deployment is, judged by its status and its pods of `image`.
pub(super) fn progress(deployment: &Value, pods: &[Value], image: &str) -> Progress {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Progress::Waiting("the deployment controller has not seen it yet".to_owned());
    }
    if let Some(why) = pods.iter().filter(|pod| is_of(pod, image)).find_map(hopeless) {
        return Progress::Failed(why);
    }
    for (kind, bad) in [("ReplicaFailure", "True"), ("Progressing", "False")] {
        if let Some(condition) = condition(deployment, kind, bad) {
            return Progress::Failed(text(condition, "message").to_owned());
        }
    }
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let (updated, available) = (number("/status/updatedReplicas"), number("/status/availableReplicas"));
    if updated >= wanted && available >= wanted && number("/status/replicas") <= wanted {
        return Progress::Ready;
    }
    let blocked = pods.iter().filter(|pod| is_of(pod, image)).find_map(blocked);
    Progress::Waiting(blocked.unwrap_or_else(|| {
        let old = number("/status/replicas").saturating_sub(updated);
        match old {
            0 => format!("{available} of {wanted} replicas are ready"),
            _ => format!("{updated} of {wanted} replicas are new, {old} old ones are still there"),
        }
    }))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_of(pod: &Value, image: &str) -> bool {
    let gone = pod.pointer("/metadata/deletionTimestamp").is_some();
    !gone && pod.pointer("/spec/containers/0/image").and_then(Value::as_str) == Some(image)
}

fn condition<'a>(object: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    let all = object.pointer("/status/conditions").and_then(Value::as_array)?;
    all.iter().find(|condition| text(condition, "type") == kind && text(condition, "status") == status)
}

/// Why a pod will never be ready.
fn hopeless(pod: &Value) -> Option<String> {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let container = pod.pointer("/status/containerStatuses/0")?;
    let waiting = container.pointer("/state/waiting").filter(|w| HOPELESS.contains(&text(w, "reason")))?;
    if text(waiting, "reason") != "CrashLoopBackOff" {
        return Some(format!("pod {name}: {}: {}", text(waiting, "reason"), text(waiting, "message")));
    }
    let ended = container.pointer("/lastState/terminated").cloned().unwrap_or_default();
    let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    let logs = format!("`coracle logs {name} --previous` shows what it wrote");
    if code == 0 {
        return Some(format!("pod {name} ran to its end, and a Deployment is for what goes on running; {logs}"));
    }
    let message = match text(&ended, "message") {
        "" => String::new(),
        message => format!(": {message}"),
    };
    Some(format!("pod {name} ends again and again ({}, exit code {code}){message}; {logs}", text(&ended, "reason")))
}

/// Why a pod is not ready yet, where it says so.
fn blocked(pod: &Value) -> Option<String> {
    if let Some(condition) = condition(pod, "PodScheduled", "False") {
        return Some(text(condition, "message").to_owned());
    }
    let waiting = pod.pointer("/status/containerStatuses/0/state/waiting")?;
    let (reason, message) = (text(waiting, "reason"), text(waiting, "message"));
    (!message.is_empty()).then(|| format!("{reason}: {message}"))
}
