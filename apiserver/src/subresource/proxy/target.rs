//! Whom a proxy's path means: a port of an object, one of a Service's endpoints, and a path that stays below it.
//!
//! Pure. It refuses what is ambiguous instead of guessing, in upstream's words where it has some.

use serde_json::Value;

/// What is spoken with whom is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As in a URL.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that an address without one has.
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An object in a proxy's path: `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) scheme: Scheme,
    pub(super) name: &'a str,
    /// A number or a name; empty if it is left to the object.
    pub(super) port: &'a str,
}

impl<'a> Named<'a> {
    /// Reads it; nothing if it is none of the three, or of another scheme.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let scheme = match scheme {
            "" | "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        (!name.is_empty()).then_some(Self { scheme, name, port })
    }
}

/// The port of a pod: the one that is asked for, else the first that it has.
///
/// # Errors
/// A sentence, if there is no such port.
pub(super) fn pod_port(pod: &Value, named: Named<'_>) -> Result<u16, String> {
    if named.port.is_empty() {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let mut first = containers.into_iter().flatten().filter_map(|container| container.pointer("/ports/0"));
        let port =
            first.next().and_then(|port| port.get("containerPort")?.as_u64()).and_then(|p| u16::try_from(p).ok());
        return Ok(port.unwrap_or(named.scheme.port()));
    }
    match named.port.parse() {
        Ok(0) | Err(_) => {
            Err(format!("error trying to reach service: dial tcp: lookup tcp/{}: unknown port", named.port))
        }
        Ok(port) => Ok(port),
    }
}

/// The pod's own address; empty if it has none yet.
pub(super) fn ip(pod: &Value) -> &str {
    pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default()
}

/// The pods behind a Service's port that are ready, and the port of each. `pod` finds those of the Service's namespace
/// by their names.
///
/// # Errors
/// A sentence, if there are none.
pub(super) fn endpoints(
    service: &Value,
    slices: &[&Value],
    named: Named<'_>,
    asked: &str,
    pod: impl Fn(&str) -> Option<Value>,
) -> Result<Vec<(Value, u16)>, String> {
    let port_name = match named.port.parse::<i64>() {
        Err(_) => named.port,
        // By its number it is one of the Service's, and its slices know it by its name.
        Ok(number) => {
            let mut ports = list(service, "/spec/ports");
            let port = ports.find(|port| port.get("port").and_then(Value::as_i64) == Some(number));
            let port = port.ok_or_else(|| format!("no service port {number} found for service {:?}", named.name))?;
            text(port, "name")
        }
    };
    let namespace = service.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let mut found = Vec::new();
    for slice in slices {
        let port = list(slice, "/ports").find(|port| text(port, "name") == port_name);
        let Some(port) = port.and_then(|port| port.get("port")?.as_u64()).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        let pods = list(slice, "/endpoints").filter(|endpoint| is_ready(endpoint));
        let pods = pods.filter_map(|endpoint| behind(endpoint, namespace, &pod));
        found.extend(pods.map(|pod| (pod, port)));
    }
    if found.is_empty() { Err(format!("no endpoints available for service {asked:?}")) } else { Ok(found) }
}

/// The pod that an endpoint says it is, if it has that address: anybody may write an endpoint.
fn behind(endpoint: &Value, namespace: &str, pod: impl Fn(&str) -> Option<Value>) -> Option<Value> {
    let target = endpoint.get("targetRef")?;
    let is_pod = text(target, "kind") == "Pod" && text(target, "namespace") == namespace;
    let pod = is_pod.then(|| pod(text(target, "name"))).flatten()?;
    let stated = endpoint.pointer("/addresses/0").and_then(Value::as_str)?;
    (ip(&pod) == stated).then_some(pod)
}

fn is_ready(endpoint: &Value) -> bool {
    endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true)
}

fn list<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A path that means the same and climbs nowhere: `.` and `..`, also where their dots are escaped, are resolved, and
/// nothing is above the root. All else stays as it was sent.
pub(super) fn below(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut elements = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(element) = elements.next() {
        let dots = element.len() <= "%2e%2e".len();
        let plain = if dots { element.to_ascii_lowercase().replace("%2e", ".") } else { String::new() };
        let is_last = elements.peek().is_none();
        match plain.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(element);
                continue;
            }
        }
        // What it leads to is a folder.
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Where a client of the proxy at `root` finds what a pod calls `location`: a path of its own, or of a URL with one of
/// its `hosts`, is below the root. Nothing if it is elsewhere, or relative, and stays as it is.
pub(super) fn moved(location: &str, root: &str, hosts: &[Option<String>]) -> Option<String> {
    let scheme = ["http:", "https:"]
        .iter()
        .find(|scheme| location.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = location.get(scheme.map_or(0, |scheme| scheme.len())..)?;
    let rest = match rest.strip_prefix("//") {
        Some(rest) => {
            let (host, path) = rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len()))?;
            hosts.iter().flatten().any(|ours| ours.eq_ignore_ascii_case(host)).then_some(path)?
        }
        None => rest,
    };
    let (path, further) = rest.split_at_checked(rest.find(['?', '#']).unwrap_or(rest.len()))?;
    if !path.starts_with('/') {
        return None;
    }
    let path = below(path);
    // Who knows where it is seen tells it whole.
    let is_there = path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    Some(if is_there { path + further } else { format!("{root}{path}{further}") })
}

#[cfg(test)]
mod tests;
