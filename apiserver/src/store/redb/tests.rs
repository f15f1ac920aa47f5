//! Tests of the store on disk: crashes at every write, disks that fail, files that are damaged.

mod crash;
mod directory;
mod failing;
mod tape;

use std::collections::BTreeMap;
use std::path::Path;

use redb::Database;

use self::tape::Tape;
use super::disk::{self, Medium, initialize};
use crate::store::tests::value;
use crate::store::{Expect, Key, Local, Prefix, Store};

/// What stands where: revision and value.
type Objects = BTreeMap<Key, (u64, u64)>;

/// A database on a tape, as large as it says; from a certain size on, commits and opening take other roads.
fn open(tape: &Tape, len: u64) -> Local {
    let tape = tape.clone();
    let open = move || Database::builder().create_with_backend(tape.backend()).map_err(redb::Error::from);
    disk::start(Medium::for_tests(open, len), Path::new("tape")).unwrap()
}

/// A tape with an empty store.
fn formatted() -> Tape {
    let tape = Tape::default();
    let database = Database::builder().create_with_backend(tape.backend()).unwrap();
    initialize(&database).unwrap();
    drop(database);
    tape
}

fn objects(store: &Local) -> Objects {
    let listing = store.list(&Prefix::resource("", "pods"));
    listing.entries.iter().map(|entry| (entry.key().clone(), (entry.revision().get(), value(entry)))).collect()
}

fn expect(store: &Local, key: &Key) -> Expect {
    store.get(key).map_or(Expect::Absent, |entry| Expect::At(entry.revision()))
}
