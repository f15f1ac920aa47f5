//! `coracle server`: the composition root. It reads as a table of contents: build each part, join them, run, stop.
//!
//! Parts meet in two ways only: through the API, by the loopback client that each is given, and through the small
//! traits of `coracle_api::meet`, handed over here.

mod bootstrap;
mod figures;
mod files;
mod nodes;
mod ranges;
mod registries;
mod signals;
mod stop;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use coracle_api::wellknown;
use coracle_apiserver::{Apiserver, Identity, Mounts};
use coracle_runtime::images::ImageStore;
use coracle_runtime::images::pull::{Puller, Registry};

use crate::options::{Part, ServerOptions, Settings};
use crate::output;
use figures::LocalFigures;
use nodes::LocalNodes;
use ranges::InForce;
use stop::Stages;

/// Runs a cluster until a signal or a broken part ends it.
pub(crate) fn run(options: ServerOptions) -> anyhow::Result<()> {
    let settings = options.decide()?;
    files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("coracle")
        .build()
        .context("the async runtime does not start")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let signals = signals::Signals::listen()?;
    let _claim = claim_data_dir(&settings)?;
    let ranges = ranges::decide(&settings)?;

    let (nodes, figures) = (Arc::new(LocalNodes::default()), Arc::new(LocalFigures::default()));
    let images = Arc::new(ImageStore::open(settings.data_dir.join("images")).context("the image store does not open")?);
    let puller = Arc::new(Puller::open(ImageStore::clone(&images), registries::read(&settings)?)?);
    let registry = Arc::new(Registry::new(Arc::clone(&images), Arc::clone(&puller)));
    let mounts = Mounts { nodes: nodes.clone(), images: registry, figures: figures.clone() };
    let apiserver = build_apiserver(&settings, &ranges, mounts).await?;
    let api_address = apiserver.addr();
    let kubeconfig = apiserver.kubeconfig().to_owned();
    let client = |user: &str| apiserver.client(Identity::user(user));

    // All parts are built before any runs: what cannot start says so before anything has happened.
    let dns = build_dns(&settings, &ranges, client(wellknown::USER_DNS)).await?;
    let dns_address = dns.as_ref().map(coracle_dns::Dns::addr);
    if let Some(dns) = &dns {
        figures.add(dns.figures());
    }
    let network = build_network(&settings, &ranges, client(wellknown::USER_PROXY)).await?;
    let ingress = build_ingress(&settings, client(wellknown::USER_INGRESS), network.as_ref())?;
    let sleep = network
        .as_ref()
        .map(|network| coracle_network::ScaleToZero::build(client(wellknown::USER_SCALE_TO_ZERO), network));
    let node = match &network {
        Some(network) if settings.runs(Part::Node) => {
            let resolver = bootstrap::resolver(dns.as_ref());
            let parts = coracle_runtime::Parts { network: network.pods(), resolver, images, puller };
            let client = apiserver.client(Identity::node(settings.node_name.as_str()));
            let node = build_node(&settings, &ranges, apiserver.root_ca(), client, parts).await?;
            nodes.add(settings.node_name.clone(), node.kubelet());
            Some(node)
        }
        _ => None,
    };

    // In the order in which they are stopped: first who makes work, last who keeps it.
    let mut stages = Stages::default();
    if settings.runs(Part::Controllers) {
        let controllers = build_controllers(&apiserver, client(wellknown::USER_CONTROLLER_MANAGER));
        stages.spawn(stop::WORK_MAKERS, "controllers", |stop| controllers.run(stop));
    }
    if settings.runs(Part::Scheduler) {
        let client = client(wellknown::USER_SCHEDULER);
        let scheduler = coracle_scheduler::Scheduler::build(client, coracle_scheduler::Config::default());
        stages.spawn(stop::WORK_MAKERS, "scheduler", |stop| scheduler.run(stop));
    }
    if let Some(node) = node {
        stages.spawn(stop::PODS, "node", |stop| node.run(stop));
    }
    let sites = ingress.as_ref().map(coracle_network::Ingress::likely).unwrap_or_default();
    spawn_network(&mut stages, network, sleep, ingress);
    if let Some(dns) = dns {
        stages.spawn(stop::NETWORK, "dns", |stop| dns.run(stop));
    }
    let bootstrap_client = client(wellknown::USER_CONTROLLER_MANAGER);
    stages.spawn(stop::API, "apiserver", |stop| apiserver.run(stop));
    bootstrap::storage_class(bootstrap_client.clone()).await?;
    if !sites.is_empty() {
        bootstrap::ingress_class(bootstrap_client.clone()).await?;
    }
    bootstrap::cluster_dns(bootstrap_client, &ranges.services, dns_address).await?;

    output::line(&format!("coracle {} serves https://{api_address}", env!("CARGO_PKG_VERSION")));
    say_where(&settings, &ranges, dns_address, &sites);
    output::line(&format!("export KUBECONFIG={}", kubeconfig.display()));

    stages.run(signals).await
}

/// Where names, Ingresses and addresses are found, for a person.
fn say_where(settings: &Settings, ranges: &InForce, dns_address: Option<SocketAddr>, sites: &[(&str, SocketAddr)]) {
    if let Some(dns) = dns_address {
        output::line(&format!(
            "names of the cluster are answered at {dns}, for example: dig @{} -p {} kubernetes.default.svc.cluster.local",
            dns.ip(),
            dns.port()
        ));
    }
    if !sites.is_empty() {
        output::line(&found_at(sites));
    }
    if settings.runs(Part::Network) {
        output::line(&ranges.line());
    }
}

fn spawn_network(
    stages: &mut Stages,
    network: Option<coracle_network::Network>,
    sleep: Option<coracle_network::ScaleToZero>,
    ingress: Option<coracle_network::Ingress>,
) {
    if let Some(network) = network {
        stages.spawn(stop::NETWORK, "network", |stop| network.run(stop));
    }
    if let Some(sleep) = sleep {
        stages.spawn(stop::WORK_MAKERS, "scale-to-zero", |stop| sleep.run(stop));
    }
    if let Some(ingress) = ingress {
        stages.spawn(stop::NETWORK, "ingress", |stop| ingress.run(stop));
    }
}

/// Where Ingresses are found, for a person.
fn found_at(sites: &[(&str, SocketAddr)]) -> String {
    let sites: Vec<String> = sites.iter().map(|(scheme, at)| format!("{scheme}://{at}")).collect();
    format!("Ingresses, once there are any, are found at {}", sites.join(" and "))
}

async fn build_apiserver(settings: &Settings, ranges: &InForce, mounts: Mounts) -> anyhow::Result<Apiserver> {
    let config = coracle_apiserver::Config {
        bind_address: settings.bind_address,
        secure_port: settings.secure_port,
        service_cidr: ranges.services.clone(),
        node_ports: settings.node_ports,
        extra_sans: [settings.host_name.clone(), settings.reached.address.to_string()]
            .into_iter()
            .chain(settings.reached.sans.iter().cloned())
            .collect(),
        token_auth_file: settings.access.token_auth_file.clone(),
        client_ca_file: settings.access.client_ca_file.clone(),
        anonymous_auth: settings.access.anonymous_auth,
        authorization_mode: settings.access.authorization_mode.clone(),
        max_requests_inflight: settings.bounds.reads,
        max_mutating_requests_inflight: settings.bounds.writes,
        request_timeout: settings.bounds.request_timeout,
        min_request_timeout: settings.bounds.min_request_timeout,
        enable_admission_plugins: settings.access.enable_admission_plugins.clone(),
        disable_admission_plugins: settings.access.disable_admission_plugins.clone(),
        ..coracle_apiserver::Config::new(&settings.data_dir)
    };
    Apiserver::build(config, mounts).await.context("the API server does not start")
}

fn build_controllers(apiserver: &Apiserver, client: kube::Client) -> coracle_controllers::Controllers {
    let config = coracle_controllers::Config { root_ca: apiserver.root_ca().to_owned() };
    coracle_controllers::Controllers::build(client, config)
}

async fn build_network(
    settings: &Settings,
    ranges: &InForce,
    client: kube::Client,
) -> anyhow::Result<Option<coracle_network::Network>> {
    if !settings.runs(Part::Network) {
        return Ok(None);
    }
    let config = coracle_network::Config {
        node_name: settings.node_name.to_string(),
        pod_cidr: ranges.pods.clone(),
        service_cidr: ranges.services.clone(),
        bind_address: settings.bind_address,
        node_address: settings.reached.address,
        ..coracle_network::Config::default()
    };
    Ok(Some(coracle_network::Network::build(client, config).await.context("the network does not start")?))
}

fn build_ingress(
    settings: &Settings,
    client: kube::Client,
    network: Option<&coracle_network::Network>,
) -> anyhow::Result<Option<coracle_network::Ingress>> {
    let Some(network) = network.filter(|_| settings.runs(Part::Ingress)) else { return Ok(None) };
    let built = coracle_network::Ingress::build(client, settings.ingress.clone(), network);
    Ok(Some(built.context("Ingresses cannot be served")?))
}

async fn build_dns(
    settings: &Settings,
    ranges: &InForce,
    client: kube::Client,
) -> anyhow::Result<Option<coracle_dns::Dns>> {
    if !settings.runs(Part::Dns) {
        return Ok(None);
    }
    let config = coracle_dns::Config {
        bind_address: settings.bind_address,
        port: settings.dns_port,
        upstreams: settings.names.upstreams.clone(),
        resolv_conf: Some(bootstrap::RESOLV_CONF.into()),
        stub_domains: settings.names.stub_domains.clone(),
        cluster_ranges: vec![
            ranges.pods.parse().context("--cluster-cidr")?,
            ranges.services.parse().context("--service-cluster-ip-range")?,
        ],
        ..coracle_dns::Config::default()
    };
    Ok(Some(coracle_dns::Dns::build(client, config).await.context("DNS does not start")?))
}

async fn build_node(
    settings: &Settings,
    ranges: &InForce,
    root_ca: &str,
    client: kube::Client,
    parts: coracle_runtime::Parts,
) -> anyhow::Result<coracle_runtime::Node> {
    let config = coracle_runtime::Config {
        node_name: settings.node_name.clone(),
        host_name: settings.host_name.clone(),
        data_dir: settings.data_dir.clone(),
        address: settings.reached.address,
        pod_cidr: ranges.pods.clone(),
        annotations: [("mode", ranges.mode_name()), ("mode-reason", ranges.why.as_str())]
            .map(|(key, value)| (format!("network.coracle.dev/{key}"), value.to_owned()))
            .into(),
        compiler: crate::compile::compiler(),
        image_policy: settings.image_policy,
        allowed_host_paths: settings.allowed_host_paths.clone(),
        root_ca: root_ca.to_owned(),
        names: bootstrap::name_facts(&ranges.services, settings.runs(Part::Dns)),
        ..coracle_runtime::Config::default()
    };
    coracle_runtime::Node::build(client, config, parts).await.context("the node does not start")
}

/// Makes the data directory and takes it for this process, before anything in it is touched: another server may be
/// in the middle of its work there. The lock lasts as long as the file.
fn claim_data_dir(settings: &Settings) -> anyhow::Result<File> {
    use std::os::unix::fs::DirBuilderExt;
    let dir = settings.data_dir.display();
    let unusable = || format!("the data directory {dir} cannot be made or written; say another by --data-dir");
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&settings.data_dir).with_context(unusable)?;
    let lock = File::create(settings.data_dir.join("server.lock")).with_context(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("another server is running on this data directory: {dir}; stop it, or choose another by --data-dir")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(unusable),
    }
}
