//! The streams of a connection that are open: which the reader feeds and the writer may write to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::pipe::Fate;

/// How many streams a client may have open at once: each forwarded connection takes two, and holds what waits for its
/// reader, 128 KiB at most.
pub(super) const STREAMS_MAX: usize = 512;

#[derive(Debug)]
struct Open {
    /// Where the client's bytes go; nothing once it has said all.
    feed: Option<mpsc::Sender<Bytes>>,
    fate: Fate,
    /// Whether the client has been told all.
    told: bool,
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u32, Open>,
    last: u32,
}

impl Table {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.state().streams.len()
    }

    /// The last stream that was taken on.
    pub(super) fn last(&self) -> u32 {
        self.state().last
    }

    pub(super) fn begin(&self, id: u32, feed: mpsc::Sender<Bytes>, fate: Fate) {
        let mut state = self.state();
        state.last = id;
        state.streams.insert(id, Open { feed: Some(feed), fate, told: false });
    }

    /// Where the client's bytes on this stream go.
    pub(super) fn feed(&self, id: u32) -> Option<mpsc::Sender<Bytes>> {
        self.state().streams.get(&id)?.feed.clone()
    }

    /// The client has said all on this stream.
    pub(super) fn end_in(&self, id: u32) {
        let mut state = self.state();
        if let Some(open) = state.streams.get_mut(&id) {
            open.feed = None;
            if open.told {
                state.streams.remove(&id);
            }
        }
    }

    /// The client has been told all on this stream.
    pub(super) fn end_out(&self, id: u32) {
        let mut state = self.state();
        if let Some(open) = state.streams.get_mut(&id) {
            open.told = true;
            if open.feed.is_none() {
                state.streams.remove(&id);
            }
        }
    }

    /// Whether something may be sent on this stream.
    pub(super) fn is_open(&self, id: u32) -> bool {
        self.state().streams.get(&id).is_some_and(|open| !open.told)
    }

    /// Those on which something may be sent.
    pub(super) fn open(&self) -> Vec<u32> {
        self.state().streams.iter().filter(|(_, open)| !open.told).map(|(id, _)| *id).collect()
    }

    /// The stream is thrown away.
    pub(super) fn reset(&self, id: u32) {
        if let Some(open) = self.state().streams.remove(&id) {
            open.fate.reset();
        }
    }

    /// The connection is gone: what was said stays said.
    pub(super) fn clear(&self) {
        self.state().streams.clear();
    }
}
