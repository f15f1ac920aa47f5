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
use jiff::Timestamp;
use kube::client::Body;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

/// An image's name: a repository and a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName {
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

/// An image as the store lists it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    /// Nothing if it is known by its digest only.
    pub(super) name: Option<String>,
    pub(super) repository: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) digest: String,
    pub(super) media_type: String,
    /// In bytes, everything included.
    pub(super) size: u64,
    /// `pushed` or `pulled`.
    pub(super) origin: String,
    pub(super) arrived: Timestamp,
    pub(super) created: Option<Timestamp>,
    pub(super) last_used: Timestamp,
    /// The pods that use it, as `namespace/name`.
    pub(super) pods: Vec<String>,
}

impl Listed {
    /// Its name, or what stands for it.
    pub(super) fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.digest)
    }

    /// The repository through which it can be asked for.
    pub(super) fn repository(&self) -> &str {
        // All repositories share what is known by its digest only.
        self.repository.as_deref().unwrap_or("unnamed")
    }

    /// How it can be asked for in its repository: the tag, else the digest.
    pub(super) fn pick(&self) -> &str {
        self.tag.as_deref().unwrap_or(&self.digest)
    }
}

/// What a removal of unused images came to.
#[derive(Debug, Deserialize)]
pub(super) struct Pruned {
    pub(super) images: Vec<Listed>,
    pub(super) bytes: u64,
}

/// How far a removal of unused images reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// What can be pulled again, and what has no tag.
    Replaceable,
    /// Whatever no pod uses.
    All,
}

/// Whether it is done or only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Done,
    DryRun,
}

/// The registry at the other end of a kubeconfig.
pub(crate) struct Registry {
    client: kube::Client,
}

impl Registry {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Uploads a component as a one-layer image; returns the manifest's digest.
    pub(crate) async fn push(&self, name: &ImageName, wasm: Vec<u8>) -> anyhow::Result<Digest> {
        let layer = digest_of(&wasm)?;
        let size = wasm.len();
        // Without the time of the push: the same bytes are the same image, with the same digest.
        let config = serde_json::to_vec(&json!({
            "architecture": "wasm", "os": "wasip2", "layerDigests": [layer.as_str()],
        }))?;
        let (config_digest, config_size) = (digest_of(&config)?, config.len());
        self.push_blob(&name.repository, &layer, wasm).await.context("layer")?;
        self.push_blob(&name.repository, &config_digest, config).await.context("config")?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest.as_str(), "size": config_size},
            "layers": [{"mediaType": LAYER, "digest": layer.as_str(), "size": size}],
        }))?;
        self.put_manifest(&name.repository, &name.tag, MANIFEST, manifest).await.context("manifest")
    }

    /// Puts a manifest whose blobs are there under a tag or its digest; returns the digest.
    pub(super) async fn put_manifest(
        &self,
        repository: &str,
        pick: &str,
        media_type: &str,
        manifest: Vec<u8>,
    ) -> anyhow::Result<Digest> {
        let digest = digest_of(&manifest)?;
        let request = Request::put(format!("/v2/{repository}/manifests/{pick}"))
            .header(header::CONTENT_TYPE, media_type)
            .body(Body::from(manifest))?;
        self.expect(request, &[StatusCode::CREATED]).await?;
        Ok(digest)
    }

    /// Uploads a blob, unless it is there.
    pub(super) async fn push_blob(&self, repository: &str, digest: &Digest, bytes: Vec<u8>) -> anyhow::Result<()> {
        let blob = format!("/v2/{repository}/blobs/{digest}");
        let head = self.client.send(Request::head(blob).body(Body::empty())?).await?;
        if head.status() == StatusCode::OK {
            return Ok(());
        }
        let begin = Request::post(format!("/v2/{repository}/blobs/uploads/")).body(Body::empty())?;
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
        #[derive(Deserialize)]
        struct Images {
            images: Vec<Listed>,
        }
        let Images { images } = self.get("/v2/_coracle/images").await?;
        Ok(images)
    }

    /// A manifest as it was pushed.
    pub(super) async fn manifest(&self, repository: &str, pick: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(format!("/v2/{repository}/manifests/{pick}")).body(Body::empty())?;
        Ok(self.expect(request, &[StatusCode::OK]).await?.1)
    }

    /// A manifest that an index lists; of the platforms that nobody fetched there is none.
    pub(super) async fn part(&self, repository: &str, digest: &str) -> anyhow::Result<Option<Bytes>> {
        let request = Request::get(format!("/v2/{repository}/manifests/{digest}")).body(Body::empty())?;
        let (head, body) = self.expect(request, &[StatusCode::OK, StatusCode::NOT_FOUND]).await?;
        Ok((head.status() == StatusCode::OK).then_some(body))
    }

    /// A blob, checked to be what it claims to be.
    pub(super) async fn blob(&self, repository: &str, digest: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(format!("/v2/{repository}/blobs/{digest}")).body(Body::empty())?;
        let (_, bytes) = self.expect(request, &[StatusCode::OK]).await?;
        let actual = digest_of(&bytes)?;
        if actual.as_str() != digest {
            bail!("the server sent other bytes than those of {digest}; the disk of its image store may be broken");
        }
        Ok(bytes)
    }

    /// Takes the name away; blobs that nothing refers to any more go with it.
    pub(super) async fn remove(&self, image: &Listed) -> anyhow::Result<()> {
        let path = format!("/v2/{}/manifests/{}", image.repository(), image.pick());
        let request = Request::builder().method(Method::DELETE).uri(path).body(Body::empty())?;
        self.expect(request, &[StatusCode::ACCEPTED]).await.map(|_| ())
    }

    /// Takes out what no pod uses and can be had again, or with `All` whatever no pod uses.
    pub(super) async fn prune(&self, reach: Reach, how: How) -> anyhow::Result<Pruned> {
        let (all, dry_run) = (reach == Reach::All, how == How::DryRun);
        let request = Request::post(format!("/v2/_coracle/prune?all={all}&dryRun={dry_run}")).body(Body::empty())?;
        let (_, body) = self.expect(request, &[StatusCode::OK]).await?;
        serde_json::from_slice(&body).context("the answer is not understood")
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

pub(super) fn digest_of(bytes: &[u8]) -> anyhow::Result<Digest> {
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
