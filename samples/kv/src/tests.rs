//! What the store promises, tested by cutting and damaging its log at every byte.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken assumption ends the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::frame::Change;
use crate::request::{Ask, HEAD_MAX, Parsed, Refusal, VALUE_MAX, parse};
use crate::store::{LIVE_MAX, Opened, Refused, Store};

/// A directory of this test's own, gone afterwards.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        // In memory where there is such a place: these tests sync more often than a disk likes.
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let dir = parent.join(format!("kv-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn open(&self) -> (Store, Opened) {
        Store::open(&self.0).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn put(key: &str, value: &str) -> Change {
    Change::Put(key.to_owned(), value.as_bytes().to_vec())
}

fn all(store: &Store) -> BTreeMap<String, Vec<u8>> {
    store.keys("").map(|key| (key.to_owned(), store.get(key).unwrap().to_vec())).collect()
}

/// Some commits, and what the store holds after each.
fn history(dir: &Dir) -> Vec<BTreeMap<String, Vec<u8>>> {
    let mut store = dir.open().0;
    let mut states = vec![all(&store)];
    for changes in [
        vec![put("a", "1")],
        vec![put("b", "two"), put("c", "")],
        vec![Change::Delete("a".to_owned()), put("b", "three")],
        vec![put("a", "again")],
    ] {
        store.commit(changes).unwrap();
        states.push(all(&store));
    }
    states
}

#[test]
fn a_log_cut_at_any_byte_is_a_prefix_of_history_and_goes_on_from_there() {
    let whole = Dir::new();
    let states = history(&whole);
    let log = fs::read(whole.0.join("log")).unwrap();
    for cut in 0..=log.len() {
        let dir = Dir::new();
        fs::write(dir.0.join("log"), &log[..cut]).unwrap();
        fs::write(dir.0.join("log.new"), "half a compaction").unwrap();
        let (mut store, opened) = dir.open();
        let state = &states[usize::try_from(opened.frames).unwrap()];
        assert_eq!(&all(&store), state, "cut at {cut}");
        store.commit(vec![put("after", "x")]).unwrap();
        drop(store);
        let (store, opened) = dir.open();
        assert_eq!((store.get("after"), opened.torn), (Some(b"x".as_slice()), 0), "cut at {cut}");
    }
}

#[test]
fn damage_before_the_last_commit_is_not_taken_for_a_crash() {
    let whole = Dir::new();
    let states = history(&whole);
    let log = fs::read(whole.0.join("log")).unwrap();
    let mut refused = 0;
    for at in 0..log.len() {
        let dir = Dir::new();
        let mut damaged = log.clone();
        damaged[at] ^= 0x40;
        fs::write(dir.0.join("log"), &damaged).unwrap();
        match Store::open(&dir.0) {
            Ok((store, opened)) => assert_eq!(all(&store), states[usize::try_from(opened.frames).unwrap()]),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("is damaged at byte"), "{error}");
            }
        }
    }
    assert!(refused > log.len() / 2, "{refused} of {}", log.len());
}

#[test]
fn a_log_is_written_anew_when_most_of_it_is_past() {
    let dir = Dir::new();
    let (mut store, _) = dir.open();
    let value = "x".repeat(500_000);
    for round in 0..20 {
        store.commit(vec![put("large", &value), put("round", &round.to_string())]).unwrap();
    }
    let length = fs::metadata(dir.0.join("log")).unwrap().len();
    assert!(length < 6 << 20, "{length}");
    drop(store);
    let (store, _) = dir.open();
    assert_eq!((store.get("round"), store.len()), (Some(b"19".as_slice()), 2));
}

#[test]
fn there_is_room_for_so_much_and_no_more() {
    let dir = Dir::new();
    let (mut store, _) = dir.open();
    let value = "x".repeat(LIVE_MAX / 4);
    for key in ["a", "b", "c"] {
        store.commit(vec![put(key, &value)]).unwrap();
    }
    assert!(matches!(store.commit(vec![put("d", &value)]), Err(Refused::Full)));
    store.commit(vec![put("c", "less")]).unwrap();
    store.commit(vec![put("d", &value)]).unwrap();
    assert_eq!(store.keys("").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(store.keys("c").collect::<Vec<_>>(), ["c"]);
}

fn asked(text: &str) -> Result<Ask, Refusal> {
    match parse(text.as_bytes()) {
        Parsed::Whole { ask, .. } => ask,
        Parsed::Partial { .. } => panic!("{text:?} is not whole"),
    }
}

#[test]
fn requests_are_read_and_bad_ones_are_told_why() {
    let put = "PUT /keys/a.b HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(parse(put.as_bytes()), Parsed::Partial { wants_go: true });
    assert_eq!(asked(&format!("{put}xyz")), Ok(Ask::Put("a.b".to_owned(), b"xyz".to_vec())));
    assert_eq!(asked("GET /keys?prefix=n- HTTP/1.1\r\n\r\n"), Ok(Ask::List("n-".to_owned())));
    assert_eq!(asked("HEAD /keys/k HTTP/1.1\r\n\r\n"), Ok(Ask::Get("k".to_owned())));
    let status = |text: &str| asked(text).unwrap_err().0;
    assert_eq!(status("PUT /keys/a HTTP/1.1\r\n\r\n"), 411);
    assert_eq!(status("PUT /keys/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
    assert_eq!(status(&format!("PUT /keys/a HTTP/1.1\r\nContent-Length: {}\r\n\r\n", VALUE_MAX + 1)), 413);
    assert_eq!(status("PUT /keys/a HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
    assert_eq!(status(&format!("GET /keys/{} HTTP/1.1\r\n\r\n", "k".repeat(201))), 400);
    for key in ["", "a/b", "%2e", "ä"] {
        assert_eq!(status(&format!("GET /keys/{key} HTTP/1.1\r\n\r\n")), 400, "{key}");
    }
    assert_eq!(status("POST /keys/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), 405);
    assert_eq!(status("DELETE /whoami HTTP/1.1\r\n\r\n"), 405);
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 404);
    assert_eq!(status("hello\r\n\r\n"), 400);
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_MAX))), 431);
    let kept = |text: &str| matches!(parse(text.as_bytes()), Parsed::Whole { keeps: true, .. });
    assert!(kept("GET /whoami HTTP/1.1\r\n\r\n") && !kept("GET /whoami HTTP/1.0\r\n\r\n"));
    assert!(!kept("GET /whoami HTTP/1.1\r\nConnection: Close\r\n\r\n"));
}
