//! A pod's page.

use serde_json::Value;

use super::page::{Page, list, pairs, scalar, text};

pub(super) fn describe(page: &mut Page, pod: &Value) {
    page.field("Name", text(pod, "/metadata/name"));
    page.field("Namespace", text(pod, "/metadata/namespace"));
    page.field("Priority", scalar(pod, "/spec/priority").replace("<none>", "0"));
    page.field("Service Account", scalar(pod, "/spec/serviceAccountName"));
    page.field(
        "Node",
        match (text(pod, "/spec/nodeName"), text(pod, "/status/hostIP")) {
            ("", _) => "<none>".to_owned(),
            (node, ip) => format!("{node}/{ip}"),
        },
    );
    if !text(pod, "/status/startTime").is_empty() {
        page.field("Start Time", text(pod, "/status/startTime"));
    }
    page.values("Labels", pairs(pod, "/metadata/labels", "="));
    page.values("Annotations", pairs(pod, "/metadata/annotations", ": "));
    page.field("Status", status(pod));
    for (label, pointer) in [("Reason", "/status/reason"), ("Message", "/status/message")] {
        if !text(pod, pointer).is_empty() {
            page.field(label, text(pod, pointer));
        }
    }
    page.field("IP", text(pod, "/status/podIP"));
    if let Some(owner) =
        list(pod, "/metadata/ownerReferences").find(|o| o.get("controller") == Some(&Value::Bool(true)))
    {
        page.field("Controlled By", format!("{}/{}", text(owner, "/kind"), text(owner, "/name")));
    }
    containers(page, pod, "Init Containers", "/spec/initContainers", "/status/initContainerStatuses");
    containers(page, pod, "Containers", "/spec/containers", "/status/containerStatuses");
    page.conditions(pod, &[("Type", "/type"), ("Status", "/status")]);
    volumes(page, pod);
    page.field("QoS Class", scalar(pod, "/status/qosClass"));
    page.values("Node-Selectors", pairs(pod, "/spec/nodeSelector", "="));
    page.values("Tolerations", list(pod, "/spec/tolerations").map(toleration).collect());
}

fn status(pod: &Value) -> String {
    match pod.pointer("/metadata/deletionTimestamp") {
        Some(_) => "Terminating".to_owned(),
        None => scalar(pod, "/status/phase"),
    }
}

fn containers(page: &mut Page, pod: &Value, heading: &str, spec: &str, statuses: &str) {
    if list(pod, spec).next().is_none() {
        return;
    }
    page.field(heading, "");
    for container in list(pod, spec) {
        let name = text(container, "/name");
        let status = list(pod, statuses).find(|s| text(s, "/name") == name).unwrap_or(&Value::Null);
        page.nested(1, name, "");
        page.nested(2, "Container ID", text(status, "/containerID"));
        page.nested(2, "Image", text(container, "/image"));
        page.nested(2, "Image ID", text(status, "/imageID"));
        let ports: Vec<String> = list(container, "/ports").map(port).collect();
        page.nested(2, "Port", if ports.is_empty() { "<none>".to_owned() } else { ports.join(", ") });
        for (label, pointer) in [("Command", "/command"), ("Args", "/args")] {
            let words: Vec<&str> = list(container, pointer).filter_map(Value::as_str).collect();
            if !words.is_empty() {
                page.nested(2, label, words.join(" "));
            }
        }
        state(page, "State", status.get("state"));
        if status.pointer("/lastState").and_then(Value::as_object).is_some_and(|s| !s.is_empty()) {
            state(page, "Last State", status.get("lastState"));
        }
        page.nested(2, "Ready", capital(status.get("ready") == Some(&Value::Bool(true))));
        page.nested(2, "Restart Count", scalar(status, "/restartCount").replace("<none>", "0"));
        for (label, pointer) in [("Limits", "/resources/limits"), ("Requests", "/resources/requests")] {
            block(page, label, pairs(container, pointer, ": "));
        }
        block(page, "Environment", list(container, "/env").map(variable).collect());
        block(page, "Mounts", list(container, "/volumeMounts").map(mount).collect());
    }
}

fn block(page: &mut Page, label: &str, lines: Vec<String>) {
    if lines.is_empty() {
        if matches!(label, "Environment" | "Mounts") {
            page.nested(2, label, "<none>");
        }
        return;
    }
    page.nested(2, label, "");
    for line in lines {
        let (key, value) = line.split_once(": ").unwrap_or((&line, ""));
        page.nested(3, key, value);
    }
}

fn port(port: &Value) -> String {
    format!("{}/{}", scalar(port, "/containerPort"), scalar(port, "/protocol"))
}

fn variable(env: &Value) -> String {
    let value = match env.get("valueFrom").and_then(Value::as_object).and_then(|m| m.iter().next()) {
        None => text(env, "/value").to_owned(),
        Some((kind, from)) if kind == "fieldRef" => {
            format!("({}:{})", text(from, "/apiVersion"), text(from, "/fieldPath"))
        }
        Some((kind, from)) => {
            let what = kind.trim_end_matches("KeyRef").trim_end_matches("Ref");
            format!("<set to the key '{}' of {what} '{}'>", text(from, "/key"), text(from, "/name"))
        }
    };
    format!("{}: {value}", text(env, "/name"))
}

fn mount(mount: &Value) -> String {
    let access = if mount.get("readOnly") == Some(&Value::Bool(true)) { "ro" } else { "rw" };
    format!("{} from {} ({access}): ", text(mount, "/mountPath"), text(mount, "/name"))
}

fn state(page: &mut Page, label: &str, state: Option<&Value>) {
    let Some((name, details)) = state.and_then(Value::as_object).and_then(|m| m.iter().next()) else {
        page.nested(2, label, "Waiting");
        return;
    };
    let mut title = name.clone();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    page.nested(2, label, title);
    for (label, pointer) in [
        ("Reason", "/reason"),
        ("Message", "/message"),
        ("Exit Code", "/exitCode"),
        ("Started", "/startedAt"),
        ("Finished", "/finishedAt"),
    ] {
        if details.pointer(pointer).is_some() {
            page.nested(3, label, scalar(details, pointer));
        }
    }
}

fn capital(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn volumes(page: &mut Page, pod: &Value) {
    if list(pod, "/spec/volumes").next().is_none() {
        page.field("Volumes", "<none>");
        return;
    }
    page.field("Volumes", "");
    for volume in list(pod, "/spec/volumes") {
        page.nested(1, text(volume, "/name"), "");
        if volume.get("projected").is_some() {
            projected(page, volume);
            continue;
        }
        for (key, source) in volume.as_object().into_iter().flatten().filter(|(key, _)| key.as_str() != "name") {
            page.nested(2, "Type", key.as_str());
            let fields = source.as_object().into_iter().flatten().filter(|(_, v)| !v.is_array() && !v.is_object());
            for (name, value) in fields {
                page.nested(2, name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        }
    }
}

/// The volume that every pod has for the API, and its like.
fn projected(page: &mut Page, volume: &Value) {
    page.nested(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
    for source in list(volume, "/projected/sources") {
        for (label, pointer) in [
            ("SecretName", "/secret/name"),
            ("ConfigMapName", "/configMap/name"),
            ("TokenExpirationSeconds", "/serviceAccountToken/expirationSeconds"),
        ] {
            if source.pointer(pointer).is_some() {
                page.nested(2, label, scalar(source, pointer));
            }
        }
        if source.get("downwardAPI").is_some() {
            page.nested(2, "DownwardAPI", "true");
        }
    }
}

fn toleration(t: &Value) -> String {
    let mut line = text(t, "/key").to_owned();
    if !text(t, "/value").is_empty() {
        line = format!("{line}={}", text(t, "/value"));
    }
    if !text(t, "/effect").is_empty() {
        line = format!("{line}:{}", text(t, "/effect"));
    }
    if text(t, "/operator") == "Exists" {
        line = format!("{line} op=Exists");
    }
    match t.get("tolerationSeconds") {
        Some(seconds) => format!("{line} for {seconds}s"),
        None => line,
    }
}
