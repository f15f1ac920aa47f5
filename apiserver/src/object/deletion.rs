//! What a deletion does to an object: pure, as upstream's `BeforeDelete` and its finalizers decide it.

use coracle_api::failure::{About, Failure};
use coracle_api::wellknown::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{finalizers, generation, is_terminating, map_mut, metadata, set, set_finalizers, text, time};
use crate::options::delete::{DeleteOptions, Propagation};
use crate::policy::{Deletion, Dependents, Policy};
use crate::registry::Row;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plan {
    /// Nothing: it is on its way already.
    Leave,
    /// It stays, in this state.
    Keep(Value),
    /// It goes; this is its last state.
    Remove(Value),
}

/// Whether the object is the one that the client means.
///
/// # Errors
/// A conflict, in upstream's words.
pub(crate) fn check_preconditions(row: &Row, object: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    let conflict = |why: String| {
        let about = About { group: row.group.into(), kind: row.kind.into(), name: text(object, "name").into() };
        Failure::Conflict { about, why, causes: Vec::new() }
    };
    let (uid, version) = (text(object, "uid"), text(object, "resourceVersion"));
    let is_namespace = Policy::of(row).deletion == Deletion::Emptied;
    for (what, wanted, is, happened) in [
        ("UID", &options.uid, uid, "deleted and then recreated"),
        ("ResourceVersion", &options.resource_version, version, "modified"),
    ] {
        let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != is) else { continue };
        if is_namespace {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}");
            let about = crate::answer::refused::about(row, text(object, "name"));
            return Err(Failure::Conflict { about, why, causes: Vec::new() });
        }
        return Err(conflict(format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). \
             The object might have been {happened}"
        )));
    }
    Ok(())
}

/// Decides what a deletion at `now` does to `object`.
pub(crate) fn plan(policy: Policy, mut object: Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    match policy.deletion {
        Deletion::Emptied => plan_emptied(policy, object, options, now),
        Deletion::AtOnce => {
            apply_propagation(&mut object, options.propagation, policy.dependents);
            settle(object, now)
        }
        Deletion::Graceful => match graceful(&mut object, options.grace, now) {
            Grace::Pending => Plan::Leave,
            Grace::Over => {
                apply_propagation(&mut object, options.propagation, policy.dependents);
                settle(object, now)
            }
            Grace::Granted(seconds) => {
                apply_propagation(&mut object, options.propagation, policy.dependents);
                let held = finalizers(&object).next().is_some();
                if seconds > 0 || held { Plan::Keep(object) } else { Plan::Remove(object) }
            }
        },
    }
}

/// Whether a changed object goes with this change: it was on its way, and nothing holds it any more.
pub(crate) fn ends_with_update(deletion: Deletion, new: &Value, old: &Value) -> bool {
    let spec_finalizers = new.pointer("/spec/finalizers").and_then(Value::as_array);
    let emptied = deletion != Deletion::Emptied || spec_finalizers.is_none_or(Vec::is_empty);
    is_terminating(old) && grace_period(old).unwrap_or(0) == 0 && finalizers(new).next().is_none() && emptied
}

/// With finalizers it stays, marked; without it goes.
fn settle(mut object: Value, now: Timestamp) -> Plan {
    if finalizers(&object).next().is_none() {
        return Plan::Remove(object);
    }
    if is_terminating(&object) && grace_period(&object) == Some(0) {
        return Plan::Keep(object);
    }
    if !is_terminating(&object) {
        mark(&mut object, now);
    }
    set(&mut object, "deletionGracePeriodSeconds", 0);
    Plan::Keep(object)
}

fn mark(object: &mut Value, at: Timestamp) {
    set(object, "deletionTimestamp", time(at));
    let generation = generation(object);
    if generation > 0 {
        set(object, "generation", generation + 1);
    }
}

enum Grace {
    /// It is being stopped and nobody asks for less time.
    Pending,
    /// There is none to give.
    Over,
    /// It has so many seconds, from now or from when it was first asked.
    Granted(i64),
}

fn grace_period(object: &Value) -> Option<i64> {
    metadata(object)?.get("deletionGracePeriodSeconds")?.as_i64()
}

/// A time that makes no sense is the shortest that there is.
fn at_least_one(seconds: i64) -> i64 {
    if seconds < 0 { 1 } else { seconds }
}

fn graceful(object: &mut Value, asked: Option<i64>, now: Timestamp) -> Grace {
    let asked = asked.map(at_least_one);
    if is_terminating(object) {
        let Some(current) = grace_period(object) else { return Grace::Over };
        let Some(asked) = asked.filter(|asked| *asked < current) else { return Grace::Pending };
        let until: Timestamp = text(object, "deletionTimestamp").parse().unwrap_or(now);
        let sooner = until.checked_sub(SignedDuration::from_secs(current - asked)).unwrap_or(now);
        set(object, "deletionTimestamp", time(sooner));
        set(object, "deletionGracePeriodSeconds", asked);
        return Grace::Granted(asked);
    }
    let at = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("");
    let usual = object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let ended = matches!(at("/status/phase"), "Succeeded" | "Failed");
    let seconds = if at("/spec/nodeName").is_empty() || ended { 0 } else { at_least_one(asked.unwrap_or(usual)) };
    mark(object, now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now));
    set(object, "deletionGracePeriodSeconds", seconds);
    Grace::Granted(seconds)
}

/// Sets the finalizers that make the garbage collector act as the client wishes, or as is usual for the kind.
fn apply_propagation(object: &mut Value, wanted: Option<Propagation>, usual: Dependents) {
    let has = |name: &str| finalizers(object).any(|f| f == name);
    let wanted = match (usual, wanted) {
        (Dependents::None, _) => Propagation::Background,
        (_, Some(wanted)) => wanted,
        (_, None) if has(FINALIZER_ORPHAN) => Propagation::Orphan,
        (_, None) if has(FINALIZER_FOREGROUND) => Propagation::Foreground,
        (Dependents::Orphaned, None) => Propagation::Orphan,
        (Dependents::Collected, None) => Propagation::Background,
    };
    let others = finalizers(object).filter(|f| ![FINALIZER_ORPHAN, FINALIZER_FOREGROUND].contains(f));
    let mut kept: Vec<String> = others.map(str::to_owned).collect();
    match wanted {
        Propagation::Background => {}
        Propagation::Foreground => kept.push(FINALIZER_FOREGROUND.to_owned()),
        Propagation::Orphan => kept.push(FINALIZER_ORPHAN.to_owned()),
    }
    set_finalizers(object, kept);
}

/// A namespace is told to empty itself, and goes when nothing holds it.
fn plan_emptied(policy: Policy, mut object: Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    if is_terminating(&object) {
        let held = object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
        if held {
            return Plan::Leave;
        }
        apply_propagation(&mut object, options.propagation, policy.dependents);
        return settle(object, now);
    }
    set(&mut object, "deletionTimestamp", time(now));
    apply_propagation(&mut object, options.propagation, policy.dependents);
    map_mut(map_mut(&mut object).entry("status").or_insert(Value::Null))
        .insert("phase".to_owned(), "Terminating".into());
    Plan::Keep(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(deletion: Deletion, object: Value, options: &DeleteOptions, expected: &str) {
        told(Policy { deletion, ..usual() }, object, options, expected);
    }

    fn usual() -> Policy {
        Policy::of(&crate::registry::Registry::builtin().get("", "v1", "configmaps").unwrap())
    }

    fn told(policy: Policy, object: Value, options: &DeleteOptions, expected: &str) {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let told = match plan(policy, object, options, now) {
            Plan::Leave => "leave".to_owned(),
            Plan::Keep(o) => {
                format!("keep {:?} {:?}", grace_period(&o).unwrap_or(-1), finalizers(&o).collect::<Vec<_>>().join(","))
            }
            Plan::Remove(_) => "remove".to_owned(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn plain_objects_go_at_once_unless_a_finalizer_holds_them() {
        let options = DeleteOptions::default();
        check(Deletion::AtOnce, json!({"metadata": {}}), &options, "remove");
        check(Deletion::AtOnce, json!({"metadata": {"finalizers": ["a/b"]}}), &options, "keep 0 \"a/b\"");
        let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        check(Deletion::AtOnce, json!({"metadata": {}}), &foreground, "keep 0 \"foregroundDeletion\"");
        let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        check(Deletion::AtOnce, json!({"metadata": {"finalizers": ["orphan"]}}), &background, "remove");
    }

    #[test]
    fn dependents_stay_where_that_is_usual_and_nobody_says_otherwise() {
        let policy = |dependents| Policy { dependents, ..usual() };
        let with = |propagation| DeleteOptions { propagation, ..DeleteOptions::default() };
        let (background, foreground) = (with(Some(Propagation::Background)), with(Some(Propagation::Foreground)));
        let plain = || json!({"metadata": {}});
        let orphaned = || policy(Dependents::Orphaned);
        told(orphaned(), plain(), &with(None), "keep 0 \"orphan\"");
        told(orphaned(), plain(), &background, "remove");
        told(
            orphaned(),
            json!({"metadata": {"finalizers": ["foregroundDeletion"]}}),
            &with(None),
            "keep 0 \"foregroundDeletion\"",
        );
        told(policy(Dependents::None), plain(), &foreground, "remove");
        told(
            policy(Dependents::None),
            json!({"metadata": {"finalizers": ["orphan", "a/b"]}}),
            &with(None),
            "keep 0 \"a/b\"",
        );
    }

    #[test]
    fn a_namespace_waits_until_it_is_empty() {
        let namespace = |meta: Value, finalizers: Value| json!({"metadata": meta, "spec": {"finalizers": finalizers}});
        let usual = DeleteOptions::default();
        let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(Deletion::Emptied, namespace(json!({}), json!(["kubernetes"])), &usual, "keep -1 \"\"");
        check(
            Deletion::Emptied,
            namespace(json!({}), json!(["kubernetes"])),
            &foreground,
            "keep -1 \"foregroundDeletion\"",
        );
        check(Deletion::Emptied, namespace(going.clone(), json!(["kubernetes"])), &usual, "leave");
        check(Deletion::Emptied, namespace(going, json!([])), &usual, "remove");
    }

    #[test]
    fn a_pod_gets_its_grace_only_on_a_node_and_while_it_runs() {
        let usual = DeleteOptions::default();
        let pod = |node: &str, phase: &str| {
            json!({"metadata": {},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}})
        };
        check(Deletion::Graceful, pod("", "Pending"), &usual, "remove");
        check(Deletion::Graceful, pod("n", "Running"), &usual, "keep 30 \"\"");
        check(Deletion::Graceful, pod("n", "Failed"), &usual, "remove");
        let mut odd = pod("n", "Running");
        odd["spec"]["terminationGracePeriodSeconds"] = json!(-5);
        check(Deletion::Graceful, odd, &usual, "keep 1 \"\"");
        let now = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
        check(Deletion::Graceful, pod("n", "Running"), &now, "remove");
    }

    #[test]
    fn the_grace_of_a_stopping_pod_can_only_be_shortened() {
        let stopping = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30},
            "spec": {"nodeName": "n"}});
        let with = |grace| DeleteOptions { grace, ..DeleteOptions::default() };
        check(Deletion::Graceful, stopping.clone(), &with(None), "leave");
        check(Deletion::Graceful, stopping.clone(), &with(Some(60)), "leave");
        check(Deletion::Graceful, stopping.clone(), &with(Some(5)), "keep 5 \"\"");
        check(Deletion::Graceful, stopping, &with(Some(0)), "remove");
    }
}
