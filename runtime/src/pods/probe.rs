//! Probes: asks a container by HTTP or TCP how it is, and reports when the opinion changes.
//!
//! Thresholds are counted here; what follows from an opinion is the lifecycle's to decide. Nothing is probed by a
//! command inside a container: those probes count as passed, and an event has said so.

use std::net::SocketAddr;
use std::time::Duration;

use coracle_api::event::Kind;
use k8s_openapi::api::core::v1::{Container, HTTPHeader, Probe as Spec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::launch::{Order, http_port};
use crate::lifecycle::{Event, Probe};

/// So much of an answer is read: its first line, and the beginning of a body that says what is wrong.
const ANSWER_BYTES_MAX: usize = 1024;

/// Runs the probes of a container for as long as it is polled. Returns at once if it has none.
pub(super) async fn probe(order: &Order) {
    let c = &order.container;
    if let Some(spec) = &c.startup_probe {
        watch(order, Probe::Startup, spec).await;
    }
    tokio::join!(
        watch_if(order, Probe::Readiness, c.readiness_probe.as_ref()),
        watch_if(order, Probe::Liveness, c.liveness_probe.as_ref()),
    );
}

async fn watch_if(order: &Order, probe: Probe, spec: Option<&Spec>) {
    if let Some(spec) = spec {
        watch(order, probe, spec).await;
    }
}

/// Probes again and again; a startup probe only until it has succeeded.
async fn watch(order: &Order, probe: Probe, spec: &Spec) {
    let seconds =
        |s: Option<i32>, default| Duration::from_secs(s.and_then(|s| u64::try_from(s).ok()).unwrap_or(default));
    let period = seconds(spec.period_seconds.filter(|s| *s > 0), 10);
    let patience = seconds(spec.timeout_seconds.filter(|s| *s > 0), 1);
    let threshold = |n: Option<i32>, default| n.filter(|n| *n > 0).unwrap_or(default);
    let (good, bad) = (threshold(spec.success_threshold, 1), threshold(spec.failure_threshold, 3));
    tokio::time::sleep(seconds(spec.initial_delay_seconds, 0)).await;
    let (mut streak, mut last, mut opinion) = (0, None, None);
    loop {
        let answer = match tokio::time::timeout(patience, ask(order, spec)).await {
            Ok(answer) => answer,
            Err(_) => Err("context deadline exceeded".to_owned()),
        };
        let healthy = answer.is_ok();
        if let Err(why) = answer {
            let name = capitalized(probe);
            order.shared.speaker.pod(
                &order.pod,
                order.field.clone(),
                Kind::Warning,
                "Unhealthy",
                format!("{name} probe failed: {why}"),
            );
        }
        streak = if last == Some(healthy) { streak + 1 } else { 1 };
        last = Some(healthy);
        if streak >= if healthy { good } else { bad } && opinion != Some(healthy) {
            opinion = Some(healthy);
            let event = Event::Probed { slot: order.slot, run: order.run, probe, healthy };
            // The worker has ended if nobody takes it.
            let _ = order.reports.send(event).await;
            if probe == Probe::Startup && healthy {
                return;
            }
        }
        tokio::time::sleep(period).await;
    }
}

const fn capitalized(probe: Probe) -> &'static str {
    match probe {
        Probe::Startup => "Startup",
        Probe::Readiness => "Readiness",
        Probe::Liveness => "Liveness",
    }
}

async fn ask(order: &Order, spec: &Spec) -> Result<(), String> {
    if let Some(http) = &spec.http_get {
        let port = port_of(&http.port, &order.container)?;
        let path = http.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
        let headers = http.http_headers.as_deref().unwrap_or_default();
        let stream = connect(order, port).await?;
        let host = format!("{}:{port}", order.attachment.ip());
        return get(stream, path, &host, headers).await;
    }
    match &spec.tcp_socket {
        Some(tcp) => connect(order, port_of(&tcp.port, &order.container)?).await.map(drop),
        None => Ok(()),
    }
}

fn port_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    match number.and_then(|n| u16::try_from(n).ok()) {
        Some(0) | None => Err(format!("invalid port {port:?}; the first of the container is {}", http_port(container))),
        Some(port) => Ok(port),
    }
}

async fn connect(order: &Order, port: u16) -> Result<TcpStream, String> {
    let address = SocketAddr::new(order.attachment.ip(), port);
    let refused = |e: &dyn std::fmt::Display| format!("dial tcp {address}: connect: {e}");
    let real = order.attachment.connect(address).map_err(|e| refused(&e))?;
    TcpStream::connect(real).await.map_err(|e| refused(&e))
}

/// A request with no body, and only the first line of its answer: too little to need a library.
async fn get(mut stream: TcpStream, path: &str, host: &str, headers: &[HTTPHeader]) -> Result<(), String> {
    let own = headers.iter().any(|h| h.name.eq_ignore_ascii_case("host"));
    let mut request =
        format!("GET {path} HTTP/1.1\r\nUser-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n");
    if !own {
        request += &format!("Host: {host}\r\n");
    }
    for header in headers.iter().filter(|h| !h.name.contains(['\r', '\n']) && !h.value.contains(['\r', '\n'])) {
        request += &format!("{}: {}\r\n", header.name, header.value);
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    stream
        .take(u64::try_from(ANSWER_BYTES_MAX).unwrap_or(0))
        .read_to_end(&mut answer)
        .await
        .map_err(|e| e.to_string())?;
    match status_of(&answer) {
        Some(200..400) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err("malformed HTTP response".to_owned()),
    }
}

/// The number in `HTTP/1.1 200 OK`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\r').next()?;
    let text = std::str::from_utf8(line).ok()?;
    text.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_answer_has_its_status() {
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        assert_eq!(status_of(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(status_of(b"SSH-2.0"), None);
    }

    #[test]
    fn a_port_is_a_number_or_the_name_of_one() {
        let container: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
                .unwrap();
        assert_eq!(port_of(&IntOrString::Int(80), &container), Ok(80));
        assert_eq!(port_of(&IntOrString::String("web".into()), &container), Ok(8080));
        assert!(port_of(&IntOrString::String("none".into()), &container).is_err());
        assert!(port_of(&IntOrString::Int(0), &container).is_err());
    }
}
