//! Which addresses pods and Services have, and whether they are this machine's own.
//!
//! A cluster keeps the ranges that it began with: its Services have their addresses for as long as they live.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use coracle_network::{Cidr, LocalError, LocalRanges};

use crate::options::Settings;

/// Pod addresses in loopback space, which any user may bind on Linux.
const LOOPBACK: Ranges = Ranges { pods: "127.42.0.0/16", services: "127.43.0.0/16" };

/// Pod and Service addresses that a route makes this machine's own.
const ROUTED: Ranges = Ranges { pods: "10.42.0.0/16", services: "10.43.0.0/16" };

/// In the data directory: the ranges of the cluster, pods' first.
const FILE: &str = "ranges";

/// Where the locks of this machine are.
const LOCKS: &str = "/run";

/// A pair of ranges.
#[derive(Debug, Clone, Copy)]
struct Ranges {
    pods: &'static str,
    services: &'static str,
}

/// How the addresses are this machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By a route.
    Routed,
    /// As all addresses of loopback are.
    Loopback,
    /// Not at all: they are found through the cluster's own table.
    Mapped,
}

/// The ranges in force.
pub(crate) struct InForce {
    pub(crate) pods: String,
    pub(crate) services: String,
    pub(crate) mode: Mode,
    /// In words.
    pub(crate) why: String,
    /// The routes, as long as it is held.
    _routes: Option<LocalRanges>,
}

impl InForce {
    /// The mode's name, as on the Node object.
    pub(crate) fn mode_name(&self) -> &'static str {
        match self.mode {
            Mode::Routed => "routed",
            Mode::Loopback => "loopback",
            Mode::Mapped => "mapped",
        }
    }

    /// What the person who starts a server reads.
    pub(crate) fn line(&self) -> String {
        let Self { pods, services, why, .. } = self;
        let reached = match self.mode {
            Mode::Routed | Mode::Loopback => "curl on this machine reaches them",
            Mode::Mapped => "only pods reach them; from this machine use NodePorts, port-forward or the API's proxy",
        };
        format!("pods have addresses in {pods}, Services in {services}: {reached} ({}: {why})", self.mode_name())
    }
}

/// Decides on the ranges and makes them this machine's own, as far as that goes.
pub(crate) fn decide(settings: &Settings) -> anyhow::Result<InForce> {
    let file = settings.data_dir.join(FILE);
    let said = match (&settings.cluster_cidr, &settings.service_cidr) {
        (None, None) => read(&file)?.or_else(|| is_older(&settings.data_dir).then(|| pair(LOOPBACK))),
        (pods, services) => {
            let before = read(&file)?.unwrap_or_else(|| pair(LOOPBACK));
            Some((pods.clone().unwrap_or(before.0), services.clone().unwrap_or(before.1)))
        }
    };
    let in_force = match said {
        Some((pods, services)) => of(pods, services)?,
        None => {
            let (pods, services) = pair(ROUTED);
            let routed = of(pods, services)?;
            if routed.mode == Mode::Routed { routed } else { fallen_back(&routed.why) }
        }
    };
    std::fs::write(&file, format!("{} {}\n", in_force.pods, in_force.services))
        .with_context(|| format!("the ranges of addresses cannot be written to {}", file.display()))?;
    Ok(in_force)
}

fn pair(ranges: Ranges) -> (String, String) {
    (ranges.pods.to_owned(), ranges.services.to_owned())
}

/// Loopback's ranges, where no route can be made.
fn fallen_back(why: &str) -> InForce {
    let (pods, services) = pair(LOOPBACK);
    InForce { pods, services, mode: Mode::Loopback, why: why.to_owned(), _routes: None }
}

/// These ranges, as real as they can be.
fn of(pods: String, services: String) -> anyhow::Result<InForce> {
    let pod_range: Cidr = pods.parse().context("--cluster-cidr")?;
    let service_range: Cidr = services.parse().context("--service-cluster-ip-range")?;
    let is_loopback = |range: Cidr| range.nth(0).is_some_and(|ip: IpAddr| ip.is_loopback());
    if is_loopback(pod_range) && is_loopback(service_range) {
        let why = "addresses of loopback need no route".to_owned();
        return Ok(InForce { pods, services, mode: Mode::Loopback, why, _routes: None });
    }
    let ranges: Vec<Cidr> = [pod_range, service_range].into_iter().filter(|range| !is_loopback(*range)).collect();
    Ok(match LocalRanges::hold(&ranges, &PathBuf::from(LOCKS)) {
        Ok(routes) => {
            let why = "a route of the loopback device for each range".to_owned();
            InForce { pods, services, mode: Mode::Routed, why, _routes: Some(routes) }
        }
        Err(error) => {
            let why = match &error {
                LocalError::Route { source, .. } => format!("{error}: {source}"),
                LocalError::NotPermitted | LocalError::InUse { .. } | LocalError::Family(_) => error.to_string(),
            };
            InForce { pods, services, mode: Mode::Mapped, why, _routes: None }
        }
    })
}

/// What the cluster began with.
fn read(file: &Path) -> anyhow::Result<Option<(String, String)>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let pair = text.trim().split_once(' ').map(|(pods, services)| (pods.to_owned(), services.to_owned()));
            pair.map(Some).with_context(|| format!("{} holds no two ranges; delete it", file.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

/// Whether there is a cluster that was made before its ranges were written down: it has those of loopback.
fn is_older(data_dir: &Path) -> bool {
    data_dir.join("admin.kubeconfig").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_keeps_the_ranges_it_began_with() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        assert_eq!(read(&file).unwrap(), None);
        std::fs::write(&file, "10.1.0.0/16 10.2.0.0/16\n").unwrap();
        assert_eq!(read(&file).unwrap(), Some(("10.1.0.0/16".to_owned(), "10.2.0.0/16".to_owned())));
        std::fs::write(&file, "nonsense").unwrap();
        assert!(read(&file).is_err());
        assert!(!is_older(dir.path()));
        std::fs::write(dir.path().join("admin.kubeconfig"), "").unwrap();
        assert!(is_older(dir.path()));
    }

    #[test]
    fn addresses_of_loopback_need_nothing() {
        let in_force = of("127.42.0.0/16".to_owned(), "127.43.0.0/16".to_owned()).unwrap();
        assert_eq!(in_force.mode, Mode::Loopback);
        assert!(in_force.line().ends_with("(loopback: addresses of loopback need no route)"), "{}", in_force.line());
        assert!(of("nonsense".to_owned(), "127.43.0.0/16".to_owned()).is_err());
    }

    #[test]
    fn what_cannot_be_routed_is_said() {
        let mapped = of("fd42::/64".to_owned(), "127.43.0.0/16".to_owned()).unwrap();
        assert_eq!(mapped.mode, Mode::Mapped);
        assert!(mapped.line().contains("only pods reach them"), "{}", mapped.line());
        assert_eq!(fallen_back("x").mode, Mode::Loopback);
    }
}
