//! The rules for how a pod is named and what it finds names by: DNS policy and configuration, host aliases, host name.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::PodSpec;

use crate::registry::check::names::{require, search_domain, subdomain};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, ip, one_of};

/// What the C library's resolver takes: name servers.
const NAMESERVERS_MAX: usize = 3;
/// Domains to search.
const SEARCHES_MAX: usize = 32;
/// The domains to search, written one after the other.
const SEARCH_BYTES_MAX: usize = 2048;
/// The kernel's limit of a host name.
const HOSTNAME_MAX: usize = 64;

/// The rules for `dnsPolicy`.
pub(super) fn validate_policy(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, path, spec.dns_policy.as_deref(), &policies);
}

/// The rules for `dnsConfig`.
pub(super) fn validate_config(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let config = spec.dns_config.as_ref();
    let nameservers = config.and_then(|c| c.nameservers.as_deref()).unwrap_or_default();
    let list = path.field("nameservers");
    if spec.dns_policy.as_deref() == Some("None") {
        if config.is_none() {
            errors.push(FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if nameservers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(list, detail));
            return;
        }
    }
    let Some(config) = config else { return };
    if nameservers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(list, nameservers, detail));
    }
    for (index, server) in nameservers.iter().enumerate() {
        ip(errors, list.index(index), server);
    }
    searches(errors, path.field("searches"), config.searches.as_deref().unwrap_or_default());
    let list = path.field("options");
    for (index, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().is_none_or(str::is_empty) {
            errors.push(FieldError::required(list.index(index), "must not be empty"));
        }
    }
}

fn searches(errors: &mut Errors, path: Path<'_>, searches: &[String]) {
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(path, searches, detail));
    }
    let bytes = searches.iter().map(|s| s.len() + 1).sum::<usize>().saturating_sub(1);
    if bytes > SEARCH_BYTES_MAX {
        let detail =
            format!("must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list");
        errors.push(FieldError::invalid(path, searches, detail));
    }
    for (index, domain) in searches.iter().enumerate().filter(|(_, domain)| *domain != ".") {
        require(errors, path.index(index), domain.strip_suffix('.').unwrap_or(domain), search_domain);
    }
}

/// The rules for `hostAliases`.
pub(super) fn validate_aliases(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.index(index);
        ip(errors, path.field("ip"), &alias.ip);
        let list = path.field("hostnames");
        for (index, hostname) in alias.hostnames.iter().flatten().enumerate() {
            require(errors, list.index(index), hostname, subdomain);
        }
    }
}

/// The rules for `hostnameOverride`, which replaces all else that would name the pod's host.
pub(super) fn validate_override(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let Some(name) = &spec.hostname_override else { return };
    if spec.host_network == Some(true) {
        errors.push(FieldError::forbidden(path, "may not be specified when `hostNetwork` is true"));
    }
    if spec.set_hostname_as_fqdn == Some(true) {
        errors.push(FieldError::forbidden(path, "may not be specified when `setHostnameAsFQDN` is true"));
    }
    require(errors, path, name, subdomain);
    if name.len() > HOSTNAME_MAX {
        errors.push(FieldError::too_long(path, HOSTNAME_MAX));
    }
}
