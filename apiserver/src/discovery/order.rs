//! In which order groups and versions are told. Clients that meet a name in two places take the first, so the order is
//! part of what a name means: `events` is the core group's.

use std::cmp::Reverse;

/// Kubernetes' own groups, by falling priority. Others follow, by name.
const GROUPS: [&str; 24] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "resource.k8s.io",
    "lifecycle.k8s.io",
];

/// What groups are sorted by.
pub(crate) fn of_group(name: &str) -> impl Ord + use<'_> {
    (GROUPS.iter().position(|group| *group == name).unwrap_or(GROUPS.len()), name)
}

/// What versions are sorted by: released before beta before alpha, the newer first, and last, by name, what is not of
/// the form `v1`, `v1beta1`.
pub(crate) fn of_version(name: &str) -> impl Ord + use<'_> {
    match parse(name) {
        Some((stability, major, minor)) => (0, stability, Reverse(major), Reverse(minor), name),
        None => (1, Stability::Released, Reverse(0), Reverse(0), name),
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stability {
    Released,
    Beta,
    Alpha,
}

fn parse(version: &str) -> Option<(Stability, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let number = |text: &str| if text.starts_with(['0', '+']) { None } else { text.parse::<u32>().ok() };
    let unstable = |word: &str, stability| {
        let (major, minor) = rest.split_once(word)?;
        Some((stability, number(major)?, number(minor)?))
    };
    match number(rest) {
        Some(major) => Some((Stability::Released, major, 0)),
        None => unstable("beta", Stability::Beta).or_else(|| unstable("alpha", Stability::Alpha)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_own_groups_come_first_and_others_by_name() {
        let mut groups =
            ["b.example.com", "discovery.k8s.io", "autoscaling", "a.example.com", "", "events.k8s.io", "apps"];
        groups.sort_by(|a, b| of_group(a).cmp(&of_group(b)));
        assert_eq!(
            groups,
            ["", "apps", "events.k8s.io", "autoscaling", "discovery.k8s.io", "a.example.com", "b.example.com"]
        );
    }

    #[test]
    fn the_most_stable_and_newest_version_is_preferred() {
        let mut versions =
            ["foo1", "v1", "v12alpha1", "v2", "v10beta3", "v11alpha2", "v3beta1", "v10", "foo10", "v11beta2"];
        versions.sort_by(|a, b| of_version(a).cmp(&of_version(b)));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
        );
    }
}
