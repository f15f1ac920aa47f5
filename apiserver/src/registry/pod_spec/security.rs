//! The rules for the security of a pod and of its containers: identities, privileges, kernel settings.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{PodSecurityContext, PodSpec, SecurityContext};

use super::{profiles, windows};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, text};

/// The longest name of a kernel setting.
const SYSCTL_MAX: usize = 253;

/// The rules for a pod. Some of what upstream counts among them stands beside the context in the spec.
pub(super) fn validate_pod(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let empty = PodSecurityContext::default();
    let context = spec.security_context.as_ref().unwrap_or(&empty);
    identity(errors, path.field("fsGroup"), context.fs_group);
    identity(errors, path.field("runAsUser"), context.run_as_user);
    identity(errors, path.field("runAsGroup"), context.run_as_group);
    let list = path.field("supplementalGroups");
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        identity(errors, list.index(index), Some(*group));
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(path.field("shareProcessNamespace"), true, detail));
    }
    sysctls(errors, path.field("sysctls"), context, spec);
    one_of_these(
        errors,
        path.field("fsGroupChangePolicy"),
        &context.fs_group_change_policy,
        &["Always", "OnRootMismatch"],
    );
    profiles::validate_seccomp(errors, path.field("seccompProfile"), context.seccomp_profile.as_ref());
    windows::validate(errors, path.field("windowsOptions"), context.windows_options.as_ref());
    profiles::validate_app_armor(errors, path.field("appArmorProfile"), context.app_armor_profile.as_ref());
    let policies = ["Merge", "Strict"];
    one_of_these(errors, path.field("supplementalGroupsPolicy"), &context.supplemental_groups_policy, &policies);
    let policies = ["MountOption", "Recursive"];
    one_of_these(errors, path.field("seLinuxChangePolicy"), &context.se_linux_change_policy, &policies);
}

/// A value of those allowed, if the field is there: empty is none of them.
fn one_of_these(errors: &mut Errors, path: Path<'_>, value: &Option<String>, allowed: &[&str]) {
    if let Some(value) = value.as_deref().filter(|v| !allowed.contains(v)) {
        errors.push(FieldError::not_supported(path, value, allowed));
    }
}

/// The number of a user or group.
pub(super) fn identity(errors: &mut Errors, path: Path<'_>, id: Option<i64>) {
    if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
        errors.push(FieldError::invalid(path, id, "must be between 0 and 2147483647, inclusive"));
    }
}

fn sysctls(errors: &mut Errors, path: Path<'_>, context: &PodSecurityContext, spec: &PodSpec) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in context.sysctls.iter().flatten().enumerate() {
        let path = path.index(index);
        let (place, name) = (path.field("name"), sysctl.name.as_str());
        if name.is_empty() {
            errors.push(FieldError::required(place, ""));
        } else if !is_sysctl(name) {
            let detail = format!(
                r"must have at most {SYSCTL_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(FieldError::invalid(place, name, detail));
        } else if seen.contains(name) {
            errors.push(FieldError::duplicate(place, name));
        }
        seen.insert(name);
        match namespace_of(name) {
            Some(Namespace::Net) if spec.host_network == Some(true) => {
                errors.push(FieldError::invalid(place, name, "may not be specified when 'hostNetwork' is true"));
            }
            Some(Namespace::Ipc) if spec.host_ipc == Some(true) => {
                errors.push(FieldError::invalid(place, name, "may not be specified when 'hostIPC' is true"));
            }
            Some(Namespace::Net | Namespace::Ipc) | None => {}
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let segment = |part: &str| {
        !part.is_empty() && part.chars().all(inner) && !part.starts_with(['-', '_']) && !part.ends_with(['-', '_'])
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(segment)
}

/// What of the kernel a pod has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

fn namespace_of(sysctl: &str) -> Option<Namespace> {
    let dotted = if sysctl.find(['.', '/']).is_some_and(|at| sysctl.as_bytes().get(at) == Some(&b'/')) {
        sysctl.replace('/', ".")
    } else {
        sysctl.to_owned()
    };
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix));
    match dotted.as_str() {
        name if ipc || name == "kernel.sem" => Some(Namespace::Ipc),
        name if name.starts_with("net.") => Some(Namespace::Net),
        _ => None,
    }
}

/// The rules for a container. Privileged ones are not to be had, as with kube-apiserver unless it is told otherwise:
/// nothing in a sandbox could give them what they ask for.
pub(super) fn validate_container(errors: &mut Errors, path: Path<'_>, context: &SecurityContext, spec: &PodSpec) {
    if context.privileged == Some(true) {
        errors.push(FieldError::forbidden(path.field("privileged"), "disallowed by cluster policy"));
    }
    identity(errors, path.field("runAsUser"), context.run_as_user);
    identity(errors, path.field("runAsGroup"), context.run_as_group);
    let place = path.field("procMount");
    one_of_these(errors, place, &context.proc_mount, &["Default", "Unmasked"]);
    if text(&context.proc_mount) == "Unmasked" && spec.host_users.unwrap_or(true) {
        errors.push(FieldError::invalid(place, "Unmasked", "`hostUsers` must be false to use `Unmasked`"));
    }
    profiles::validate_seccomp(errors, path.field("seccompProfile"), context.seccomp_profile.as_ref());
    if context.allow_privilege_escalation == Some(false) {
        let mut contradiction = |detail: &str| {
            errors.push(FieldError::invalid(path, serde_json::to_value(context).unwrap_or_default(), detail));
        };
        if context.privileged == Some(true) {
            contradiction("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = context.capabilities.iter().flat_map(|c| c.add.iter().flatten());
        for _ in added.filter(|capability| *capability == "CAP_SYS_ADMIN") {
            contradiction("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    windows::validate(errors, path.field("windowsOptions"), context.windows_options.as_ref());
    profiles::validate_app_armor(errors, path.field("appArmorProfile"), context.app_armor_profile.as_ref());
}
