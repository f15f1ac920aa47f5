//! The server's options: flags first, then the `--config` file with the same names, then defaults.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use coracle_api::duration;
use coracle_api::names::NodeName;
use coracle_apiserver::AuthorizationMode;
use coracle_network::IngressConfig;
use coracle_runtime::images::Policy;
use coracle_runtime::volumes::AllowedPath;
use serde::Deserialize;

mod names;
mod reached;

use names::Names;
use reached::Reached;

/// kube-apiserver's default.
const NODE_PORTS: &str = "30000-32767";
/// kube-apiserver's default.
const SECURE_PORT: u16 = 6443;
/// kube-apiserver's defaults, as the next three.
const READS_MAX: usize = 400;
const WRITES_MAX: usize = 200;
const REQUEST_TIMEOUT: &str = "1m0s";
const WATCH_SECONDS_MIN: u64 = 1800;
/// Above 1024, so that no root is needed.
const DNS_PORT: u16 = 10053;

/// `coracle server`'s flags; the same names may stand in a YAML file given by `--config`.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ServerOptions {
    /// A YAML file with the same names as these flags; flags win
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where everything is kept [default: /var/lib/coracle for root, else $XDG_DATA_HOME/coracle]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the API, of DNS and of NodePorts; 0.0.0.0 opens them to other machines [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    bind_address: Option<IpAddr>,
    /// More names and addresses by which the API is reached, for its certificate
    #[arg(long, value_delimiter = ',', value_name = "NAME|IP,…")]
    #[serde(default)]
    tls_san: Vec<String>,
    /// Port of the API; 0 picks a free one [default: 6443]
    #[arg(long, value_name = "PORT")]
    secure_port: Option<u16>,
    /// Port of DNS; 0 picks a free one [default: 10053]
    #[arg(long, value_name = "PORT")]
    dns_port: Option<u16>,
    /// Resolvers that are asked for names outside the cluster [default: those of /etc/resolv.conf]
    #[arg(long, value_delimiter = ',', value_name = "IP[:PORT],…")]
    #[serde(default)]
    dns_upstream: Vec<String>,
    /// Domains outside with resolvers of their own
    #[arg(long, value_delimiter = ',', value_name = "DOMAIN=IP[:PORT],…")]
    #[serde(default)]
    dns_stub_domain: Vec<String>,
    /// Range of pod addresses [default: 10.42.0.0/16 where a route can be made, else 127.42.0.0/16]
    #[arg(long, value_name = "CIDR")]
    cluster_cidr: Option<String>,
    /// Range of Service addresses [default: 10.43.0.0/16 where a route can be made, else 127.43.0.0/16]
    #[arg(long, value_name = "CIDR")]
    service_cluster_ip_range: Option<String>,
    /// Range of NodePorts [default: 30000-32767]
    #[arg(long, value_name = "FROM-TO")]
    service_node_port_range: Option<String>,
    /// Port at which Ingresses are served by HTTP; 0 picks a free one [default: 80, or 8080 where that cannot be had]
    #[arg(long, value_name = "PORT")]
    ingress_http_port: Option<u16>,
    /// Port at which Ingresses are served by HTTPS; 0 picks a free one [default: 443, or 8443 where that cannot be had]
    #[arg(long, value_name = "PORT")]
    ingress_https_port: Option<u16>,
    /// Name of this machine's node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Bearer tokens: a CSV file, token,user,uid,"group1,group2" a line
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
    /// Further authorities whose client certificates count: user by CN, groups by O
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Serve requests without credentials as system:anonymous [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    anonymous_auth: Option<bool>,
    /// How it is decided who may do what, in order: Node, RBAC, AlwaysAllow, AlwaysDeny [default: Node,RBAC]
    #[arg(long, value_delimiter = ',', value_name = "MODE,…")]
    #[serde(default)]
    authorization_mode: Vec<AuthorizationMode>,
    /// Reads of one user that may be under way or wait; 0: any number [default: 400]
    #[arg(long, value_name = "NUMBER")]
    max_requests_inflight: Option<usize>,
    /// Writes of one user that may be under way or wait; 0: any number [default: 200]
    #[arg(long, value_name = "NUMBER")]
    max_mutating_requests_inflight: Option<usize>,
    /// How long a request may take that is no watch and no stream [default: 1m0s]
    #[arg(long, value_name = "DURATION")]
    request_timeout: Option<String>,
    /// Seconds that a watch lasts at least whose client does not say; at most twice as many [default: 1800]
    #[arg(long, value_name = "SECONDS")]
    min_request_timeout: Option<u64>,
    /// How full the disk may be, in percent, before images are thrown away; 100: never [default: 85]
    #[arg(long, value_name = "PERCENT")]
    image_gc_high_threshold: Option<u8>,
    /// How full the disk may stay, in percent, when images are thrown away [default: 80]
    #[arg(long, value_name = "PERCENT")]
    image_gc_low_threshold: Option<u8>,
    /// How long an image stays at least before it may be thrown away [default: 2m0s]
    #[arg(long, value_name = "DURATION")]
    minimum_image_ttl_duration: Option<String>,
    /// Directories of this machine that pods may mount by hostPath, with all that is in them; `:ro` behind one: to read
    #[arg(long, value_delimiter = ',', value_name = "DIR[:ro],…")]
    #[serde(default)]
    allowed_host_paths: Vec<String>,
    /// Admission plugins in force beside the usual ones
    #[arg(long, value_delimiter = ',', value_name = "PLUGIN,…")]
    #[serde(default)]
    enable_admission_plugins: Vec<String>,
    /// Usual admission plugins that are not in force
    #[arg(long, value_delimiter = ',', value_name = "PLUGIN,…")]
    #[serde(default)]
    disable_admission_plugins: Vec<String>,
    /// Mirrors, credentials and TLS of image registries, as k3s has them [default: registries.yaml in the data dir]
    #[arg(long, value_name = "FILE")]
    private_registry: Option<PathBuf>,
    /// Parts to leave out
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    #[serde(default)]
    disable: Vec<Part>,
}

/// A part of the server that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// The node agent: no pod runs here
    Node,
    /// The scheduler: pods wait for a node
    Scheduler,
    /// The controllers: Deployments make no pods
    Controllers,
    /// The DNS server
    Dns,
    /// The Service network: no NodePorts and cluster IPs
    Network,
    /// The controller of Ingresses: another one may serve them
    Ingress,
}

/// The options, decided.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) bind_address: IpAddr,
    pub(crate) reached: Reached,
    pub(crate) secure_port: u16,
    pub(crate) dns_port: u16,
    pub(crate) names: Names,
    /// Those that were said; what is in force else is decided with the data directory at hand.
    pub(crate) cluster_cidr: Option<String>,
    pub(crate) service_cidr: Option<String>,
    pub(crate) node_ports: (u16, u16),
    pub(crate) ingress: IngressConfig,
    pub(crate) node_name: NodeName,
    pub(crate) host_name: String,
    pub(crate) access: Access,
    pub(crate) bounds: Bounds,
    pub(crate) private_registry: Option<PathBuf>,
    pub(crate) image_policy: Policy,
    pub(crate) allowed_host_paths: Vec<AllowedPath>,
    pub(crate) disabled: BTreeSet<Part>,
}

/// Who gets in, and who may do what.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) token_auth_file: Option<PathBuf>,
    pub(crate) client_ca_file: Option<PathBuf>,
    pub(crate) anonymous_auth: bool,
    pub(crate) authorization_mode: Vec<AuthorizationMode>,
    pub(crate) enable_admission_plugins: Vec<String>,
    pub(crate) disable_admission_plugins: Vec<String>,
}

/// How much may be asked at once, and for how long.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) reads: usize,
    pub(crate) writes: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) min_request_timeout: Duration,
}

impl Settings {
    /// Whether a part is to run.
    pub(crate) fn runs(&self, part: Part) -> bool {
        !self.disabled.contains(&part)
    }
}

impl ServerOptions {
    /// Reads the config file, if one is named, and fills in the defaults.
    pub(crate) fn decide(self) -> anyhow::Result<Settings> {
        let file = self.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
        let host_name = host_name();
        let node_name = match self.node_name.or(file.node_name) {
            Some(name) => NodeName::new(name).context("--node-name")?,
            None => NodeName::new(host_name.to_ascii_lowercase()).or_else(|_| NodeName::new("localhost"))?,
        };
        let node_ports = self.service_node_port_range.or(file.service_node_port_range);
        let mut disabled: BTreeSet<Part> = self.disable.into_iter().chain(file.disable).collect();
        if disabled.contains(&Part::Network) {
            // A pod needs an address, and an Ingress what leads to pods.
            disabled.extend([Part::Node, Part::Ingress]);
        }
        let modes = or(self.authorization_mode, file.authorization_mode);
        let access = Access {
            token_auth_file: self.token_auth_file.or(file.token_auth_file),
            client_ca_file: self.client_ca_file.or(file.client_ca_file),
            anonymous_auth: self.anonymous_auth.or(file.anonymous_auth).unwrap_or(true),
            authorization_mode: or(modes, vec![AuthorizationMode::Node, AuthorizationMode::Rbac]),
            enable_admission_plugins: or(self.enable_admission_plugins, file.enable_admission_plugins),
            disable_admission_plugins: or(self.disable_admission_plugins, file.disable_admission_plugins),
        };
        let image_policy = image_policy(
            self.image_gc_high_threshold.or(file.image_gc_high_threshold),
            self.image_gc_low_threshold.or(file.image_gc_low_threshold),
            self.minimum_image_ttl_duration.or(file.minimum_image_ttl_duration).as_deref(),
        )?;
        let allowed = or(self.allowed_host_paths, file.allowed_host_paths);
        let timeout = self.request_timeout.or(file.request_timeout);
        let bounds = Bounds {
            reads: self.max_requests_inflight.or(file.max_requests_inflight).unwrap_or(READS_MAX),
            writes: self.max_mutating_requests_inflight.or(file.max_mutating_requests_inflight).unwrap_or(WRITES_MAX),
            request_timeout: request_timeout(timeout.as_deref().unwrap_or(REQUEST_TIMEOUT))?,
            min_request_timeout: Duration::from_secs(
                self.min_request_timeout.or(file.min_request_timeout).unwrap_or(WATCH_SECONDS_MIN),
            ),
        };
        let bind_address = self.bind_address.or(file.bind_address).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Settings {
            data_dir: self.data_dir.or(file.data_dir).map_or_else(default_data_dir, Ok)?,
            bind_address,
            reached: Reached::read(bind_address, or(self.tls_san, file.tls_san))?,
            secure_port: self.secure_port.or(file.secure_port).unwrap_or(SECURE_PORT),
            dns_port: self.dns_port.or(file.dns_port).unwrap_or(DNS_PORT),
            names: Names::read(
                &or(self.dns_upstream, file.dns_upstream),
                &or(self.dns_stub_domain, file.dns_stub_domain),
            )?,
            cluster_cidr: self.cluster_cidr.or(file.cluster_cidr),
            service_cidr: self.service_cluster_ip_range.or(file.service_cluster_ip_range),
            node_ports: port_range(node_ports.as_deref().unwrap_or(NODE_PORTS))?,
            ingress: ingress_ports(
                self.ingress_http_port.or(file.ingress_http_port),
                self.ingress_https_port.or(file.ingress_https_port),
            ),
            node_name,
            host_name,
            access,
            bounds,
            private_registry: self.private_registry.or(file.private_registry),
            image_policy,
            allowed_host_paths: allowed
                .iter()
                .map(|path| path.parse())
                .collect::<Result<_, _>>()
                .context("--allowed-host-paths")?,
            disabled,
        })
    }
}

/// The first list, unless it is empty.
fn or<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    if first.is_empty() { second } else { first }
}

fn read_config(path: &Path) -> anyhow::Result<ServerOptions> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| {
        format!("--config {}: the names are those of the flags, without the dashes in front", path.display())
    })
}

fn port_range(text: &str) -> anyhow::Result<(u16, u16)> {
    let range = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match range {
        Some((from, to)) if from <= to && from > 0 => Ok((from, to)),
        _ => bail!("--service-node-port-range {text:?} is no range; write for example 30000-32767"),
    }
}

/// Where Ingresses are served: at the port that is named and no other, or where it is usual.
fn ingress_ports(http: Option<u16>, https: Option<u16>) -> IngressConfig {
    let usual = IngressConfig::default();
    let or = |named: Option<u16>, usual| named.map_or(usual, |port| vec![port]);
    IngressConfig { http_ports: or(http, usual.http_ports), https_ports: or(https, usual.https_ports) }
}

/// When images are thrown away; the rules are the kubelet's.
fn image_policy(high: Option<u8>, low: Option<u8>, min_age: Option<&str>) -> anyhow::Result<Policy> {
    let usual = Policy::default();
    let policy = Policy {
        high_percent: high.unwrap_or(usual.high_percent),
        low_percent: low.unwrap_or(usual.low_percent),
        min_age: match min_age {
            Some(text) => duration::parse(text)
                .with_context(|| "--minimum-image-ttl-duration: write for example 2m0s".to_owned())?,
            None => usual.min_age,
        },
    };
    let Policy { high_percent, low_percent, .. } = policy;
    for (flag, percent) in [("high", high_percent), ("low", low_percent)] {
        if percent > 100 {
            bail!("--image-gc-{flag}-threshold {percent} must be between 0 and 100, inclusive");
        }
    }
    if low_percent >= high_percent {
        bail!("--image-gc-low-threshold {low_percent} must be less than --image-gc-high-threshold {high_percent}");
    }
    Ok(policy)
}

fn request_timeout(text: &str) -> anyhow::Result<Duration> {
    match duration::parse(text) {
        Ok(length) if !length.is_zero() => Ok(length),
        Ok(_) => bail!("--request-timeout {text:?} leaves no time; write for example 1m0s"),
        Err(error) => bail!("--request-timeout: {error}; write for example 1m0s"),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// `/var/lib/coracle` for root, else `$XDG_DATA_HOME/coracle`, else `~/.local/share/coracle`.
pub(crate) fn default_data_dir() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/coracle"));
    }
    if let Some(data) = environment("XDG_DATA_HOME") {
        return Ok(PathBuf::from(data).join("coracle"));
    }
    let home = environment("HOME").context("neither XDG_DATA_HOME nor HOME is set; say --data-dir")?;
    Ok(PathBuf::from(home).join(".local/share/coracle"))
}

/// A variable of the environment, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the environment is read in cli, and only here")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_config_file_and_the_file_over_the_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secure-port: 7000\ndns-port: 7001\ndisable: [dns]\n").unwrap();
        let options = ServerOptions {
            config: Some(file.path().to_owned()),
            dns_port: Some(9),
            data_dir: Some("d".into()),
            ..ServerOptions::default()
        };
        let settings = options.decide().unwrap();
        assert_eq!((settings.secure_port, settings.dns_port), (7000, 9));
        assert_eq!(settings.bind_address.to_string(), "127.0.0.1");
        assert!(!settings.runs(Part::Dns) && settings.runs(Part::Node));
    }

    #[test]
    fn an_unknown_name_in_the_config_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secure_port: 7000\n").unwrap();
        let options = ServerOptions { config: Some(file.path().to_owned()), ..ServerOptions::default() };
        assert!(format!("{:#}", options.decide().unwrap_err()).contains("secure_port"));
    }

    #[test]
    fn without_a_network_there_is_no_node() {
        let options = ServerOptions { disable: vec![Part::Network], data_dir: Some("d".into()), ..Default::default() };
        assert!(!options.decide().unwrap().runs(Part::Node));
    }

    #[test]
    fn a_port_range_reads_from_to() {
        assert_eq!(port_range("30000-32767").unwrap(), (30000, 32767));
        for bad in ["", "5", "9-8", "0-1", "a-b", "1-70000"] {
            assert!(port_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_thresholds_of_images_follow_the_kubelets_rules() {
        let check = |high, low| {
            let policy = image_policy(high, low, Some("1h"));
            policy.map(|p| (p.high_percent, p.low_percent, p.min_age.as_secs())).map_err(|e| e.to_string())
        };
        assert_eq!(check(None, None), Ok((85, 80, 3600)));
        assert_eq!(check(Some(100), Some(0)), Ok((100, 0, 3600)));
        assert!(check(Some(80), None).unwrap_err().contains("must be less than --image-gc-high-threshold 80"));
        assert!(check(Some(101), None).unwrap_err().contains("between 0 and 100"));
        assert!(image_policy(None, None, Some("x")).is_err());
    }
}
