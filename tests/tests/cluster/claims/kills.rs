//! Power cuts while volumes are made and deleted: each cut leaves nothing that nobody speaks for, and takes nothing
//! that somebody has.

use std::collections::BTreeSet;

use coracle_tests::cluster::name;
use coracle_tests::{Cluster, eventually};
use serde_json::json;

use super::{CLAIMS, CLASSES, VOLUMES, bound, claim, class, directories};

fn on_disk(cluster: &Cluster) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directories(cluster)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Waits until the directories on the disk are those of the volumes, and the volumes those of the claims.
#[track_caller]
fn settled(cluster: &Cluster) -> BTreeSet<String> {
    eventually("claims, volumes and directories that agree", || {
        let names =
            |path: &str| cluster.get(path)["items"].as_array().unwrap().iter().map(name).collect::<BTreeSet<_>>();
        let claims = cluster.get(CLAIMS)["items"].as_array().unwrap().clone();
        let wanted: BTreeSet<String> =
            claims.iter().map(|claim| claim["spec"]["volumeName"].as_str().unwrap_or("none yet").to_owned()).collect();
        let (volumes, disk) = (names(VOLUMES), on_disk(cluster));
        if wanted == volumes && volumes == disk { Ok(disk) } else { Err(format!("{wanted:?} {volumes:?} {disk:?}")) }
    })
}

#[test]
fn claims_volumes_and_directories_agree_after_every_power_cut() {
    let mut cluster = Cluster::start();
    cluster.api().create(CLASSES, &class("now", "Immediate", "Delete"));
    let spec = json!({"storageClassName": "now"});
    cluster.api().create(CLAIMS, &claim("keeper", "1Gi", &spec));
    let (_, keeper) = bound(&cluster, "keeper");
    std::fs::write(keeper.join("kept"), "through it all").unwrap();
    for round in 0..3 {
        // Of the last round's claims, which may be anywhere between nothing and bound, all go; new ones come; and the
        // power is cut as soon as so many of the new have a directory: in the midst of both.
        let old: Vec<String> = cluster.get(CLAIMS)["items"].as_array().unwrap().iter().map(name).collect();
        for old in old.iter().filter(|old| *old != "keeper") {
            cluster.api().delete(&format!("{CLAIMS}/{old}"));
        }
        let before = on_disk(&cluster);
        for number in 0..12 {
            cluster.api().create(CLAIMS, &claim(&format!("c-{round}-{number}"), "1Gi", &spec));
        }
        eventually("some directories", || {
            let new = on_disk(&cluster).difference(&before).count();
            if new > round { Ok(()) } else { Err(format!("{new}")) }
        });
        cluster.kill_hard();
        cluster.restart();
    }
    assert_eq!(settled(&cluster).len(), 13);
    assert_eq!(std::fs::read_to_string(keeper.join("kept")).unwrap(), "through it all");
}

#[test]
fn a_start_goes_on_where_a_cut_left_off() {
    let mut cluster = Cluster::start();
    cluster.api().create(CLASSES, &class("now", "Immediate", "Delete"));
    let spec = json!({"storageClassName": "now"});
    cluster.api().create(CLAIMS, &claim("first", "1Gi", &spec));
    let (_, dir) = bound(&cluster, "first");
    std::fs::write(dir.join("kept"), "mine").unwrap();
    cluster.kill_hard();
    // A directory was made, and its claim was deleted before a volume spoke for it.
    std::fs::create_dir(directories(&cluster).join("pvc-00000000-0000-0000-0000-000000000000")).unwrap();
    cluster.restart();
    assert_eq!(settled(&cluster).len(), 1, "what is empty and nobody's is removed");
    assert_eq!(std::fs::read_to_string(dir.join("kept")).unwrap(), "mine");

    // The data of a deleted claim were on their way out: only a part of them is left.
    let many = dir.join("many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..2_000 {
        std::fs::write(many.join(number.to_string()), "x").unwrap();
    }
    cluster.api().delete(&format!("{CLAIMS}/first"));
    eventually("a mark on the volume", || {
        let volumes = cluster.get(VOLUMES)["items"].as_array().unwrap().clone();
        let unmarked = volumes.iter().any(|volume| volume["metadata"]["deletionTimestamp"].is_null());
        if unmarked { Err(format!("{volumes:?}")) } else { Ok(()) }
    });
    cluster.kill_hard();
    cluster.restart();
    assert!(settled(&cluster).is_empty());
}
