//! The rules for what the failures and successes of a Job's pods mean.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};

use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::require;
use crate::registry::check::{Errors, at, item, one_of};

/// How many rules, exit codes and patterns there may be.
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;

/// The rules for failures.
pub(super) fn failures(errors: &mut Errors, path: &str, spec: &JobSpec) {
    let Some(policy) = &spec.pod_failure_policy else { return };
    let path = at(path, "podFailurePolicy");
    if policy.rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(at(&path, "rules"), policy.rules.len(), RULES_MAX));
    }
    let pod = spec.template.spec.as_ref();
    let init = pod.iter().flat_map(|pod| pod.init_containers.iter().flatten());
    let names: BTreeSet<&str> =
        pod.iter().flat_map(|pod| &pod.containers).chain(init).map(|container| container.name.as_str()).collect();
    for (index, rule) in policy.rules.iter().enumerate() {
        one(errors, &item(&path, "rules", index), rule, spec, &names);
    }
}

fn one(errors: &mut Errors, path: &str, rule: &PodFailurePolicyRule, spec: &JobSpec, names: &BTreeSet<&str>) {
    let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
    if rule.action == "FailIndex" && spec.backoff_limit_per_index.is_none() {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.push(FieldError::invalid(at(path, "action"), "FailIndex", detail));
    }
    one_of(errors, at(path, "action"), Some(&rule.action), &actions);
    if let Some(codes) = &rule.on_exit_codes {
        exit_codes(errors, &at(path, "onExitCodes"), codes, names);
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    if patterns.len() > PATTERNS_MAX {
        errors.push(FieldError::too_many(at(path, "onPodConditions"), patterns.len(), PATTERNS_MAX));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = item(path, "onPodConditions", index);
        require(errors, &at(&path, "type"), &pattern.type_, qualified_name);
        one_of(errors, at(&path, "status"), pattern.status.as_deref(), &["False", "True", "Unknown"]);
    }
    match (rule.on_exit_codes.is_some(), !patterns.is_empty()) {
        (true, true) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(FieldError::invalid_as(path, detail, ""));
        }
        (false, false) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(FieldError::invalid_as(path, detail, ""));
        }
        _ => {}
    }
}

fn exit_codes(errors: &mut Errors, path: &str, codes: &PodFailurePolicyOnExitCodesRequirement, names: &BTreeSet<&str>) {
    one_of(errors, at(path, "operator"), Some(&codes.operator), &["In", "NotIn"]);
    if let Some(name) = codes.container_name.as_deref().filter(|name| !names.contains(name)) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(at(path, "containerName"), name, detail));
    }
    let place = at(path, "values");
    if codes.values.is_empty() {
        errors.push(FieldError::invalid(place.as_str(), codes.values.clone(), "at least one value is required"));
    } else if codes.values.len() > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(place.as_str(), codes.values.len(), EXIT_CODES_MAX));
    }
    let (mut seen, mut ordered) = (BTreeSet::new(), true);
    let mut before = None;
    for (index, code) in codes.values.iter().enumerate() {
        let path = item(path, "values", index);
        if codes.operator == "In" && *code == 0 {
            errors.push(FieldError::invalid(path.as_str(), *code, "must not be 0 for the In operator"));
        }
        if !seen.insert(*code) {
            errors.push(FieldError::duplicate(path, *code));
        }
        ordered &= before.is_none_or(|before| before <= *code);
        before = Some(*code);
    }
    if !ordered {
        errors.push(FieldError::invalid(place, codes.values.clone(), "must be ordered"));
    }
}

/// The rules for early success.
pub(super) fn successes(errors: &mut Errors, path: &str, policy: &SuccessPolicy, completions: i32) {
    let place = at(path, "rules");
    if policy.rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(place.as_str(), detail));
    }
    if policy.rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(place.as_str(), policy.rules.len(), RULES_MAX));
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        let path = item(path, "rules", index);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(path.as_str(), detail));
        }
        if let Some(count) = rule.succeeded_count {
            let path = at(&path, "succeededCount");
            if count < 0 {
                errors.push(FieldError::invalid(path, count, "must be greater than or equal to 0"));
            } else if count > completions {
                let detail =
                    format!("must be less than or equal to {completions} (the number of specified completions)");
                errors.push(FieldError::invalid(path, count, detail));
            }
        }
    }
}
