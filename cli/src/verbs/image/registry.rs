//! A client of the OCI distribution API over the connection of a `kube::Client`.
//!
//! Source: the OCI distribution specification 1.1; config and media types as in the CNCF Wasm OCI artifact layout.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use bytes::Bytes;
use coracle_api::names::Digest;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

/// An image's name: a repository and a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageName {
    pub(super) repository: String,
    pub(super) tag: String,
}

impl FromStr for ImageName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let after_slash = text.rfind('/').map_or(0, |i| i + 1);
        let (repository, tag) = match text.get(after_slash..).and_then(|last| last.rfind(':')) {
            Some(colon) => text.split_at(after_slash + colon),
            None => (text, ":latest"),
        };
        let tag = tag.trim_start_matches(':');
        if !repository.split('/').all(is_component) || !is_tag(tag) {
            bail!(
                "{text:?} is no name of an image; write lower case letters, digits and - _ . /, then a tag, as in hello:1"
            );
        }
        Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() })
    }
}

fn is_component(part: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(edge)
        && part.ends_with(edge)
        && part.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.' | ':'))
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(first) && tag.chars().all(|c| first(c) || matches!(c, '-' | '.'))
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// An image as listed.
pub(super) struct Listed {
    pub(super) name: ImageName,
    pub(super) digest: String,
    pub(super) bytes: u64,
}

/// The registry at the other end of a kubeconfig.
pub(super) struct Registry {
    client: kube::Client,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Vec<String>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Registry {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Uploads a component as a one-layer image; returns the manifest's digest.
    pub(super) async fn push(&self, name: &ImageName, wasm: Vec<u8>) -> anyhow::Result<Digest> {
        let layer = digest_of(&wasm)?;
        let size = wasm.len();
        // Without the time of the push: the same bytes are the same image, with the same digest.
        let config = serde_json::to_vec(&json!({
            "architecture": "wasm", "os": "wasip2", "layerDigests": [layer.as_str()],
        }))?;
        let (config_digest, config_size) = (digest_of(&config)?, config.len());
        self.push_blob(name, &layer, wasm).await.context("layer")?;
        self.push_blob(name, &config_digest, config).await.context("config")?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest.as_str(), "size": config_size},
            "layers": [{"mediaType": LAYER, "digest": layer.as_str(), "size": size}],
        }))?;
        let digest = digest_of(&manifest)?;
        let request = Request::put(format!("/v2/{}/manifests/{}", name.repository, name.tag))
            .header(header::CONTENT_TYPE, MANIFEST)
            .body(Body::from(manifest))?;
        self.expect(request, &[StatusCode::CREATED]).await.context("manifest")?;
        Ok(digest)
    }

    async fn push_blob(&self, name: &ImageName, digest: &Digest, bytes: Vec<u8>) -> anyhow::Result<()> {
        let blob = format!("/v2/{}/blobs/{digest}", name.repository);
        let head = self.client.send(Request::head(blob).body(Body::empty())?).await?;
        if head.status() == StatusCode::OK {
            return Ok(());
        }
        let begin = Request::post(format!("/v2/{}/blobs/uploads/", name.repository)).body(Body::empty())?;
        let (begun, _) = self.expect(begin, &[StatusCode::ACCEPTED]).await?;
        let location = begun
            .headers()
            .get(header::LOCATION)
            .and_then(|l| l.to_str().ok())
            .context("the registry did not say where to upload to")?;
        let path = path_of(location);
        let glue = if path.contains('?') { '&' } else { '?' };
        let put = Request::put(format!("{path}{glue}digest={digest}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Body::from(bytes))?;
        self.expect(put, &[StatusCode::CREATED]).await.map(|_| ())
    }

    /// All images, by name.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let catalog: Catalog = self.get("/v2/_catalog").await?;
        let mut images = Vec::new();
        for repository in catalog.repositories {
            let tags: Tags = self.get(&format!("/v2/{repository}/tags/list")).await?;
            for tag in tags.tags.unwrap_or_default() {
                let name = ImageName { repository: repository.clone(), tag };
                images.push(self.look(name).await?);
            }
        }
        Ok(images)
    }

    async fn look(&self, name: ImageName) -> anyhow::Result<Listed> {
        let (digest, manifest) = self.manifest(&name).await?;
        let layers = manifest.pointer("/layers").and_then(Value::as_array);
        let bytes = layers.into_iter().flatten().filter_map(|l| l.get("size").and_then(Value::as_u64)).sum();
        Ok(Listed { name, digest: digest.to_string(), bytes })
    }

    async fn manifest(&self, name: &ImageName) -> anyhow::Result<(Digest, Value)> {
        let request = Request::get(format!("/v2/{}/manifests/{}", name.repository, name.tag))
            .header(header::ACCEPT, MANIFEST)
            .body(Body::empty())?;
        let (_, body) = self.expect(request, &[StatusCode::OK]).await?;
        Ok((digest_of(&body)?, serde_json::from_slice(&body)?))
    }

    /// Takes the name away; blobs that nothing refers to any more go with it.
    pub(super) async fn remove(&self, name: &ImageName) -> anyhow::Result<()> {
        let path = format!("/v2/{}/manifests/{}", name.repository, name.tag);
        let request = Request::builder().method(Method::DELETE).uri(path).body(Body::empty())?;
        self.expect(request, &[StatusCode::ACCEPTED]).await.map(|_| ())
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> anyhow::Result<T> {
        let (_, body) = self.expect(Request::get(path).body(Body::empty())?, &[StatusCode::OK]).await?;
        serde_json::from_slice(&body).with_context(|| format!("the answer to {path} is not understood"))
    }

    async fn expect(&self, request: Request<Body>, codes: &[StatusCode]) -> anyhow::Result<(Response<()>, Bytes)> {
        let response = self.client.send(request).await.context("the server cannot be reached")?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        if !codes.contains(&parts.status) {
            bail!("{}", refusal(parts.status, &body));
        }
        Ok((Response::from_parts(parts, ()), body))
    }
}

/// What the registry says went wrong: its own words where it has some.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = value.pointer("/errors/0/message").or_else(|| value.pointer("/message"));
    match message.and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => format!("the server answered {status}"),
    }
}

fn path_of(location: &str) -> &str {
    match location.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/"),
        None => location,
    }
}

fn digest_of(bytes: &[u8]) -> anyhow::Result<Digest> {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Digest::new(format!("sha256:{hex}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_read_as_oci_tools_read_them() {
        let name = |text: &str| text.parse::<ImageName>().map(|n| n.to_string()).ok();
        assert_eq!(name("hello").as_deref(), Some("hello:latest"));
        assert_eq!(name("hello:1").as_deref(), Some("hello:1"));
        assert_eq!(name("host:5000/team/hello").as_deref(), Some("host:5000/team/hello:latest"));
        for bad in ["", "Hello", "hello:", "a//b", "a b", "../x", "hello:-1"] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_upload_location_may_be_a_path_or_a_whole_url() {
        assert_eq!(path_of("/v2/x/uploads/1"), "/v2/x/uploads/1");
        assert_eq!(path_of("https://h:1/v2/x?y"), "/v2/x?y");
    }
}
