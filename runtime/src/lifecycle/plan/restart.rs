//! Whether a container that ended is started again.
//!
//! The first of these that has an answer decides: the rules of the container, its own policy, that of the pod.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

use super::{Plan, Role};

/// When ended containers are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// However they ended.
    #[default]
    Always,
    /// If they failed.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// As the spec has it; none if it says nothing.
    #[must_use]
    pub fn read(text: Option<&str>) -> Option<Self> {
        match text? {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }

    const fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// What a container itself says of being started again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restarts {
    /// Its policy, in place of the pod's.
    pub policy: Option<RestartPolicy>,
    /// Its rules; an exit code that one of them is about means a restart.
    pub rules: Vec<Rule>,
}

/// A rule that some exit codes mean a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// These.
    In(Vec<i32>),
    /// All but these.
    NotIn(Vec<i32>),
}

impl Restarts {
    /// Of a container of a spec.
    #[must_use]
    pub fn of(container: &Container) -> Self {
        let rules = container.restart_policy_rules.iter().flatten();
        Self {
            policy: RestartPolicy::read(container.restart_policy.as_deref()),
            rules: rules.filter_map(rule).collect(),
        }
    }
}

fn rule(rule: &ContainerRestartRule) -> Option<Rule> {
    let codes = rule.exit_codes.as_ref()?;
    let values = codes.values.clone().unwrap_or_default();
    match codes.operator.as_str() {
        "In" => Some(Rule::In(values)),
        "NotIn" => Some(Rule::NotIn(values)),
        _ => None,
    }
}

impl Rule {
    fn matches(&self, code: i32) -> bool {
        match self {
            Self::In(codes) => codes.contains(&code),
            Self::NotIn(codes) => !codes.contains(&code),
        }
    }
}

impl Plan {
    /// Whether a container is to be started again after ending with `code`, while its pod is active.
    pub(in crate::lifecycle) fn restarts(&self, slot: super::super::Slot, code: i32) -> bool {
        let Some(container) = self.containers.get(slot.0) else { return false };
        let by_policy = || match (container.role, container.restarts.policy) {
            // The next one waits for its success: it is never started again after that.
            (Role::Init, _) if code == 0 => false,
            (_, Some(own)) => own.restarts(code),
            (_, None) => self.restart.restarts(code),
        };
        match container.role {
            Role::Ephemeral => false,
            Role::Sidecar => true,
            Role::Init | Role::Main => container.restarts.rules.iter().any(|r| r.matches(code)) || by_policy(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::super::super::Slot;
    use super::*;

    /// With which of these exit codes the container is started again.
    fn check(pod_policy: &str, field: &str, container: Value, expected: &[i32]) {
        let mut main = vec![json!({"name": "m"})];
        let mut inits = Vec::new();
        match field {
            "containers" => main = vec![container],
            _ => inits.push(container),
        }
        let spec = json!({"restartPolicy": pod_policy, "containers": main, "initContainers": inits});
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let plan = Plan::of(&pod);
        let codes: Vec<i32> = [0, 1, 42].into_iter().filter(|code| plan.restarts(Slot(0), *code)).collect();
        assert_eq!(codes, expected);
    }

    #[test]
    fn the_pods_policy_is_for_containers_that_have_none() {
        check("Always", "containers", json!({"name": "c"}), &[0, 1, 42]);
        check("OnFailure", "containers", json!({"name": "c"}), &[1, 42]);
        check("Never", "containers", json!({"name": "c"}), &[]);
        check("Never", "containers", json!({"name": "c", "restartPolicy": "OnFailure"}), &[1, 42]);
        check("Always", "containers", json!({"name": "c", "restartPolicy": "Never"}), &[]);
    }

    #[test]
    fn rules_come_before_policies() {
        let rules =
            |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]);
        let with = |policy: &str, operator: &str| json!({"name": "c", "restartPolicy": policy, "restartPolicyRules": rules(operator)});
        check("Always", "containers", with("Never", "In"), &[42]);
        check("Never", "containers", with("Never", "NotIn"), &[0, 1]);
        check("Never", "containers", with("OnFailure", "In"), &[1, 42]);
        check("Never", "initContainers", with("Never", "In"), &[42]);
    }

    #[test]
    fn an_init_container_that_succeeded_is_done_and_a_sidecar_never_is() {
        check("Always", "initContainers", json!({"name": "c"}), &[1, 42]);
        check("Never", "initContainers", json!({"name": "c"}), &[]);
        check("Never", "initContainers", json!({"name": "c", "restartPolicy": "Always"}), &[0, 1, 42]);
    }
}
