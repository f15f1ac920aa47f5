//! A Deployment's or ReplicaSet's page.

use serde_json::Value;

use super::page::{Page, list, pairs, scalar, text};

pub(super) fn describe(page: &mut Page, kind: &str, object: &Value) {
    page.head(object);
    page.field("CreationTimestamp", text(object, "/metadata/creationTimestamp"));
    page.field("Selector", pairs(object, "/spec/selector/matchLabels", "=").join(","));
    let count = |pointer: &str| scalar(object, pointer).replace("<none>", "0");
    let (desired, total) = (count("/spec/replicas"), count("/status/replicas"));
    if kind == "Deployment" {
        let (updated, available) = (count("/status/updatedReplicas"), count("/status/availableReplicas"));
        let unavailable = count("/status/unavailableReplicas");
        page.field(
            "Replicas",
            format!("{desired} desired | {updated} updated | {total} total | {available} available | {unavailable} unavailable"),
        );
        page.field("StrategyType", scalar(object, "/spec/strategy/type"));
        page.field("MinReadySeconds", count("/spec/minReadySeconds"));
        if let Some(rolling) = object.pointer("/spec/strategy/rollingUpdate") {
            let (down, up) = (scalar(rolling, "/maxUnavailable"), scalar(rolling, "/maxSurge"));
            page.field("RollingUpdateStrategy", format!("{down} max unavailable, {up} max surge"));
        }
    } else {
        if let Some(owner) = list(object, "/metadata/ownerReferences").next() {
            page.field("Controlled By", format!("{}/{}", text(owner, "/kind"), text(owner, "/name")));
        }
        page.field("Replicas", format!("{total} current / {desired} desired"));
    }
    template(page, object);
    page.conditions(object, &[("Type", "/type"), ("Status", "/status"), ("Reason", "/reason")]);
}

fn template(page: &mut Page, object: &Value) {
    page.field("Pod Template", "");
    page.nested(1, "Labels", pairs(object, "/spec/template/metadata/labels", "=").join(","));
    page.nested(1, "Containers", "");
    for container in list(object, "/spec/template/spec/containers") {
        page.nested(2, text(container, "/name"), "");
        page.nested(3, "Image", text(container, "/image"));
        let port = |p: &Value| format!("{}/{}", scalar(p, "/containerPort"), scalar(p, "/protocol"));
        let ports: Vec<String> = list(container, "/ports").map(port).collect();
        page.nested(3, "Port", if ports.is_empty() { "<none>".to_owned() } else { ports.join(", ") });
        for (label, pointer) in [("Limits", "/resources/limits"), ("Requests", "/resources/requests")] {
            for line in pairs(container, pointer, " ") {
                page.nested(3, label, line);
            }
        }
    }
    let volume = |v: &Value| text(v, "/name").to_owned();
    let volumes: Vec<String> = list(object, "/spec/template/spec/volumes").map(volume).collect();
    page.nested(1, "Volumes", if volumes.is_empty() { "<none>".to_owned() } else { volumes.join(", ") });
}
