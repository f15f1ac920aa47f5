//! How fast is a file?
//!
//! Goal: a guest's large reads and writes go at the disk's own pace, and a small one costs no more than a few times
//! what the host pays: a database in a pod is as fast as its fsync.
//! Method: the sample `disk` does each thing many times in an emptyDir and prints the mean; this program does the very
//! same in a directory beside it, on the same file system, before and after, and takes the better of the two.
//! Back of the envelope: a system call 1 µs; from the guest to a thread that may block and back 10 to 20 µs; 64 KiB
//! copied twice 10 µs; fsync as the disk likes, 100 µs to 5 ms, so that there the way to the thread does not count.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use coracle_benches::Table;
use coracle_tests::Cluster;
use serde_json::json;

/// As the sample has it.
const SMALL: usize = 100;
/// As the sample has it.
const LARGE: usize = 64 * 1024;

/// What is done, under the sample's name for it, and how often.
type Case = (&'static str, &'static str, u32, fn(&mut File, &Path));

const CASES: [Case; 7] = [
    ("time-write-large", "write 64 KiB", 2000, |file, _| file.write_all(&[0; LARGE]).expect("there is room")),
    ("time-read-large", "read 64 KiB", 5000, |file, _| file.read_exact_at(&mut [0; LARGE], 0).expect("it is read")),
    ("time-write-small", "write 100 bytes", 20_000, |file, _| file.write_all(&[0; SMALL]).expect("there is room")),
    ("time-read-small", "read 100 bytes", 20_000, |file, _| {
        file.read_exact_at(&mut [0; SMALL], 0).expect("it is read")
    }),
    ("time-stat", "look a name up", 20_000, |_, path| assert!(std::fs::metadata(path).expect("it is there").is_file())),
    ("time-create", "create and remove", 5000, |_, path| {
        let path = path.with_extension("new");
        OpenOptions::new().write(true).create_new(true).open(&path).expect("there is room");
        std::fs::remove_file(path).expect("it is there");
    }),
    ("time-sync", "write 100 bytes, fsync", 200, |file, _| {
        file.write_all(&[0; SMALL]).expect("there is room");
        file.sync_all().expect("the disk keeps it");
    }),
];

fn main() {
    let cluster = Cluster::start();
    cluster.push("disk");
    let before = host(cluster.dir());
    let steps: Vec<String> = CASES.iter().map(|(verb, _, count, _)| format!("{verb} /data/file {count}")).collect();
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [{"name": "disk", "image": "disk:1", "args": steps,
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    });
    cluster.api().create("/api/v1/namespaces/default/pods", &json!({"metadata": {"name": "disk"}, "spec": spec}));
    cluster.terminated("disk");
    let log = cluster.coracle("logs disk").ok();
    let after = host(cluster.dir());

    let mut table = Table::new(&["", "host µs", "guest µs", "times"]);
    for (index, (verb, what, ..)) in CASES.iter().enumerate() {
        let line = log.lines().find(|line| line.starts_with(verb)).unwrap_or_else(|| panic!("no {verb} in {log}"));
        let guest = line.rsplit("ok ").next().and_then(|text| text.strip_suffix(" ns")).expect("a time in nanoseconds");
        let guest = guest.parse::<f64>().expect("a number") / 1e3;
        let host = before[index].min(after[index]);
        let figures = [host, guest, guest / host].map(|figure| format!("{figure:.1}"));
        let [host, guest, times] = figures;
        table.row(&[(*what).to_owned(), host, guest, times]);
    }
    table.print("How fast is a file? (through WASI, against the host)");
}

/// Microseconds of each case on the host.
fn host(dir: &Path) -> Vec<f64> {
    let path = dir.join("file");
    let times = CASES.iter().map(|(_, _, count, turn)| {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.as_mut().expect("a file can be made");
        let begin = Instant::now();
        for _ in 0..*count {
            turn(file, &path);
        }
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(*count)
    });
    times.collect()
}
