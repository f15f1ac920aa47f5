//! Where a probe or hook connects: a port by number or name, at the pod's address or at a host it names.

use std::io;
use std::net::{IpAddr, SocketAddr};

use coracle_api::meet::{ConnectError, Protocol};
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::pods::launch::Order;

/// The port that a container's probe or hook means, by number, or by the name that the container gives it.
///
/// # Errors
/// The kubelet's words for a port that there is not.
pub(super) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            match named {
                Some(named) => named.container_port,
                None => name.parse().map_err(|_| format!("strconv.Atoi: parsing {name:?}: invalid syntax"))?,
            }
        }
    };
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(format!("invalid port number: {number}")),
    }
}

/// Why there is no connection.
pub(in crate::pods) enum Refusal {
    /// Nobody listens there, which may be so because the container has only begun.
    NobodyListens(String),
    /// Anything else.
    Other(String),
}

/// `host:port`, with the brackets that an IPv6 address needs.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The host that a probe names, or the pod's address.
pub(super) fn host(named: Option<&str>, order: &Order) -> String {
    named.filter(|host| !host.is_empty()).map_or_else(|| order.attachment.ip().to_string(), str::to_owned)
}

/// Connects to a host and port as the cluster names them; in the kubelet's words, if that fails.
pub(super) async fn connect(order: &Order, host: &str, port: u16) -> Result<TcpStream, Refusal> {
    let authority = authority(host, port);
    let ip: IpAddr = match host.trim_matches(['[', ']']).parse() {
        Ok(ip) => ip,
        Err(_) => {
            let names = order.names().0;
            let known = names.known(host);
            let found = if known.is_empty() { order.shared.resolver.lookup(host, &names).await } else { known };
            let missing = || Refusal::Other(format!("dial tcp: lookup {host}: no such host"));
            *found.first().ok_or_else(missing)?
        }
    };
    let refused = || Refusal::NobodyListens(format!("dial tcp {authority}: connect: connection refused"));
    let real = order.attachment.connect(Protocol::Tcp, SocketAddr::new(ip, port)).map_err(|error| match error {
        ConnectError::Refused => refused(),
        denied @ ConnectError::Denied => Refusal::Other(format!("dial tcp {authority}: {denied}")),
    })?;
    TcpStream::connect(real).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => refused(),
        _ => Refusal::Other(format!("dial tcp {authority}: connect: {}", in_words(&error))),
    })
}

/// An error of the system as Go has it: `connection reset by peer`, without Rust's capital and number.
pub(crate) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_the_name_of_one() {
        let ports = serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]});
        let container: Container = serde_json::from_value(ports).unwrap();
        let named = |name: &str| port(&IntOrString::String(name.into()), &container);
        assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
        assert_eq!((named("web"), named("8081")), (Ok(8080), Ok(8081)));
        assert_eq!(named("none"), Err(r#"strconv.Atoi: parsing "none": invalid syntax"#.to_owned()));
        assert_eq!(port(&IntOrString::Int(0), &container), Err("invalid port number: 0".to_owned()));
    }

    #[test]
    fn errors_of_the_system_are_told_as_go_has_them() {
        assert_eq!(in_words(&io::Error::from_raw_os_error(104)), "connection reset by peer");
        assert_eq!(in_words(&io::Error::other("odd")), "odd");
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        assert_eq!(authority("127.42.0.5", 80), "127.42.0.5:80");
        assert_eq!(authority("fd00::5", 80), "[fd00::5]:80");
    }
}
