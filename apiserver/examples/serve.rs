//! An API server alone, on a port, for trying `kubectl` on it: `cargo run --example serve -- [port] [data dir]`.
//!
//! There are no controllers, no scheduler and no nodes: objects stay as they are written.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::meet::{HttpRequest, HttpResponse, HttpService, Nodes, body_of};
use coracle_api::names::NodeName;
use coracle_apiserver::{Apiserver, Config, Mounts};
use tokio_util::sync::CancellationToken;

struct Nobody;

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

#[expect(clippy::print_stderr, reason = "it is for a person at a terminal")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port = args.next().map_or(Ok(16443), |port| port.parse())?;
    let dir = args.next().map_or_else(|| PathBuf::from("/tmp/coracle-serve"), PathBuf::from);
    let config = Config { secure_port: port, service_cidr: "10.0.0.0/24".to_owned(), ..Config::new(dir) };
    let mounts = Mounts { nodes: Arc::new(Nobody), images: Arc::new(Nobody) };
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
