//! The rules for probes and lifecycle handlers.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe};

use crate::registry::check::names::require;
use crate::registry::check::numbers::{not_negative, port, port_or_name};
use crate::registry::check::{Errors, at, one_of};

/// The rules for a container's probes and handlers.
pub(super) fn validate(errors: &mut Errors, path: &str, container: &Container) {
    if let Some(lifecycle) = &container.lifecycle {
        let path = at(path, "lifecycle");
        for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            if let Some(handler) = handler {
                validate_handler(errors, &at(&path, field), handler);
            }
        }
    }
    for (field, probe) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        if let Some(probe) = probe {
            let path = at(path, field);
            validate_probe(errors, &path, probe);
            only_readiness(errors, &path, field, probe);
        }
    }
}

/// What makes sense for readiness only, and what does not.
fn only_readiness(errors: &mut Errors, path: &str, field: &str, probe: &Probe) {
    if field == "readinessProbe" {
        if probe.termination_grace_period_seconds.is_some() {
            let place = at(path, "terminationGracePeriodSeconds");
            let value = probe.termination_grace_period_seconds.unwrap_or(0);
            errors.push(FieldError::invalid(place, value, "must not be set for readinessProbes"));
        }
    } else if let Some(threshold) = probe.success_threshold.filter(|t| *t != 1) {
        errors.push(FieldError::invalid(at(path, "successThreshold"), threshold, "must be 1"));
    }
}

fn validate_probe(errors: &mut Errors, path: &str, probe: &Probe) {
    let mut handlers = Handlers::new(path);
    if let Some(exec) = &probe.exec {
        handlers.one(errors, "exec");
        exec_command(errors, path, exec.command.as_deref());
    }
    if let Some(http) = &probe.http_get {
        handlers.one(errors, "httpGet");
        validate_http(errors, &at(path, "httpGet"), http);
    }
    if let Some(tcp) = &probe.tcp_socket {
        handlers.one(errors, "tcpSocket");
        port_or_name(errors, at(&at(path, "tcpSocket"), "port"), &tcp.port);
    }
    if let Some(grpc) = &probe.grpc {
        handlers.one(errors, "grpc");
        port(errors, at(&at(path, "grpc"), "port"), grpc.port);
    }
    handlers.end(errors);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(errors, at(path, field), value.unwrap_or(0));
    }
    if let Some(grace) = probe.termination_grace_period_seconds.filter(|g| *g <= 0) {
        errors.push(FieldError::invalid(at(path, "terminationGracePeriodSeconds"), grace, "must be greater than 0"));
    }
}

fn validate_handler(errors: &mut Errors, path: &str, handler: &LifecycleHandler) {
    let mut handlers = Handlers::new(path);
    if let Some(exec) = &handler.exec {
        handlers.one(errors, "exec");
        exec_command(errors, path, exec.command.as_deref());
    }
    if let Some(http) = &handler.http_get {
        handlers.one(errors, "httpGet");
        validate_http(errors, &at(path, "httpGet"), http);
    }
    if let Some(tcp) = &handler.tcp_socket {
        handlers.one(errors, "tcpSocket");
        port_or_name(errors, at(&at(path, "tcpSocket"), "port"), &tcp.port);
    }
    if let Some(sleep) = &handler.sleep {
        handlers.one(errors, "sleep");
        if sleep.seconds < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(at(path, "sleep"), sleep.seconds, detail));
        }
    }
    handlers.end(errors);
}

/// Counts the ways in which something is done: there must be just one.
struct Handlers<'a> {
    path: &'a str,
    count: usize,
}

impl<'a> Handlers<'a> {
    fn new(path: &'a str) -> Self {
        Self { path, count: 0 }
    }

    fn one(&mut self, errors: &mut Errors, field: &str) {
        self.count += 1;
        if self.count > 1 {
            errors.push(FieldError::forbidden(at(self.path, field), "may not specify more than 1 handler type"));
        }
    }

    fn end(self, errors: &mut Errors) {
        if self.count == 0 {
            errors.push(FieldError::required(self.path, "must specify a handler type"));
        }
    }
}

fn exec_command(errors: &mut Errors, path: &str, command: Option<&[String]>) {
    if command.unwrap_or_default().is_empty() {
        errors.push(FieldError::required(at(&at(path, "exec"), "command"), ""));
    }
}

fn validate_http(errors: &mut Errors, path: &str, http: &HTTPGetAction) {
    if http.path.as_deref().is_none_or(str::is_empty) {
        errors.push(FieldError::required(at(path, "path"), ""));
    }
    port_or_name(errors, at(path, "port"), &http.port);
    one_of(errors, at(path, "scheme"), http.scheme.as_deref(), &["HTTP", "HTTPS"]);
    for header in http.http_headers.iter().flatten() {
        require(errors, &at(path, "httpHeaders"), &header.name, header_name);
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
