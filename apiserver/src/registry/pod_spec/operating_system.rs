//! The rules that depend on the operating system that a pod is for, and on what of its host it shares.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::visit;
use crate::registry::check::Errors;
use crate::registry::check::path::Path;

const LINUX: &str = "linux";
const WINDOWS: &str = "windows";

/// Signals that Windows has something like.
const WINDOWS_SIGNALS: [&str; 2] = ["SIGKILL", "SIGTERM"];

/// Signals of Linux, in the order in which they are told.
const LINUX_SIGNALS: [&str; 65] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn name(spec: &PodSpec) -> Option<&str> {
    spec.os.as_ref().map(|os| os.name.as_str())
}

/// The rules for `os`, and for what it rules out.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let place = path.field("os");
    match name(spec) {
        None => {}
        Some("") => errors.push(FieldError::required(place.field("name"), "cannot be empty")),
        Some(LINUX) => {
            let options = spec.security_context.as_ref().is_some_and(|s| s.windows_options.is_some());
            not_for_linux(errors, path, options);
            visit(spec, path, |container, path| {
                let options = container.security_context.as_ref().is_some_and(|s| s.windows_options.is_some());
                not_for_linux(errors, path, options);
            });
        }
        Some(WINDOWS) => {
            pod_not_for_windows(errors, path, spec);
            visit(spec, path, |container, path| container_not_for_windows(errors, path, container));
        }
        Some(other) => errors.push(FieldError::not_supported(place, other, &[LINUX, WINDOWS])),
    }
}

fn not_for_linux(errors: &mut Errors, path: Path<'_>, set: bool) {
    if set {
        let path = path.field("securityContext");
        let detail = "windows options cannot be set for a linux pod";
        errors.push(FieldError::forbidden(path.field("windowsOptions"), detail));
    }
}

fn refuse(errors: &mut Errors, path: Path<'_>, fields: &[(&str, bool)]) {
    for (field, _) in fields.iter().filter(|(_, set)| *set) {
        errors.push(FieldError::forbidden(path.field(field), "cannot be set for a windows pod"));
    }
}

fn pod_not_for_windows(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let Some(context) = &spec.security_context else { return };
    let on = |flag: Option<bool>| flag == Some(true);
    let inside = path.field("securityContext");
    refuse(
        errors,
        inside,
        &[
            ("appArmorProfile", context.app_armor_profile.is_some()),
            ("seLinuxOptions", context.se_linux_options.is_some()),
        ],
    );
    refuse(
        errors,
        path,
        &[("hostUsers", spec.host_users.is_some()), ("hostPID", on(spec.host_pid)), ("hostIPC", on(spec.host_ipc))],
    );
    refuse(
        errors,
        inside,
        &[
            ("seccompProfile", context.seccomp_profile.is_some()),
            ("fsGroup", context.fs_group.is_some()),
            ("fsGroupChangePolicy", context.fs_group_change_policy.is_some()),
            ("sysctls", context.sysctls.as_ref().is_some_and(|s| !s.is_empty())),
        ],
    );
    refuse(errors, path, &[("shareProcessNamespace", spec.share_process_namespace.is_some())]);
    refuse(
        errors,
        inside,
        &[
            ("runAsUser", context.run_as_user.is_some()),
            ("runAsGroup", context.run_as_group.is_some()),
            ("supplementalGroups", context.supplemental_groups.is_some()),
            ("supplementalGroupsPolicy", context.supplemental_groups_policy.is_some()),
            ("seLinuxChangePolicy", context.se_linux_change_policy.is_some()),
        ],
    );
}

fn container_not_for_windows(errors: &mut Errors, path: Path<'_>, container: &Container) {
    let Some(context) = &container.security_context else { return };
    refuse(
        errors,
        path.field("securityContext"),
        &[
            ("appArmorProfile", context.app_armor_profile.is_some()),
            ("seLinuxOptions", context.se_linux_options.is_some()),
            ("seccompProfile", context.seccomp_profile.is_some()),
            ("capabilities", context.capabilities.is_some()),
            ("readOnlyRootFilesystem", context.read_only_root_filesystem.is_some()),
            ("privileged", context.privileged.is_some()),
            ("allowPrivilegeEscalation", context.allow_privilege_escalation.is_some()),
            ("procMount", context.proc_mount.is_some()),
            ("runAsUser", context.run_as_user.is_some()),
            ("runAsGroup", context.run_as_group.is_some()),
        ],
    );
}

/// A pod with users of its own shares no other namespace with its host.
pub(super) fn validate_host_users(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    if spec.host_users != Some(false) {
        return;
    }
    for (field, shared) in [("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)]
    {
        if shared == Some(true) {
            errors.push(FieldError::forbidden(path.field(field), "when `pod.Spec.HostUsers` is false"));
        }
    }
}

/// The rules for processes of a Windows host: all containers are such or none, and here none is.
pub(super) fn validate_host_processes(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let options = spec.security_context.as_ref().and_then(|s| s.windows_options.as_ref());
    let of_pod = options.and_then(|o| o.host_process);
    let (mut all, mut hosted) = (0, 0);
    visit(spec, path, |container, path| {
        all += 1;
        let options = container.security_context.as_ref().and_then(|s| s.windows_options.as_ref());
        let own = options.and_then(|o| o.host_process);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let detail = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            let path = path.field("securityContext");
            let path = path.field("windowsOptions");
            errors.push(FieldError::invalid(path.field("hostProcess"), own, detail));
        }
        if own.or(of_pod) == Some(true) {
            hosted += 1;
        }
    });
    if hosted == 0 {
        return;
    }
    if hosted != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", detail));
    }
    if spec.host_network != Some(true) {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(path.field("hostNetwork"), false, detail));
    }
    errors.push(FieldError::forbidden(path, "hostProcess containers are disallowed by cluster policy"));
}

/// The rules for the signal that stops a container.
pub(super) fn validate_stop_signal(errors: &mut Errors, path: Path<'_>, signal: &str, spec: &PodSpec) {
    let signals = match name(spec) {
        None => {
            let detail = "may not be set for containers with empty `spec.os.name`";
            errors.push(FieldError::forbidden(path, detail));
            return;
        }
        Some(WINDOWS) => WINDOWS_SIGNALS.as_slice(),
        Some(_) => LINUX_SIGNALS.as_slice(),
    };
    if !signals.contains(&signal) {
        errors.push(FieldError::not_supported(path, signal, signals));
    }
}
