//! The rules for probes and lifecycle handlers.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe};

use super::container::Around;
use super::operating_system;
use crate::registry::check::names::require;
use crate::registry::check::numbers::{not_negative, port, port_or_name};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required};

/// The rules for a container's probes and handlers.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, container: &Container, around: &Around<'_>) {
    if let Some(lifecycle) = &container.lifecycle {
        let path = path.field("lifecycle");
        let grace = around.spec.termination_grace_period_seconds;
        for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            if let Some(handler) = handler {
                validate_handler(errors, path.field(field), handler, grace);
            }
        }
        if let Some(signal) = &lifecycle.stop_signal {
            operating_system::validate_stop_signal(errors, path.field("stopSignal"), signal, around.spec);
        }
    }
    for (field, probe) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        if let Some(probe) = probe {
            let path = path.field(field);
            validate_probe(errors, path, probe);
            only_readiness(errors, path, field, probe);
        }
    }
}

/// What makes sense for readiness only, and what does not.
fn only_readiness(errors: &mut Errors, path: Path<'_>, field: &str, probe: &Probe) {
    if field == "readinessProbe" {
        if let Some(grace) = probe.termination_grace_period_seconds {
            let place = path.field("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(place, grace, "must not be set for readinessProbes"));
        }
    } else if let Some(threshold) = probe.success_threshold.filter(|t| *t != 1) {
        errors.push(FieldError::invalid(path.field("successThreshold"), threshold, "must be 1"));
    }
}

fn validate_probe(errors: &mut Errors, path: Path<'_>, probe: &Probe) {
    let mut handlers = Handlers { path, found: false };
    if let Some(exec) = &probe.exec
        && let Some(path) = handlers.first(errors, "exec")
    {
        exec_command(errors, path, exec.command.as_deref());
    }
    if let Some(http) = &probe.http_get
        && let Some(path) = handlers.first(errors, "httpGet")
    {
        validate_http(errors, path, http);
    }
    if let Some(tcp) = &probe.tcp_socket
        && let Some(path) = handlers.first(errors, "tcpSocket")
    {
        port_or_name(errors, path.field("port"), &tcp.port);
    }
    if let Some(grpc) = &probe.grpc
        && let Some(path) = handlers.first(errors, "grpc")
    {
        port(errors, path.field("port"), grpc.port);
    }
    handlers.end(errors);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(errors, path.field(field), value.unwrap_or(0));
    }
    if let Some(grace) = probe.termination_grace_period_seconds.filter(|g| *g <= 0) {
        errors.push(FieldError::invalid(path.field("terminationGracePeriodSeconds"), grace, "must be greater than 0"));
    }
}

fn validate_handler(errors: &mut Errors, path: Path<'_>, handler: &LifecycleHandler, grace: Option<i64>) {
    let mut handlers = Handlers { path, found: false };
    if let Some(exec) = &handler.exec
        && let Some(path) = handlers.first(errors, "exec")
    {
        exec_command(errors, path, exec.command.as_deref());
    }
    if let Some(http) = &handler.http_get
        && let Some(path) = handlers.first(errors, "httpGet")
    {
        validate_http(errors, path, http);
    }
    if let Some(tcp) = &handler.tcp_socket
        && let Some(path) = handlers.first(errors, "tcpSocket")
    {
        port_or_name(errors, path.field("port"), &tcp.port);
    }
    if let Some(sleep) = &handler.sleep
        && let Some(path) = handlers.first(errors, "sleep")
        && let Some(grace) = grace.filter(|grace| sleep.seconds < 0 || sleep.seconds > *grace)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(path, sleep.seconds, detail));
    }
    handlers.end(errors);
}

/// The ways in which something is done: there must be just one.
struct Handlers<'a> {
    path: Path<'a>,
    found: bool,
}

impl<'a> Handlers<'a> {
    /// The place of this way, if it is the first that is found; the rules of others are not asked.
    fn first<'b>(&'b mut self, errors: &mut Errors, field: &'b str) -> Option<Path<'b>>
    where
        'a: 'b,
    {
        if self.found {
            errors.push(FieldError::forbidden(self.path.field(field), "may not specify more than 1 handler type"));
            return None;
        }
        self.found = true;
        Some(self.path.field(field))
    }

    fn end(self, errors: &mut Errors) {
        if !self.found {
            errors.push(FieldError::required(self.path, "must specify a handler type"));
        }
    }
}

fn exec_command(errors: &mut Errors, path: Path<'_>, command: Option<&[String]>) {
    if command.unwrap_or_default().is_empty() {
        errors.push(FieldError::required(path.field("command"), ""));
    }
}

fn validate_http(errors: &mut Errors, path: Path<'_>, http: &HTTPGetAction) {
    required(errors, path.field("path"), http.path.as_deref().unwrap_or_default());
    port_or_name(errors, path.field("port"), &http.port);
    let scheme = http.scheme.as_deref().unwrap_or_default();
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.push(FieldError::not_supported(path.field("scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in http.http_headers.iter().flatten() {
        require(errors, path.field("httpHeaders"), &header.name, header_name);
    }
}

fn header_name(name: &str) -> Vec<String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !name.is_empty() && name.chars().all(inner) {
        return Vec::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used \
                for validation is '[-A-Za-z0-9]+')";
    vec![rule.to_owned()]
}
