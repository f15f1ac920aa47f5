//! The rules for a pod's spec as a whole.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::PodSpec;

use super::{containers, scheduling, volumes};
use crate::registry::check::names::{self, require};
use crate::registry::check::{Errors, at, ip, item, one_of};

/// The rules for a spec, in the order in which upstream tells them.
pub(in crate::registry) fn validate_spec(errors: &mut Errors, path: &str, spec: &PodSpec) {
    volumes::validate(errors, path, spec);
    containers::validate(errors, path, spec);
    policies(errors, path, spec);
    identities(errors, path, spec);
    scheduling::validate(errors, path, spec);
    for (field, value) in [("serviceAccountName", &spec.service_account_name), ("nodeName", &spec.node_name)] {
        if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
            require(errors, &at(path, field), value, names::subdomain);
        }
    }
    for (field, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
            require(errors, &at(path, field), value, names::label);
        }
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = item(path, "hostAliases", index);
        ip(errors, at(&path, "ip"), &alias.ip);
        for hostname in alias.hostnames.iter().flatten() {
            require(errors, &at(&path, "hostnames"), hostname, names::subdomain);
        }
    }
    if let Some(seconds) = spec.active_deadline_seconds.filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(at(path, "activeDeadlineSeconds"), seconds, detail));
    }
}

fn policies(errors: &mut Errors, path: &str, spec: &PodSpec) {
    let restart = ["Always", "OnFailure", "Never"];
    one_of(errors, at(path, "restartPolicy"), spec.restart_policy.as_deref(), &restart);
    let dns = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, at(path, "dnsPolicy"), spec.dns_policy.as_deref(), &dns);
    let nameservers = spec.dns_config.as_ref().and_then(|c| c.nameservers.as_deref()).unwrap_or_default();
    if spec.dns_policy.as_deref() == Some("None") {
        if spec.dns_config.is_none() {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(at(path, "dnsConfig"), detail));
        } else if nameservers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(at(&at(path, "dnsConfig"), "nameservers"), detail));
        }
    }
    for (index, server) in nameservers.iter().enumerate() {
        ip(errors, item(&at(path, "dnsConfig"), "nameservers", index), server);
    }
}

fn identities(errors: &mut Errors, path: &str, spec: &PodSpec) {
    let Some(context) = &spec.security_context else { return };
    let path = at(path, "securityContext");
    identity(errors, at(&path, "runAsUser"), context.run_as_user);
    identity(errors, at(&path, "runAsGroup"), context.run_as_group);
    identity(errors, at(&path, "fsGroup"), context.fs_group);
}

/// The number of a user or group.
pub(super) fn identity(errors: &mut Errors, path: String, id: Option<i64>) {
    if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
        errors.push(FieldError::invalid(path, id, "must be between 0 and 2147483647, inclusive"));
    }
}
