//! What `kubectl get pods` shows: one word for all that can become of a pod.
//!
//! Source: upstream's pod printer. The word is the reason of the pod, of an init container that is not done, or of a
//! container that is not running, in this order of strength; a deletion is stronger than all of them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::registry::Completed;
use crate::registry::cells::{self, NONE, or, since};

/// The cells of a pod.
pub(super) fn cells(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let empty = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&empty.0);
    let status = pod.status.as_ref().unwrap_or(&empty.1);
    let summary = summary(pod, spec, status);
    let ip = status.pod_ips.iter().flatten().next().map(|ip| ip.ip.as_str()).or(status.pod_ip.as_deref());
    vec![
        cells::name(&pod.metadata),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.text(now).into(),
        cells::age(&pod.metadata, now),
        or(ip, NONE).into(),
        or(spec.node_name.as_deref(), NONE).into(),
        or(status.nominated_node_name.as_deref(), NONE).into(),
        gates(spec, status).into(),
    ]
}

/// How a pod came to its end.
pub(super) fn completed(pod: &Pod) -> Option<Completed> {
    match pod.status.as_ref()?.phase.as_deref()? {
        "Succeeded" => Some(Completed { reason: "Succeeded", message: "The pod has completed successfully." }),
        "Failed" => Some(Completed { reason: "Failed", message: "The pod failed." }),
        _ => None,
    }
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

/// How often containers were started again, and when one last ended before that.
#[derive(Default)]
struct Restarts {
    count: i32,
    last: Option<Time>,
}

impl Restarts {
    fn add(&mut self, status: &ContainerStatus) {
        self.count += status.restart_count;
        let ended = status.last_state.as_ref().and_then(|s| s.terminated.as_ref()).and_then(|t| t.finished_at.as_ref());
        if let Some(ended) = ended.filter(|t| self.last.as_ref().is_none_or(|last| t.0 > last.0)) {
            self.last = Some(ended.clone());
        }
    }

    fn text(&self, now: Timestamp) -> String {
        match &self.last {
            Some(last) if self.count != 0 => format!("{} ({} ago)", self.count, since(Some(last), now)),
            Some(_) | None => self.count.to_string(),
        }
    }
}

fn summary(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Summary {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let phase = or(status.phase.as_deref(), "");
    let mut reason = or(status.reason.as_deref(), phase).to_owned();
    if status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated"))
    {
        reason = "SchedulingGated".to_owned();
    }
    let mut init = initializing(inits, status);
    if let Some(word) = init.word.take() {
        reason = word;
    }
    let mut restarts = init.restarts;
    let mut ready = init.ready;
    let initialized = condition(status, "Initialized");
    if !init.unfinished || initialized {
        let running;
        restarts = init.sidecar_restarts;
        (reason, running) = running_word(reason, status, &mut ready, &mut restarts);
        if reason == "Completed" && running {
            reason = if condition(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".to_owned();
        }
    }
    let total = spec.containers.len() + inits.iter().filter(|c| is_sidecar(c)).count();
    Summary { ready, total, reason, restarts }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn condition(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True")
}

#[derive(Default)]
struct Initializing {
    unfinished: bool,
    word: Option<String>,
    ready: usize,
    restarts: Restarts,
    sidecar_restarts: Restarts,
}

/// How far the init containers are: the first that is not done says the word.
fn initializing(inits: &[Container], status: &PodStatus) -> Initializing {
    let mut found = Initializing::default();
    for (index, status) in status.init_container_statuses.iter().flatten().enumerate() {
        found.restarts.add(status);
        let sidecar = inits.iter().any(|c| c.name == status.name && is_sidecar(c));
        if sidecar {
            found.sidecar_restarts.add(status);
        }
        let empty = ContainerState::default();
        let state = status.state.as_ref().unwrap_or(&empty);
        if state.terminated.as_ref().is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if sidecar && status.started == Some(true) {
            found.ready += usize::from(status.ready);
            continue;
        }
        let waiting = state.waiting.as_ref().and_then(|w| w.reason.as_deref());
        found.word = Some(match (&state.terminated, waiting) {
            (Some(_), _) => format!("Init:{}", ended_word(state).unwrap_or_default()),
            (None, Some(reason)) if !reason.is_empty() && reason != "PodInitializing" => format!("Init:{reason}"),
            (None, Some(_) | None) => format!("Init:{index}/{}", inits.len()),
        });
        found.unfinished = true;
        break;
    }
    found
}

/// The word of the first container that is not running; counts those that are ready.
fn running_word(mut word: String, status: &PodStatus, ready: &mut usize, restarts: &mut Restarts) -> (String, bool) {
    let mut running = false;
    for status in status.container_statuses.iter().flatten().rev() {
        restarts.add(status);
        let empty = ContainerState::default();
        let state = status.state.as_ref().unwrap_or(&empty);
        let waiting = state.waiting.as_ref().and_then(|w| w.reason.clone()).filter(|r| !r.is_empty());
        if let Some(reason) = waiting.or_else(|| ended_word(state)) {
            word = reason;
        } else if status.ready && state.running.is_some() {
            running = true;
            *ready += 1;
        }
    }
    (word, running)
}

/// Why a container ended, in one word.
fn ended_word(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    Some(match (ended.reason.as_deref(), ended.signal.unwrap_or(0)) {
        (Some(reason), _) if !reason.is_empty() => reason.to_owned(),
        (_, 0) => format!("ExitCode:{}", ended.exit_code),
        (_, signal) => format!("Signal:{signal}"),
    })
}

fn gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|g| condition(status, &g.condition_type)).count();
    format!("{open}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    /// READY, STATUS and RESTARTS of a pod with two containers, ten minutes into the day.
    fn check(metadata: Value, spec: Value, status: Value, expected: Expect) {
        let mut object = json!({"metadata": metadata, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object["status"] = status;
        let pod: Pod = serde_json::from_value(object).unwrap();
        let cells = cells(&pod, "2026-01-01T00:10:00Z".parse().unwrap());
        let shown: Vec<&str> = cells[1..4].iter().map(|c| c.as_str().unwrap()).collect();
        expected.assert_eq(&shown.join(" | "));
    }

    fn container(name: &str, ready: bool, state: Value) -> Value {
        json!({"name": name, "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": state})
    }

    #[test]
    fn the_status_is_one_word() {
        let none = || json!({});
        let run = || json!({"running": {}});
        let done = || json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let wait = |reason: &str| json!({"waiting": {"reason": reason}});
        let both = |a: Value, b: Value| json!({"phase": "Running", "containerStatuses": [a, b]});
        check(none(), none(), json!({"phase": "Pending"}), expect!["0/2 | Pending | 0"]);
        check(
            none(),
            none(),
            both(container("a", true, run()), container("b", true, run())),
            expect!["2/2 | Running | 0"],
        );
        check(
            none(),
            none(),
            both(container("a", false, wait("CrashLoopBackOff")), container("b", true, run())),
            expect!["1/2 | CrashLoopBackOff | 0"],
        );
        check(
            none(),
            none(),
            both(container("a", false, done()), container("b", false, done())),
            expect!["0/2 | Completed | 0"],
        );
        check(
            none(),
            none(),
            both(container("a", false, done()), container("b", true, run())),
            expect!["1/2 | NotReady | 0"],
        );
        check(
            none(),
            none(),
            both(container("a", false, json!({"terminated": {"exitCode": 3}})), container("b", true, run())),
            expect!["1/2 | ExitCode:3 | 0"],
        );
        check(
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            none(),
            json!({"phase": "Running"}),
            expect!["0/2 | Terminating | 0"],
        );
        check(none(), none(), json!({"phase": "Failed", "reason": "Evicted"}), expect!["0/2 | Evicted | 0"]);
    }

    #[test]
    fn init_containers_and_sidecars_count() {
        let inits = || json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
        let status = |statuses: Value| json!({"phase": "Pending", "initContainerStatuses": statuses});
        let none = || json!({});
        check(
            none(),
            inits(),
            status(json!([container("i", false, json!({"running": {}}))])),
            expect!["0/3 | Init:0/2 | 0"],
        );
        check(
            none(),
            inits(),
            status(json!([container("i", false, json!({"terminated": {"exitCode": 1, "reason": "Error"}}))])),
            expect!["0/3 | Init:Error | 0"],
        );
        check(
            none(),
            inits(),
            status(json!([container("i", false, json!({"waiting": {"reason": "ImagePullBackOff"}}))])),
            expect!["0/3 | Init:ImagePullBackOff | 0"],
        );
        let mut sidecar = container("s", true, json!({"running": {}}));
        sidecar["started"] = json!(true);
        check(
            none(),
            inits(),
            status(json!([container("i", false, json!({"terminated": {"exitCode": 0}})), sidecar])),
            expect!["1/3 | Pending | 0"],
        );
    }

    #[test]
    fn restarts_say_when_the_last_one_was() {
        let mut crashed = container("a", true, json!({"running": {}}));
        crashed["restartCount"] = json!(3);
        crashed["lastState"] = json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:05:00Z"}});
        check(
            json!({}),
            json!({}),
            json!({"phase": "Running", "containerStatuses": [crashed]}),
            expect!["1/2 | Running | 3 (5m ago)"],
        );
    }
}
