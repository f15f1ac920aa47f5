//! Following a collection: what is there, then what happens, as one JSON line an event.
//!
//! Invariant: a client that reads on misses nothing and sees nothing twice; one that cannot be served so is told 410.
//! Large objects are sent out of the stored bytes; nothing is parsed unless a field selector or another shape asks for it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::selection;
use crate::answer::{self, Answer, Form, Refused, Wanted, shape};
use crate::machine::Call;
use crate::object;
use crate::options::list::{Bookmarks, From, InitialEvents, ListOptions, Use, parse};
use crate::registry::{Row, Scope};
use crate::store::{Entry, Event, Happened, Prefix, Store, WatchError, Watcher};

/// How often a quiet watch tells how far it has come: upstream's interval.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// How long a watch lasts if the client does not say: upstream ends them after 30 to 60 minutes, so that clients
/// spread over servers anew.
const LASTS: Duration = Duration::from_secs(45 * 60);

/// So many events are put together before they are sent, if they are there already.
const EVENTS_AT_ONCE: usize = 64;

/// What ends the line of an event.
const LINE_END: &[u8] = b"}\n";

/// Objects from this size on are sent to all watchers out of the same bytes; smaller ones are copied, which costs less
/// than the three pieces that sharing takes.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The annotation of the bookmark after the first objects that holds an empty list of the kind.
const BLUEPRINT: &str = "kubernetes.io/initial-events-list-blueprint";

/// Follows what the path names.
pub(crate) fn watch(call: &Call) -> Answer {
    let mut options = parse(&call.query, &call.row, Use::Watch)?;
    let wanted = call.wanted()?;
    if !call.path.name.is_empty() {
        let named = coracle_api::selector::FieldRequirement {
            path: "metadata.name".to_owned(),
            value: call.path.name.clone(),
            relation: coracle_api::selector::FieldRelation::Equal,
        };
        if !options.fields.is_empty() && options.single_name() != Some(call.path.name.as_str()) {
            return Err(Refused::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        options.fields.push(named);
    }
    let prefix = prefix(call, &options);
    let mut following = Following {
        row: Arc::clone(&call.row),
        wanted,
        columns: shape::Columns::Stated,
        ready: VecDeque::new(),
        watcher: None,
        ends: Instant::now() + options.timeout.unwrap_or(LASTS),
        bookmark: Instant::now() + BOOKMARK_INTERVAL,
        stopping: call.machine.stopping.clone(),
        options,
    };
    if let Err(error) = following.begin(&*call.store(), &prefix) {
        following.fail(error);
    }
    let lines = futures::stream::unfold(following, |mut following| async move {
        following.next().await.map(|line| (Ok::<Bytes, Infallible>(line), following))
    });
    Ok(answer::json(StatusCode::OK, axum::body::Body::from_stream(lines)))
}

fn prefix(call: &Call, options: &ListOptions) -> Prefix {
    let in_one_place = !call.path.namespace.is_empty() || call.row.scope == Scope::Cluster;
    match options.single_name().filter(|_| in_one_place) {
        Some(name) => Prefix::object(&call.key(name)),
        None => call.prefix(),
    }
}

/// A watch on its way to a client.
struct Following {
    row: Arc<Row>,
    options: ListOptions,
    wanted: Wanted,
    columns: shape::Columns,
    ready: VecDeque<Bytes>,
    watcher: Option<Watcher>,
    ends: Instant,
    bookmark: Instant,
    stopping: CancellationToken,
}

/// What is told about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Added,
    Modified,
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

impl Following {
    fn begin(&mut self, store: &dyn Store, prefix: &Prefix) -> Result<(), WatchError> {
        let from_here = matches!(self.options.from, From::Newest | From::Any);
        let with_objects = match self.options.initial {
            InitialEvents::ByRevision => from_here,
            InitialEvents::Sent => true,
            InitialEvents::Left => false,
        };
        let from = match self.options.from {
            From::NotOlderThan(revision) | From::Exact(revision) if !with_objects => revision,
            _ if with_objects => {
                let listing = store.list(prefix);
                for entry in listing.entries {
                    if selection::selects(&self.options, &entry) {
                        self.tell(Told::Added, &entry);
                    }
                }
                if self.options.initial == InitialEvents::Sent && self.options.bookmarks == Bookmarks::Sent {
                    let mut annotations = json!({"k8s.io/initial-events-end": "true"});
                    if self.wanted.form == Form::Object {
                        let blueprint = STANDARD.encode(self.blueprint());
                        object::map_mut(&mut annotations).insert(BLUEPRINT.to_owned(), blueprint.into());
                    }
                    let end = self.bookmark_line(&listing.revision.to_string(), Some(annotations));
                    self.ready.push_back(end);
                }
                listing.revision
            }
            _ => store.revision(),
        };
        self.watcher = Some(store.watch(prefix, from)?);
        Ok(())
    }

    /// An empty list of the kind, from which a client makes the list that it would have got.
    fn blueprint(&self) -> String {
        let (kind, version) = (self.row.list_kind(), self.row.api_version());
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{{}},\"items\":null}}\n")
    }

    /// The next bytes to send; nothing when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            let bookmarks = self.options.bookmarks == Bookmarks::Sent;
            let watcher = self.watcher.as_mut()?;
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                event = watcher.next() => match event {
                    Ok(event) => self.take(&event),
                    Err(error) => self.fail(error),
                },
                () = tokio::time::sleep_until(self.bookmark), if bookmarks => self.tell_progress(),
                () = tokio::time::sleep_until(self.ends) => {
                    if bookmarks {
                        self.tell_progress();
                    }
                    self.watcher = None;
                }
            }
        }
    }

    /// Takes an event, and those that are there already.
    fn take(&mut self, event: &Event) {
        self.tell_event(event);
        for _ in 1..EVENTS_AT_ONCE {
            let Some(watcher) = self.watcher.as_mut() else { return };
            match watcher.try_next() {
                Ok(Some(event)) => self.tell_event(&event),
                Ok(None) => return,
                Err(error) => return self.fail(error),
            }
        }
    }

    fn tell_event(&mut self, event: &Event) {
        if self.options.selects_all() {
            let told = match &event.happened {
                Happened::Added => Told::Added,
                Happened::Modified(_) => Told::Modified,
                Happened::Deleted(_) => Told::Deleted,
            };
            return self.tell(told, &event.entry);
        }
        let selects = |entry: &Entry| selection::selects(&self.options, entry);
        match &event.happened {
            Happened::Added if selects(&event.entry) => self.tell(Told::Added, &event.entry),
            Happened::Deleted(before) if selects(before) => self.tell(Told::Deleted, &event.entry),
            Happened::Added | Happened::Deleted(_) => {}
            Happened::Modified(before) => match (selects(before), selects(&event.entry)) {
                (true, true) => self.tell(Told::Modified, &event.entry),
                (false, true) => self.tell(Told::Added, &event.entry),
                (true, false) => self.tell_left(before, &event.entry),
                (false, false) => {}
            },
        }
    }

    /// An object is selected no more: its last selected state, with the revision at which it left.
    fn tell_left(&mut self, before: &Entry, after: &Entry) {
        let mut object = before.value();
        object::set(&mut object, "resourceVersion", after.revision().to_string());
        self.tell_value(Told::Deleted, &object);
    }

    fn tell(&mut self, told: Told, entry: &Entry) {
        match self.wanted.form {
            Form::Object => self.push(told, entry.bytes().clone()),
            Form::Table(_) | Form::Metadata | Form::MetadataList => self.tell_value(told, &entry.value()),
        }
    }

    fn tell_value(&mut self, told: Told, object: &Value) {
        let shown = self.shape(object);
        self.push(told, shown.to_string().into());
    }

    fn shape(&mut self, object: &Value) -> Value {
        match self.wanted.form {
            Form::Object => object.clone(),
            Form::Metadata | Form::MetadataList => shape::metadata(object),
            Form::Table(include) => {
                let meta = json!({"resourceVersion": object::text(object, "resourceVersion")});
                let columns = std::mem::replace(&mut self.columns, shape::Columns::Known);
                let now = coracle_api::clock::now();
                shape::table(&self.row, meta, std::iter::once(object), include, columns, now)
            }
        }
    }

    fn push(&mut self, told: Told, object: Bytes) {
        if object.len() < SHARED_BYTES_MIN {
            self.ready.push_back(line(told.line_head(), &object));
            return;
        }
        self.ready.extend([Bytes::from_static(told.line_head()), object, Bytes::from_static(LINE_END)]);
    }

    fn tell_progress(&mut self) {
        self.bookmark = Instant::now() + BOOKMARK_INTERVAL;
        let Some(watcher) = self.watcher.as_mut() else { return };
        match watcher.progress() {
            Ok(revision) => {
                let line = self.bookmark_line(&revision.to_string(), None);
                self.ready.push_back(line);
            }
            Err(error) => self.fail(error),
        }
    }

    fn bookmark_line(&mut self, revision: &str, annotations: Option<Value>) -> Bytes {
        let mut meta = json!({"resourceVersion": revision, "creationTimestamp": null});
        if let Some(annotations) = annotations {
            object::map_mut(&mut meta).insert("annotations".to_owned(), annotations);
        }
        let object = match self.wanted.form {
            Form::Table(_) => {
                let object = json!({"metadata": meta});
                let meta = json!({"resourceVersion": revision});
                let row = json!({"cells": [], "object": shape::metadata(&object)});
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
                    "columnDefinitions": null, "rows": [row]})
            }
            Form::Metadata | Form::MetadataList => shape::metadata(&json!({"metadata": meta})),
            Form::Object => {
                json!({"kind": self.row.kind, "apiVersion": self.row.api_version(), "metadata": meta})
            }
        };
        line(br#"{"type":"BOOKMARK","object":"#, object.to_string().as_bytes())
    }

    /// Tells the client why the watch ends.
    fn fail(&mut self, error: WatchError) {
        self.watcher = None;
        if matches!(error, WatchError::Expired { .. }) {
            let status = Refused::from(error).json().to_string();
            self.ready.push_back(line(br#"{"type":"ERROR","object":"#, status.as_bytes()));
        }
    }
}

fn line(head: &[u8], object: &[u8]) -> Bytes {
    [head, object, LINE_END].concat().into()
}
