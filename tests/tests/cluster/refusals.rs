//! A server that cannot start says why and what to do, and ends with 1.

use std::net::TcpListener;
use std::path::PathBuf;

use coracle_tests::Cluster;

/// The cluster's database.
fn database(cluster: &Cluster) -> PathBuf {
    let path = cluster.data_dir().join("state.redb");
    assert!(path.exists(), "{} is not where it was", path.display());
    path
}

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    assert!(error.contains("error: "), "{error}");
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in\n{error}");
    }
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
    let mut place = Cluster::builder().stopped();
    let taken = TcpListener::bind((place.address(), 0)).unwrap();
    let addr = taken.local_addr().unwrap();
    place.wants_port(addr.port());
    says(&place.refuses_to_start(), &[&addr.to_string(), "--secure-port"]);
    // It has left nothing half done: once the port is free, it starts.
    drop(taken);
    place.restart();
    assert_eq!(place.server().api, addr);
}

#[test]
fn a_data_directory_of_another_server_is_left_alone() {
    let cluster = Cluster::start();
    // What a start would sweep away as left over, were it not of a server that runs.
    let upload = cluster.data_dir().join("images/uploads/under-way");
    std::fs::write(&upload, "half of it").unwrap();
    let error = cluster.refuses_to_start();
    says(&error, &["another server", &cluster.data_dir().display().to_string(), "--data-dir"]);
    // The one that runs has noticed nothing.
    assert!(upload.exists(), "an upload of the running server was swept away");
    cluster.get("/api/v1/namespaces/default");
}

#[test]
fn a_damaged_database_is_named_and_left_as_it_is() {
    let mut cluster = Cluster::start();
    cluster.stop();
    let path = database(&cluster);
    let sound = std::fs::read(&path).unwrap();
    let rubbish = b"rubbish ".repeat(512);
    let cases = [
        ("its head overwritten", [&rubbish[..], &sound[rubbish.len()..]].concat()),
        ("all of it overwritten", rubbish.repeat(sound.len() / rubbish.len())),
        ("cut off", sound[..sound.len() / 3].to_vec()),
        ("empty", Vec::new()),
    ];
    for (how, bytes) in cases {
        std::fs::write(&path, &bytes).unwrap();
        let error = cluster.refuses_to_start();
        assert!(!error.contains("panicked"), "{how}: {error}");
        says(&error, &[&path.display().to_string(), "damaged", "move it away"]);
        assert!(std::fs::read(&path).unwrap() == bytes, "{how}: the file is as it was, for whoever wants to save it");
    }
    // Both remedies help: the copy put back, and the file moved away.
    std::fs::write(&path, &sound).unwrap();
    cluster.restart();
    cluster.stop();
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    cluster.restart();
    cluster.get("/api/v1/namespaces/default");
}

#[test]
fn bytes_flipped_inside_the_database_never_become_other_objects() {
    let mut cluster = Cluster::start();
    let marker = "a boat light enough to carry ".repeat(2_000);
    let map = serde_json::json!({"metadata": {"name": "marked"}, "data": {"text": marker}});
    cluster.api().create("/api/v1/namespaces/default/configmaps", &map);
    cluster.stop();
    let path = database(&cluster);
    let mut bytes = std::fs::read(&path).unwrap();
    let needle = &marker.as_bytes()[..2_000];
    let places: Vec<usize> =
        (0..bytes.len() - needle.len()).filter(|at| &bytes[*at..*at + needle.len()] == needle).collect();
    assert!(!places.is_empty(), "the object's text is in the file");
    for at in places {
        bytes[at..at + 8].copy_from_slice(b"\xff\xfe\0\0\0\0\0\0");
    }
    std::fs::write(&path, &bytes).unwrap();
    let error = cluster.refuses_to_start();
    says(&error, &[&path.display().to_string(), "damaged", "move it away"]);
}

#[test]
fn a_flag_that_makes_no_sense_is_refused() {
    for (flags, parts) in [
        ("--config nowhere.yaml", vec!["nowhere.yaml", "No such file"]),
        ("--service-node-port-range 5", vec!["--service-node-port-range", "30000-32767"]),
        ("--node-name Not_A_Name", vec!["--node-name", "Not_A_Name"]),
    ] {
        let error = Cluster::builder().flags(flags).stopped().refuses_to_start();
        says(&error, &parts);
    }
}
