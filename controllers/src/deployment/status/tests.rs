//! A Deployment's conditions as a rollout goes well, stands still, or is paused.

use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn deployment(status: &DeploymentStatus) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "generation": 2},
        "spec": {"replicas": 3, "progressDeadlineSeconds": 60, "selector": {}, "template": {}},
        "status": status,
    }))
    .unwrap()
}

fn sets(actual: i32, available: i32, conditions: &Value) -> Sets {
    let new = json!({"metadata": {"name": "web-1"}, "spec": {"replicas": 3, "selector": {}},
        "status": {"replicas": actual, "readyReplicas": available, "availableReplicas": available, "conditions": conditions}});
    Sets { new: Some(Arc::new(serde_json::from_value(new).unwrap())), old: Vec::new() }
}

fn look(status: &DeploymentStatus, sets: &Sets, now: i64) -> DeploymentStatus {
    let d = deployment(status);
    calculate(&d, sets, Bounds::of(&d), Mode::Rollout, at(now))
}

fn shown(status: &DeploymentStatus) -> Vec<String> {
    let text = |o: &Option<String>| o.clone().unwrap();
    let mut all: Vec<_> = status
        .conditions
        .iter()
        .flatten()
        .map(|c| format!("{}={} {} {}", text(&c.type_), text(&c.status), text(&c.reason), text(&c.message)))
        .collect();
    all.sort();
    all
}

#[test]
fn a_rollout_that_goes_well_ends_with_the_new_replicaset_available() {
    let mut status = DeploymentStatus::default();
    let created =
        condition(PROGRESSING, "True", "NewReplicaSetCreated", "Created new replica set \"web-1\"".into(), at(0));
    set(&mut status, created);
    let status = look(&status, &sets(0, 0, &json!(null)), 1);
    assert_eq!(
        shown(&status),
        [
            "Available=False MinimumReplicasUnavailable Deployment does not have minimum availability.",
            "Progressing=True NewReplicaSetCreated Created new replica set \"web-1\"",
        ]
    );
    let status = look(&status, &sets(3, 1, &json!(null)), 2);
    assert_eq!(shown(&status)[1], "Progressing=True ReplicaSetUpdated ReplicaSet \"web-1\" is progressing.");
    assert_eq!(status.unavailable_replicas, Some(2));
    let status = look(&status, &sets(3, 3, &json!(null)), 3);
    assert_eq!(
        shown(&status),
        [
            "Available=True MinimumReplicasAvailable Deployment has minimum availability.",
            "Progressing=True NewReplicaSetAvailable ReplicaSet \"web-1\" has successfully progressed.",
        ]
    );
    assert_eq!((status.unavailable_replicas, status.observed_generation), (None, Some(2)));
    let progressing = find(&status, PROGRESSING).unwrap();
    assert_eq!(progressing.last_transition_time, Some(Time(at(0))), "it was true all along");
    assert_eq!(progressing.last_update_time, Some(Time(at(3))));
    assert_eq!(look(&status, &sets(3, 3, &json!(null)), 9), status, "nothing changes by looking again");
}

#[test]
fn a_rollout_that_stands_still_exceeds_its_deadline() {
    let stuck = sets(3, 0, &json!(null));
    let status = look(&DeploymentStatus::default(), &stuck, 10);
    let d = deployment(&status);
    assert_eq!(next_look(&d, &status, at(30)), Some(Duration::from_secs(41)));
    assert_eq!(shown(&look(&status, &stuck, 70)), shown(&status));
    let late = look(&status, &stuck, 71);
    assert_eq!(
        shown(&late)[1],
        "Progressing=False ProgressDeadlineExceeded ReplicaSet \"web-1\" has timed out progressing."
    );
    assert_eq!(next_look(&deployment(&late), &late, at(80)), None);
}

#[test]
fn a_failure_of_the_replicaset_shows_in_the_deployment() {
    let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
    let status = look(&DeploymentStatus::default(), &sets(0, 0, &failure), 1);
    assert_eq!(shown(&status)[1], "ReplicaFailure=True FailedCreate quota");
    let status = look(&status, &sets(0, 0, &json!(null)), 2);
    assert!(find(&status, REPLICA_FAILURE).is_none());
}

#[test]
fn pausing_and_resuming_is_noted_once() {
    let mut d = deployment(&DeploymentStatus::default());
    for (paused, reason) in [(true, PAUSED), (true, PAUSED), (false, "DeploymentResumed")] {
        d.spec.paused = Some(paused);
        note_pause(&mut d, at(5));
        let status = d.status.clone().unwrap();
        assert_eq!(find(&status, PROGRESSING).unwrap().reason.as_deref(), Some(reason));
    }
}
