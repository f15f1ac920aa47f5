//! What a watcher is told, as one JSON line an event.
//!
//! Lines are made of an object's stored bytes: small objects are copied into one piece with their line, large ones are
//! sent to all watchers out of the same bytes. Only a Table's cells need parsing.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::revision::Revision;
use serde_json::{Value, json};

use crate::answer::{Form, Refused, Wanted, shape};
use crate::object;
use crate::registry::Row;

/// What ends the line of an event.
const LINE_END: &[u8] = b"}\n";

/// Objects from this size on are sent to all watchers out of the same bytes; smaller ones are copied, which costs less
/// than the three pieces that sharing takes.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The annotation of the bookmark after the first objects.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// The annotation of that bookmark that holds an empty list of the kind.
const BLUEPRINT: &str = "kubernetes.io/initial-events-list-blueprint";

/// What is told about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is new to the watcher.
    Added,
    /// It has changed.
    Modified,
    /// It is gone, or selected no more.
    Deleted,
}

impl Told {
    const fn line_head(self) -> &'static [u8] {
        match self {
            Self::Added => br#"{"type":"ADDED","object":"#,
            Self::Modified => br#"{"type":"MODIFIED","object":"#,
            Self::Deleted => br#"{"type":"DELETED","object":"#,
        }
    }
}

/// Lines on their way to a client.
pub(super) struct Lines {
    row: Arc<Row>,
    wanted: Wanted,
    columns: shape::Columns,
    /// Pieces that are ready to be sent.
    ready: VecDeque<Bytes>,
    /// Lines that are put together in one piece.
    open: Vec<u8>,
    /// The bytes of all this.
    bytes: usize,
}

impl Lines {
    /// No lines yet, for a client that wants objects of this kind in this form.
    pub(super) fn new(row: Arc<Row>, wanted: Wanted) -> Self {
        let columns = shape::Columns::Stated;
        Self { row, wanted, columns, ready: VecDeque::new(), open: Vec::new(), bytes: 0 }
    }

    /// The next piece to send.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() && !self.open.is_empty() {
            self.close();
        }
        let piece = self.ready.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// How many bytes wait to be sent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells of an object.
    pub(super) fn tell(&mut self, told: Told, object: &Bytes) {
        if self.wanted.form == Form::Object && object.len() >= SHARED_BYTES_MIN {
            self.close();
            let line = [Bytes::from_static(told.line_head()), object.clone(), Bytes::from_static(LINE_END)];
            self.bytes += line.iter().map(Bytes::len).sum::<usize>();
            self.ready.extend(line);
            return;
        }
        let before = self.open.len();
        self.open.reserve(told.line_head().len() + object.len() + LINE_END.len());
        self.open.extend_from_slice(told.line_head());
        if self.wanted.form == Form::Object {
            self.open.extend_from_slice(object);
        } else {
            let columns = std::mem::replace(&mut self.columns, shape::Columns::Known);
            shape::put_object(&mut self.open, &self.row, self.wanted, object, columns, coracle_api::clock::now());
        }
        self.open.extend_from_slice(LINE_END);
        self.bytes += self.open.len() - before;
    }

    /// Tells how far the watch has come.
    pub(super) fn tell_progress(&mut self, revision: Revision) {
        self.bookmark(revision, None);
    }

    /// Tells that all objects that were there have been told.
    pub(super) fn tell_initial_end(&mut self, revision: Revision) {
        // An empty list, from which a client makes the list that it would have got.
        let (kind, version) = match self.wanted.form {
            Form::Metadata | Form::MetadataList => {
                ("PartialObjectMetadataList".to_owned(), self.wanted.meta.to_owned())
            }
            Form::Object | Form::Table(_) => (self.row.list_kind(), self.row.api_version()),
        };
        let list = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{{}},\"items\":null}}\n");
        self.bookmark(revision, Some(json!({INITIAL_END: "true", BLUEPRINT: STANDARD.encode(list)})));
    }

    /// Tells why the watch ends.
    pub(super) fn tell_failure(&mut self, refused: &Refused) {
        self.put(br#"{"type":"ERROR","object":"#, &refused.json());
    }

    fn bookmark(&mut self, revision: Revision, annotations: Option<Value>) {
        let revision = revision.to_string();
        let mut meta = json!({"resourceVersion": revision, "creationTimestamp": null});
        if let Some(annotations) = annotations {
            object::map_mut(&mut meta).insert("annotations".to_owned(), annotations);
        }
        let version = self.wanted.meta;
        let bare = json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": meta});
        let object = match self.wanted.form {
            Form::Table(_) => {
                let row = json!({"cells": [], "object": bare});
                json!({"kind": "Table", "apiVersion": version, "metadata": {"resourceVersion": revision},
                    "columnDefinitions": null, "rows": [row]})
            }
            Form::Metadata | Form::MetadataList => bare,
            Form::Object => {
                json!({"kind": self.row.kind, "apiVersion": self.row.api_version(), "metadata": meta})
            }
        };
        self.put(br#"{"type":"BOOKMARK","object":"#, &object);
    }

    fn put(&mut self, head: &[u8], object: &Value) {
        let before = self.open.len();
        self.open.extend_from_slice(head);
        self.open.extend_from_slice(object.to_string().as_bytes());
        self.open.extend_from_slice(LINE_END);
        self.bytes += self.open.len() - before;
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.ready.push_back(std::mem::take(&mut self.open).into());
        }
    }
}
