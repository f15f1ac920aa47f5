//! An API server alone, on a port, for trying clients on it: `cargo run --example serve -- [port] [data dir] [switch…]`.
//!
//! There are no controllers, no scheduler and no nodes: objects stay as they are written, and the admission plugins that
//! count on controllers are off. Switches are those of `coracle server` that concern the API, as `--name=value`.
//! The token `serve` is the owner's unless `--token-auth-file` says otherwise.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::meet::{Figures, HttpRequest, HttpResponse, HttpService, Nodes, body_of};
use coracle_api::names::NodeName;
use coracle_apiserver::{Apiserver, Config, Mounts};
use tokio_util::sync::CancellationToken;

struct Nobody;

impl Figures for Nobody {
    fn figures(&self) -> String {
        String::new()
    }
}

impl Nodes for Nobody {
    fn kubelet(&self, _: &NodeName) -> Option<Arc<dyn HttpService>> {
        None
    }
}

#[async_trait]
impl HttpService for Nobody {
    async fn serve(&self, _: HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::new(body_of("no images here\n"));
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response
    }
}

/// What counts on controllers.
const OFF: &str = "ServiceAccount,DefaultStorageClass,DefaultTolerationSeconds,StorageObjectInUseProtection,\
    MutatingAdmissionWebhook,ValidatingAdmissionWebhook";

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn set(config: &mut Config, switch: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (name, value) = switch.split_once('=').ok_or_else(|| format!("{switch}: write --name=value"))?;
    match name {
        "--token-auth-file" => config.token_auth_file = Some(value.into()),
        "--client-ca-file" => config.client_ca_file = Some(value.into()),
        "--anonymous-auth" => config.anonymous_auth = value.parse()?,
        "--authorization-mode" => {
            config.authorization_mode = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
        }
        "--enable-admission-plugins" => config.enable_admission_plugins = list(value),
        "--disable-admission-plugins" => config.disable_admission_plugins = list(value),
        "--service-cluster-ip-range" => value.clone_into(&mut config.service_cidr),
        _ => return Err(format!("{name} is no switch here").into()),
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "it is for a person at a terminal")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port = args.next().map_or(Ok(16443), |port| port.parse())?;
    let dir = args.next().map_or_else(|| PathBuf::from("/tmp/coracle-serve"), PathBuf::from);
    let mut config = Config { secure_port: port, service_cidr: "10.0.0.0/24".to_owned(), ..Config::new(&dir) };
    config.disable_admission_plugins = list(OFF);
    for switch in args {
        set(&mut config, &switch)?;
    }
    if config.token_auth_file.is_none() {
        std::fs::create_dir_all(&dir)?;
        let tokens = dir.join("tokens.csv");
        std::fs::write(&tokens, "serve,serve,serve,system:masters\n")?;
        config.token_auth_file = Some(tokens);
    }
    let mounts = Mounts { nodes: Arc::new(Nobody), images: Arc::new(Nobody), figures: Arc::new(Nobody) };
    let server = Apiserver::build(config, mounts).await?;
    eprintln!("export KUBECONFIG={}", server.kubeconfig().display());
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    let running = server.run(shutdown);
    let stop = async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            told.cancel();
        }
    };
    tokio::join!(running, stop);
    Ok(())
}
