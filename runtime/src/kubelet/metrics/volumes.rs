//! What the volumes behind claims hold, under the kubelet's names.

use crate::stats::summary::{ClaimDisk, FileSystem};
use coracle_api::exposition::Exposition;

/// What is told of each claim: a name, what it is, and the value.
type Gauge = (&'static str, &'static str, fn(&ClaimDisk, FileSystem) -> u64);

const GAUGES: [Gauge; 6] = [
    ("kubelet_volume_stats_available_bytes", "[ALPHA] Number of available bytes in the volume", |c, fs| c.room(fs).1),
    ("kubelet_volume_stats_capacity_bytes", "[ALPHA] Capacity in bytes of the volume", |c, fs| c.room(fs).0),
    ("kubelet_volume_stats_inodes", "[ALPHA] Maximum number of inodes in the volume", |_, fs| fs.inodes),
    ("kubelet_volume_stats_inodes_free", "[ALPHA] Number of free inodes in the volume", |_, fs| fs.inodes_free),
    ("kubelet_volume_stats_inodes_used", "[ALPHA] Number of used inodes in the volume", |c, _| c.used.inodes),
    ("kubelet_volume_stats_used_bytes", "[ALPHA] Number of used bytes in the volume", |c, _| c.used.bytes),
];

/// The series of these claims, each with its namespace, on a file system like this.
pub(in crate::kubelet) fn volumes(claims: &[(String, ClaimDisk)], disk: FileSystem) -> String {
    let mut out = Exposition::default();
    for (name, help, value) in GAUGES.iter().filter(|_| !claims.is_empty()) {
        out.family(name, "gauge", help);
        for (namespace, claim) in claims {
            let labels = [("namespace", namespace.as_str()), ("persistentvolumeclaim", &claim.claim)];
            out.series(name, &labels, value(claim, disk));
        }
    }
    out.done()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::stats::directory::DiskUsage;

    #[test]
    fn claims_are_told_under_the_kubelets_names() {
        let claim = |capacity| ClaimDisk {
            claim: "data-web-0".to_owned(),
            used: DiskUsage { bytes: 300, inodes: 3 },
            capacity: Some(capacity),
        };
        let disk = FileSystem { capacity: 1000, available: 400, inodes: 50, inodes_free: 20 };
        let text = volumes(&[("default".to_owned(), claim(500)), ("other".to_owned(), claim(900))], disk);
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            kubelet_volume_stats_available_bytes{namespace="default",persistentvolumeclaim="data-web-0"} 200
            kubelet_volume_stats_available_bytes{namespace="other",persistentvolumeclaim="data-web-0"} 400
            kubelet_volume_stats_capacity_bytes{namespace="default",persistentvolumeclaim="data-web-0"} 500
            kubelet_volume_stats_capacity_bytes{namespace="other",persistentvolumeclaim="data-web-0"} 900
            kubelet_volume_stats_inodes{namespace="default",persistentvolumeclaim="data-web-0"} 50
            kubelet_volume_stats_inodes{namespace="other",persistentvolumeclaim="data-web-0"} 50
            kubelet_volume_stats_inodes_free{namespace="default",persistentvolumeclaim="data-web-0"} 20
            kubelet_volume_stats_inodes_free{namespace="other",persistentvolumeclaim="data-web-0"} 20
            kubelet_volume_stats_inodes_used{namespace="default",persistentvolumeclaim="data-web-0"} 3
            kubelet_volume_stats_inodes_used{namespace="other",persistentvolumeclaim="data-web-0"} 3
            kubelet_volume_stats_used_bytes{namespace="default",persistentvolumeclaim="data-web-0"} 300
            kubelet_volume_stats_used_bytes{namespace="other",persistentvolumeclaim="data-web-0"} 300"#]]
        .assert_eq(&series.join("\n"));
        assert_eq!(volumes(&[], disk), "");
    }
}
