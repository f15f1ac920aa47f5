//! A node's page, with the pods that run there.

use serde_json::Value;

use super::page::{Page, list, pairs, scalar, text};

pub(super) fn describe(page: &mut Page, node: &Value, pods: &Value) {
    page.head(node);
    page.field("CreationTimestamp", text(node, "/metadata/creationTimestamp"));
    let taint = |t: &Value| format!("{}:{}", text(t, "/key"), text(t, "/effect"));
    page.values("Taints", list(node, "/spec/taints").map(taint).collect());
    page.field("Unschedulable", scalar(node, "/spec/unschedulable").replace("<none>", "false"));
    let columns = [
        ("Type", "/type"),
        ("Status", "/status"),
        ("LastHeartbeatTime", "/lastHeartbeatTime"),
        ("LastTransitionTime", "/lastTransitionTime"),
        ("Reason", "/reason"),
        ("Message", "/message"),
    ];
    page.conditions(node, &columns);
    page.field("Addresses", "");
    for address in list(node, "/status/addresses") {
        page.nested(1, text(address, "/type"), text(address, "/address"));
    }
    for (label, pointer) in [("Capacity", "/status/capacity"), ("Allocatable", "/status/allocatable")] {
        block(page, label, node, pointer);
    }
    block(page, "System Info", node, "/status/nodeInfo");
    page.field("PodCIDR", scalar(node, "/spec/podCIDR"));
    let row = |pod: &Value| {
        let phase = text(pod, "/status/phase");
        vec![text(pod, "/metadata/namespace").into(), text(pod, "/metadata/name").into(), phase.into()]
    };
    let rows = list(pods, "/items").map(row).collect();
    page.table("Non-terminated Pods", &["Namespace", "Name", "Status"], rows);
}

fn block(page: &mut Page, label: &str, node: &Value, pointer: &str) {
    page.field(label, "");
    for line in pairs(node, pointer, "\u{0}") {
        let (key, value) = line.split_once('\u{0}').unwrap_or((&line, ""));
        page.nested(1, key, value);
    }
}
