//! Data directories: made when there are none, had by one server, and clear about what is wrong with them.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use expect_test::{Expect, expect};
use redb::{Database, ReadableTable, TableDefinition};

use super::{expect as expected, objects};
use crate::store::redb::{FORMAT, open};
use crate::store::tests::{pod, put};
use crate::store::{Local, Store};

/// Opens the directory, which must fail; the message, with its causes, names the directory `DIR`.
fn refuses(dir: &Path, message: Expect) {
    let error = open(dir).err().expect("it cannot be opened");
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(because) = cause {
        text.push_str(&format!(": {because}"));
        cause = because.source();
    }
    message.assert_eq(&text.replace(&dir.display().to_string(), "DIR"));
}

async fn filled(dir: &Path) -> Local {
    let store = open(dir).unwrap();
    for name in ["a", "b", "c"] {
        store.commit(vec![put(&pod(name), expected(&store, &pod(name)), 1)]).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_directory_keeps_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/inside");
    let store = filled(&data).await;
    let before = (objects(&store), store.revision());
    drop(store);
    let store = open(&data).unwrap();
    assert_eq!((objects(&store), store.revision()), before);
    assert_eq!(store.get(&pod("a")).unwrap().labels().get("value"), Some("1"));
    for (name, mode) in [("", 0o700), ("lock", 0o600), ("state.redb", 0o600)] {
        assert_eq!(data.join(name).metadata().unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
}

#[tokio::test]
async fn a_directory_is_had_by_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    refuses(
        dir.path(),
        expect!["another server is running on this data directory: DIR; stop it, or choose another by --data-dir"],
    );
    store.stop().await;
    assert!(open(dir.path()).is_ok(), "a store that has stopped lets go");
}

#[tokio::test]
async fn a_database_that_was_never_finished_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.redb.new"), b"half").unwrap();
    assert_eq!(objects(&filled(dir.path()).await).len(), 3);
}

#[tokio::test]
async fn a_damaged_file_is_named_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    std::fs::write(&file, b"").unwrap();
    refuses(
        dir.path(),
        expect![
            "DIR/state.redb is damaged; put back a copy of it, or move it away to begin with an empty cluster: DB corrupted: it is empty"
        ],
    );
    std::fs::write(&file, vec![7; 10_000]).unwrap();
    refuses(
        dir.path(),
        expect![
            "DIR/state.redb is damaged; put back a copy of it, or move it away to begin with an empty cluster: I/O error: Not a redb database: magic number mismatch"
        ],
    );
    std::fs::remove_file(&file).unwrap();
    drop(filled(dir.path()).await);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    refuses(
        dir.path(),
        expect![
            "DIR/state.redb is damaged; put back a copy of it, or move it away to begin with an empty cluster: DB corrupted: File truncated below stored layout: file_len=28672, layout_len=57344"
        ],
    );
}

/// Writes to a directory behind the store's back.
fn meddle(dir: &Path, with: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(dir.join("state.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    with(&transaction);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_damaged_object_is_named_with_the_fix() {
    const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()).await);
    meddle(dir.path(), |transaction| {
        let mut objects = transaction.open_table(OBJECTS).unwrap();
        let mut record = objects.get("/pods/default/b").unwrap().unwrap().value().to_vec();
        record.truncate(40);
        objects.insert("/pods/default/b", record.as_slice()).unwrap();
    });
    refuses(
        dir.path(),
        expect![
            "DIR/state.redb is damaged at /pods/default/b; put back a copy of it, or move it away to begin with an empty cluster: its revision is not where it should be"
        ],
    );
}

#[tokio::test]
async fn a_newer_format_is_refused_before_anything_else_is_read() {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()).await);
    meddle(dir.path(), |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", FORMAT + 1).unwrap();
        meta.remove("reserved").unwrap();
    });
    refuses(dir.path(), expect!["DIR/state.redb has format 2, and this program reads up to 1; run a newer one"]);
}
