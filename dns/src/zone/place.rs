//! Where in the zone a name is: a pure reading of what stands before the zone's own labels, in the order of the
//! Kubernetes DNS specification.

/// A place in the cluster's zone. All texts are in lower case, and a Service is told by its key: `web.shop`.
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
    Service(&'a str),
    /// `_PROTOCOL.SERVICE.NAMESPACE.svc`.
    Protocol(&'a str, &'a str),
    /// `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc`.
    Port(&'a str, &'a str, &'a str),
    /// `HOST.SERVICE.NAMESPACE.svc`.
    Endpoint(&'a str, &'a str),
    /// `1-2-3-4.NAMESPACE.pod`.
    Pod(&'a str, &'a str),
    /// Nothing can be there.
    Nowhere,
}

/// Reads what a name has before the zone's own labels: `web.shop.svc`.
pub(super) fn place(before: &str) -> Place<'_> {
    match before {
        "" => Place::Apex,
        "dns-version" => Place::Version,
        "ns.dns" => Place::NameServer,
        "svc" | "pod" | "dns" => Place::Between,
        _ => match before.rsplit_once('.') {
            Some((rest, "svc")) => below_svc(rest),
            Some((rest, "pod")) => match rest.split_once('.') {
                None => Place::Namespace(rest),
                Some((_, namespace)) if namespace.contains('.') => Place::Nowhere,
                Some((ip, namespace)) => Place::Pod(ip, namespace),
            },
            _ => Place::Nowhere,
        },
    }
}

/// Reads what stands before `svc`: a namespace, a Service in it, what that has.
fn below_svc(rest: &str) -> Place<'_> {
    let labels = rest.split('.').count();
    let (first, after) = rest.split_once('.').unwrap_or(("", rest));
    match (labels, first.strip_prefix('_')) {
        (1, _) => Place::Namespace(rest),
        (2, _) => Place::Service(rest),
        (3, Some(protocol)) => Place::Protocol(after, protocol),
        (3, None) => Place::Endpoint(after, first),
        (4, Some(port)) => match after.strip_prefix('_').and_then(|after| after.split_once('.')) {
            Some((protocol, key)) => Place::Port(key, protocol, port),
            None => Place::Nowhere,
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
            assert_eq!(place(text), expected, "{text}");
        };
        check("", Place::Apex);
        check("dns-version", Place::Version);
        check("web.shop.svc", Place::Service("web.shop"));
        check("_http._tcp.web.shop.svc", Place::Port("web.shop", "tcp", "http"));
        check("_tcp.web.shop.svc", Place::Protocol("web.shop", "tcp"));
        check("db-0.web.shop.svc", Place::Endpoint("web.shop", "db-0"));
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
