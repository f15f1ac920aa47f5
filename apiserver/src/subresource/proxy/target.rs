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

/// An endpoint of a Service that a proxy may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) ip: String,
    /// The pod behind it, if there is one.
    pub(super) pod: Option<String>,
    pub(super) port: u16,
}

/// The endpoints of a Service's port that are ready.
///
/// # Errors
/// A sentence, if there are none.
pub(super) fn endpoints(
    service: &Value,
    slices: &[&Value],
    named: Named<'_>,
    asked: &str,
) -> Result<Vec<Endpoint>, String> {
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
    let mut found = Vec::new();
    for slice in slices {
        let port = list(slice, "/ports").find(|port| text(port, "name") == port_name);
        let Some(port) = port.and_then(|port| port.get("port")?.as_u64()).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        for endpoint in list(slice, "/endpoints").filter(|endpoint| is_ready(endpoint)) {
            let ip = endpoint.pointer("/addresses/0").and_then(Value::as_str).unwrap_or_default().to_owned();
            let target = endpoint.get("targetRef").filter(|target| text(target, "kind") == "Pod");
            found.push(Endpoint { ip, pod: target.map(|target| text(target, "name").to_owned()), port });
        }
    }
    if found.is_empty() { Err(format!("no endpoints available for service {asked:?}")) } else { Ok(found) }
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

#[cfg(test)]
mod tests;
