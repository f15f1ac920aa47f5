//! `eviction`: a polite deletion of a pod, which asks the pod's disruption budget first.
//!
//! Invariant: a budget is spent before the pod goes, in the revision in which it was read, so that two evictions never
//! spend the same disruption.

mod budget;

use std::sync::Arc;

use coracle_api::clock;
use coracle_api::failure::{About, Failure};
use coracle_api::selector::Selector;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;
use serde::Deserialize;
use serde_json::{Value, json};

use super::created;
use crate::admit::of_our_own;
use crate::answer::{Answer, Refused, refused};
use crate::body::{self, Expected};
use crate::machine::Call;
use crate::object::deletion::check_preconditions;
use crate::object::{self, map_mut, metadata, text};
use crate::options::delete::DeleteOptions;
use crate::options::{self, Run};
use crate::store::{Action, Change, CommitError, Durability, Entry, Expect, Prefix};
use crate::verbs::delete;
use crate::verbs::write::{self, Attempt};
use budget::{Spent, Verdict, spend};

/// How often it is tried anew on a pod or budget that changes meanwhile (upstream's `EvictionsRetry`).
const ATTEMPTS_MAX: usize = 20;

/// When to come back if the budget has not been looked into yet, in seconds.
const RETRY_AFTER_SECONDS: u32 = 10;

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts the pod.
pub(super) async fn evict(call: &Call) -> Answer {
    let options = options::write::parse(&call.query, "CreateOptions")?;
    let schema = Some("io.k8s.api.policy.v1.Eviction");
    let expected = Expected { api_version: "policy/v1", kind: "Eviction", schema };
    let eviction = body::object(&call.body, &call.headers, &expected, options.validation)?.object;
    if text(&eviction, "name") != call.path.name {
        return Err(Refused::bad_request("name in URL does not match name in Eviction object"));
    }
    let wanted = eviction.get("deleteOptions").filter(|o| o.is_object());
    let mut deletion = options::delete::parse("", Some(wanted.unwrap_or(&Value::Null)))?;
    if options.run == Run::Dry {
        deletion.run = Run::Dry;
    }
    for _ in 0..ATTEMPTS_MAX {
        let pod = call.existing()?;
        if !ignores_budgets(&pod.value()) {
            return evict_within_budget(call, &pod, &deletion).await;
        }
        match evict_freely(call, &pod, &deletion).await {
            Err(refused) if is_conflict(&refused) && deletion.resource_version.is_none() => {}
            result => return result.and_then(|()| created()),
        }
    }
    Err(Failure::modified(refused::about(&call.row, &call.path.name)).into())
}

fn is_conflict(refused: &Refused) -> bool {
    refused.code() == http::StatusCode::CONFLICT
}

fn phase(pod: &Value) -> &str {
    pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or("")
}

/// What does not run (any more) serves nobody: it is no disruption to delete it.
fn ignores_budgets(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed" | "Pending") || object::is_terminating(pod)
}

/// Deletes a pod that no budget counts, if it is as it was read: it might begin to run meanwhile.
async fn evict_freely(call: &Call, pod: &Entry, asked: &DeleteOptions) -> Result<(), Refused> {
    let mut options = asked.clone();
    let object = pod.value();
    let ended = matches!(phase(&object), "Succeeded" | "Failed") || object::is_terminating(&object);
    if !ended && options.resource_version.is_none() {
        options.resource_version = Some(pod.revision().to_string());
    }
    mark_and_delete(call, options).await
}

async fn evict_within_budget(call: &Call, pod: &Entry, asked: &DeleteOptions) -> Answer {
    let object = pod.value();
    let mut options = asked.clone();
    let mut unready_under = None;
    match budgets_of(call, &object).as_slice() {
        [] => {}
        [budget] => {
            if spend_one(call, budget, &object, asked.run).await? == Verdict::NotCounted {
                // It must not become ready until it goes.
                unready_under = Some(budget.key().name().to_owned());
                options.resource_version.get_or_insert(pod.revision().to_string());
            }
        }
        _ => {
            let why =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Refused::unclassified(why));
        }
    }
    match (mark_and_delete(call, options).await, unready_under) {
        (Err(refused), Some(budget)) if is_conflict(&refused) && asked.resource_version.is_none() => {
            Err(still_processed(&budget).into())
        }
        (result, _) => result.and_then(|()| created()),
    }
}

/// The budgets that count the pod. One whose selector makes no sense counts none.
fn budgets_of(call: &Call, pod: &Value) -> Vec<Arc<Entry>> {
    let labels = metadata(pod).and_then(|m| m.get("labels")).and_then(Value::as_object);
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let counts = |entry: &Arc<Entry>| {
        let budget = PodDisruptionBudget::deserialize(&entry.value()).unwrap_or_default();
        let selector = budget.spec.and_then(|spec| spec.selector);
        selector.and_then(|s| Selector::from_structured(&s).ok()).is_some_and(|s| s.matches_with(label))
    };
    let all = call.machine.store.list(&Prefix::namespace("policy", "poddisruptionbudgets", &call.path.namespace));
    all.entries.into_iter().filter(counts).collect()
}

/// Spends one disruption of the budget, in its newest state.
async fn spend_one(call: &Call, first: &Arc<Entry>, pod: &Value, run: Run) -> Result<Verdict, Refused> {
    let mut entry = Arc::clone(first);
    for _ in 0..ATTEMPTS_MAX {
        let stored = entry.value();
        let budget = PodDisruptionBudget::deserialize(&stored).unwrap_or_default();
        let spent = match spend(&budget, pod, clock::now()) {
            Spent::Nothing => return Ok(Verdict::NotCounted),
            Spent::Refused(why) => return Err(refuse(entry.key().name(), &why)),
            Spent::One(_) if run == Run::Dry => return Ok(Verdict::Counted),
            Spent::One(status) => status,
        };
        let mut changed = stored;
        map_mut(&mut changed).insert("status".to_owned(), serde_json::to_value(*spent).unwrap_or_default());
        let put = Action::Put(write::encode(&of_our_own(changed))?);
        let (key, expect) = (entry.key().clone(), Expect::At(entry.revision()));
        let change = Change { key: key.clone(), expect, action: put, durability: Durability::Durable };
        match call.machine.store.commit(vec![change]).await {
            Ok(_) => return Ok(Verdict::Counted),
            Err(CommitError::Mismatch { current: Some(current), .. }) => entry = current,
            Err(CommitError::Mismatch { current: None, .. }) => {
                let about =
                    About { group: "policy".into(), kind: "poddisruptionbudgets".into(), name: key.name().into() };
                return Err(Failure::NotFound { about }.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let why = format!("couldn't update PodDisruptionBudget {:?} due to conflicts", first.key().name());
    Err(Refused::from(Failure::Timeout(why)).retry_after(10))
}

fn still_processed(budget: &str) -> Failure {
    let message = format!("The disruption budget {budget} is still being processed by the server.");
    Failure::TooManyRequests {
        why: VIOLATES.to_owned(),
        retry_after: RETRY_AFTER_SECONDS,
        causes: vec![cause(message)],
    }
}

fn cause(message: String) -> StatusCause {
    StatusCause { reason: Some("DisruptionBudget".to_owned()), message: Some(message), field: None }
}

fn refuse(name: &str, why: &budget::Refusal) -> Refused {
    match why {
        budget::Refusal::NotObserved => still_processed(name).into(),
        budget::Refusal::Exhausted { desired, current } => {
            let message =
                format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently");
            let causes = vec![cause(message)];
            Failure::TooManyRequests { why: VIOLATES.to_owned(), retry_after: 0, causes }.into()
        }
        budget::Refusal::Broken(why) => {
            let about = About { group: "policy".into(), kind: "poddisruptionbudget".into(), name: name.into() };
            Failure::Forbidden { about, why: (*why).to_owned() }.into()
        }
    }
}

/// Says on the pod that it is evicted, then deletes it.
async fn mark_and_delete(call: &Call, mut options: DeleteOptions) -> Result<(), Refused> {
    if options.run == Run::Real {
        let marked = mark(call, &options).await?;
        if options.resource_version.is_some() {
            options.resource_version = Some(marked);
        }
    }
    delete::remove(call, &call.path.name, &options).await.map(drop)
}

/// Sets the condition `DisruptionTarget`; the pod's `resourceVersion` after it.
async fn mark(call: &Call, options: &DeleteOptions) -> Result<String, Refused> {
    for _ in 0..ATTEMPTS_MAX {
        let entry = call.existing()?;
        let old = entry.value();
        check_preconditions(&call.row, &old, options)?;
        let mut pod = old.clone();
        set_target(&mut pod);
        if pod == old {
            return Ok(entry.revision().to_string());
        }
        let put = Action::Put(write::encode(&of_our_own(pod))?);
        let written = write::commit(call, entry.key().clone(), Expect::At(entry.revision()), put).await?;
        if let Attempt::Done(Some(stored)) = written {
            return Ok(stored.revision().to_string());
        }
    }
    Err(Failure::modified(refused::about(&call.row, &call.path.name)).into())
}

fn set_target(pod: &mut Value) {
    let status = map_mut(map_mut(pod).entry("status").or_insert(Value::Null));
    let Some(conditions) = status.entry("conditions").or_insert_with(|| json!([])).as_array_mut() else { return };
    let is_it = |c: &Value| c.get("type").is_some_and(|t| t == "DisruptionTarget");
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": null,
        "lastTransitionTime": object::time(clock::now()),
    });
    match conditions.iter_mut().find(|c| is_it(c)) {
        Some(old) => {
            if old.get("status").is_some_and(|s| s == "True") {
                let since = old.get("lastTransitionTime").cloned().unwrap_or_default();
                map_mut(&mut condition).insert("lastTransitionTime".to_owned(), since);
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}
