//! The objects that a file becomes. Pure.

use std::path::Path;

use anyhow::{Context, bail};
use coracle_api::names::is_dns1035_label;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The label that tells whose objects they are.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub(super) const MANAGER: &str = "coracle-run";

/// How many bytes of the content's hash make the tag: two files of one name never share 64 bits by chance.
const TAG_BYTES: usize = 8;

/// The longest name made of a file's: pods' names add some twenty letters to it.
const NAME_MAX: usize = 40;

/// How often a program may be found not listening yet, once a second: a large one may take that long to start.
const STARTUP_TRIES: u32 = 120;

/// What is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// As given by `-n`.
    pub(super) namespace: Option<String>,
    pub(super) image: String,
    /// Whether the host serves HTTP for it.
    pub(super) http: bool,
    /// Where it is reached.
    pub(super) port: Option<u16>,
    /// Where it listens.
    pub(super) target_port: Option<u16>,
    /// Nothing leaves the number as it is.
    pub(super) replicas: Option<u32>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) arguments: Vec<String>,
}

impl Wanted {
    /// What selects its pods.
    pub(super) fn selector(&self) -> String {
        format!("app={}", self.name)
    }

    /// The Deployment, then the Service if there is one.
    pub(super) fn objects(&self) -> Vec<Value> {
        let service = self.port.zip(self.target_port).map(|(port, target)| self.service(port, target));
        std::iter::once(self.deployment()).chain(service).collect()
    }

    /// The names of [`Wanted::objects`], as verbs say them.
    pub(super) fn shown(&self) -> Vec<String> {
        let service = self.port.map(|_| format!("service/{}", self.name));
        std::iter::once(format!("deployment.apps/{}", self.name)).chain(service).collect()
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({ "name": self.name, "labels": { "app": self.name, MANAGED_BY: MANAGER } });
        if let (Some(namespace), Some(map)) = (&self.namespace, metadata.as_object_mut()) {
            map.insert("namespace".to_owned(), json!(namespace));
        }
        metadata
    }

    fn deployment(&self) -> Value {
        let labels = json!({ "app": self.name });
        let mut spec = Map::new();
        if let Some(replicas) = self.replicas {
            spec.insert("replicas".to_owned(), json!(replicas));
        }
        spec.insert("selector".to_owned(), json!({ "matchLabels": labels }));
        let pod = json!({ "metadata": { "labels": labels }, "spec": { "containers": [self.container()] } });
        spec.insert("template".to_owned(), pod);
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.metadata(), "spec": spec })
    }

    fn container(&self) -> Value {
        let mut container = Map::new();
        let mut put = |key: &str, value: Value| container.insert(key.to_owned(), value);
        put("name", json!(self.name));
        put("image", json!(self.image));
        put("imagePullPolicy", json!("IfNotPresent"));
        if !self.arguments.is_empty() {
            put("args", json!(self.arguments));
        }
        if !self.environment.is_empty() {
            let variable = |(name, value): &(String, String)| json!({ "name": name, "value": value });
            put("env", self.environment.iter().map(variable).collect());
        }
        if let Some(port) = self.target_port {
            put("ports", json!([{ "name": self.port_name(), "containerPort": port }]));
            if !self.http {
                // Ready is to mean that somebody listens; for HTTP components the host listens before they are ready.
                let tcp = json!({ "port": self.port_name() });
                put("startupProbe", json!({ "tcpSocket": tcp, "periodSeconds": 1, "failureThreshold": STARTUP_TRIES }));
            }
        }
        Value::Object(container)
    }

    fn service(&self, port: u16, target: u16) -> Value {
        // A port of its own choice, opened at the node's address: what NodePorts cannot give.
        let ports = json!([{ "name": self.port_name(), "port": port, "targetPort": target }]);
        let spec = json!({ "type": "LoadBalancer", "selector": { "app": self.name }, "ports": ports });
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": self.metadata(), "spec": spec })
    }

    const fn port_name(&self) -> &'static str {
        if self.http { "http" } else { "tcp" }
    }
}

/// The image's name: its tag changes with the content.
pub(super) fn image(name: &str, wasm: &[u8]) -> String {
    let hash = Sha256::digest(wasm);
    let tag: String = hash.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}:{tag}")
}

/// A name made of a file's: `My App.wasm` is `my-app`.
pub(super) fn name_of(file: &Path) -> anyhow::Result<String> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name: String = plain.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).chars().take(NAME_MAX).collect();
    checked(name.trim_end_matches('-'))
        .with_context(|| format!("give {} a name, as in `coracle run FILE web`", file.display()))
}

/// A name that a Deployment and a Service may both have.
pub(super) fn checked(name: &str) -> anyhow::Result<String> {
    if !is_dns1035_label(name) {
        bail!("{name:?} is no name for it: write lower case letters, digits and -, a letter first, 63 at most");
    }
    Ok(name.to_owned())
}

/// A variable, written as `NAME=VALUE`.
pub(super) fn variable(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("--env {text:?} is no variable; write NAME=VALUE"),
    }
}
