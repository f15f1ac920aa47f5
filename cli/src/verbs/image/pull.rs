//! `coracle image pull`: the server's store pulls an image from its registry, with credentials from here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use coracle_runtime::images::Reference;
use coracle_runtime::images::pull::{Credential, Keyring, PULL_PATH, PullAnswer, PullRequest};
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::size;
use crate::options::environment;
use crate::{connect, output};

/// The longest password: tokens are some kilobytes.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The image's name with its registry: ghcr.io/team/hello:1, or …@sha256:…
    name: String,
    /// Whom to ask as; without it, as `docker login` has left it in config.json
    #[arg(long, short, requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

/// Pulls, and prints the digest.
pub(super) async fn run(pull: &Pull) -> anyhow::Result<()> {
    let image: Reference = pull.name.parse()?;
    let credentials = match &pull.username {
        Some(username) => vec![Credential::Basic { username: username.clone(), password: password()? }],
        None => logged_in(&image)?,
    };
    let request = PullRequest { name: pull.name.clone(), credentials };
    let request = Request::post(PULL_PATH)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(serde_json::to_vec(&request)?))?;
    output::progress(&format!("pulling {}", image.familiar()));
    let answer = ask(request).await.with_context(|| format!("image {} was not pulled", image.familiar()));
    output::progress_done();
    let answer = answer?;
    output::line(&format!("{}: digest: {} size: {}", image.familiar(), answer.digest, size(answer.size)));
    Ok(())
}

async fn ask(request: Request<Body>) -> anyhow::Result<PullAnswer> {
    let answer = connect::client().await?.send(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context("the server's answer broke off")?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).context("the server's answer is not what was expected");
    }
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    // A registry's form, or the API server's.
    match said.pointer("/errors/0/message").or_else(|| said.get("message")).and_then(Value::as_str) {
        Some(message) => bail!("{message}"),
        None => bail!("the server answers {status}"),
    }
}

fn password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).context("--password-stdin")?;
    let password = text.strip_suffix('\n').map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t));
    if password.is_empty() {
        bail!("--password-stdin: nothing came on standard input");
    }
    Ok(password.to_owned())
}

/// What `docker login` and its like keep for the image's registry.
fn logged_in(image: &Reference) -> anyhow::Result<Vec<Credential>> {
    let dir = environment("DOCKER_CONFIG").map(PathBuf::from);
    let Some(dir) = dir.or_else(|| Some(PathBuf::from(environment("HOME")?).join(".docker"))) else {
        return Ok(Vec::new());
    };
    let path = dir.join("config.json");
    let Ok(bytes) = std::fs::read(&path) else { return Ok(Vec::new()) };
    let mut keyring = Keyring::default();
    // A pull secret holds the same file.
    let secret = BTreeMap::from([(".dockerconfigjson".to_owned(), bytes)]);
    keyring.add_secret(&secret).with_context(|| path.display().to_string())?;
    Ok(keyring.find(image.repository()))
}
