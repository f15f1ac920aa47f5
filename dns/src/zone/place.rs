//! Where in the zone a name is: a pure reading of its labels, in the order of the Kubernetes DNS specification.

/// A place in the cluster's zone. Labels are in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The zone's own name.
    Apex,
    /// `dns-version`.
    Version,
    /// `ns.dns`: who answers.
    NameServer,
    /// `svc`, `pod`, `dns`: there only because of what is below.
    Between,
    /// `NAMESPACE.svc`, `NAMESPACE.pod`.
    Namespace(&'a str),
    /// `SERVICE.NAMESPACE.svc`: a Service, by its key.
    Service(String),
    /// `_PROTOCOL.SERVICE.NAMESPACE.svc`.
    Protocol(String, &'a str),
    /// `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc`.
    Port(String, &'a str, &'a str),
    /// `HOST.SERVICE.NAMESPACE.svc`.
    Endpoint(String, &'a str),
    /// `1-2-3-4.NAMESPACE.pod`.
    Pod(&'a str, &'a str),
    /// Nothing can be there.
    Nowhere,
}

/// Reads the labels that a name has before the zone's own, as they are written.
pub(super) fn place<'a>(labels: &[&'a str]) -> Place<'a> {
    let key = |service: &str, namespace: &str| format!("{service}.{namespace}");
    match *labels {
        [] => Place::Apex,
        ["dns-version"] => Place::Version,
        ["ns", "dns"] => Place::NameServer,
        ["svc" | "pod" | "dns"] => Place::Between,
        [namespace, "svc" | "pod"] => Place::Namespace(namespace),
        [ip, namespace, "pod"] => Place::Pod(ip, namespace),
        [service, namespace, "svc"] => Place::Service(key(service, namespace)),
        [label, service, namespace, "svc"] => match label.strip_prefix('_') {
            Some(protocol) => Place::Protocol(key(service, namespace), protocol),
            None => Place::Endpoint(key(service, namespace), label),
        },
        [port, protocol, service, namespace, "svc"] => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
            (Some(port), Some(protocol)) => Place::Port(key(service, namespace), protocol, port),
            _ => Place::Nowhere,
        },
        _ => Place::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_where_a_name_is() {
        let check = |text: &str, expected: Place| {
            let labels: Vec<&str> = text.split('.').filter(|label| !label.is_empty()).collect();
            assert_eq!(place(&labels), expected, "{text}");
        };
        let web = || "web.shop".to_owned();
        check("", Place::Apex);
        check("dns-version", Place::Version);
        check("web.shop.svc", Place::Service(web()));
        check("_http._tcp.web.shop.svc", Place::Port(web(), "tcp", "http"));
        check("_tcp.web.shop.svc", Place::Protocol(web(), "tcp"));
        check("db-0.web.shop.svc", Place::Endpoint(web(), "db-0"));
        check("1-2-3-4.shop.pod", Place::Pod("1-2-3-4", "shop"));
        check("shop.svc", Place::Namespace("shop"));
        check("shop.pod", Place::Namespace("shop"));
        check("svc", Place::Between);
        check("dns", Place::Between);
        check("ns.dns", Place::NameServer);
        for text in
            ["a.b.web.shop.svc", "a._tcp.web.shop.svc", "x._http._tcp.web.shop.svc", "x.1-2-3-4.shop.pod", "other"]
        {
            check(text, Place::Nowhere);
        }
    }
}
