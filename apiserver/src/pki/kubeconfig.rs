//! The kubeconfig of the person who started the server: complete in itself, for any tool that speaks Kubernetes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Pki;

/// The name of the cluster, the user and the context in it.
const NAME: &str = "coracle";

/// The text of the kubeconfig of a server at `addr`.
pub(crate) fn text(pki: &Pki, addr: SocketAddr) -> String {
    let server = SocketAddr::new(reachable(addr.ip()), addr.port());
    let (authority, certificate, key) =
        (STANDARD.encode(&pki.authority), STANDARD.encode(&pki.admin.certificate), STANDARD.encode(&pki.admin.key));
    format!(
        "apiVersion: v1
kind: Config
current-context: {NAME}
clusters:
- name: {NAME}
  cluster:
    server: https://{server}
    certificate-authority-data: {authority}
contexts:
- name: {NAME}
  context:
    cluster: {NAME}
    user: {NAME}
users:
- name: {NAME}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    )
}

/// Where a server that listens on an address is reached from this machine.
pub(crate) fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
