//! Reading a collection: consistent at one revision, in pages, streamed out of the stored bytes.
//!
//! Nothing is parsed unless a field selector or another shape than the objects themselves asks for it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::failure::Failure;
use coracle_api::revision::Revision;
use http::StatusCode;
use serde_json::{Value, json};

use super::members::Members;
use super::{history, selection};
use crate::answer::{self, Answer, Encoding, Form, Refused, shape};
use crate::machine::Call;
use crate::options::list::{Continue, From, ListOptions, Use, parse, token};
use crate::registry::Row;
use crate::store::{Entry, Key, Listing, WatchError};

/// A list is sent in pieces of about this size: large enough for few writes, small enough not to hold a second copy
/// of a large list.
const CHUNK_BYTES: usize = 64 * 1024;

/// A page of a list.
pub(crate) struct Page {
    /// The revision of the whole list.
    pub(crate) revision: Revision,
    /// The objects.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The token for the next page, if there is one.
    pub(crate) next: Option<String>,
    /// How many objects are left, if nothing is selected.
    pub(crate) remaining: Option<usize>,
}

/// Shows the collection that the path names.
pub(crate) fn list(call: &Call) -> Answer {
    let options = parse(&call.query, &call.row, Use::List)?;
    let page = page(call, &options)?;
    render(call, page)
}

/// The page that the options name.
pub(crate) fn page(call: &Call, options: &ListOptions) -> Result<Page, Refused> {
    let Listing { revision, mut entries } = listing(call, options)?;
    if let Some(Continue { after, .. }) = &options.continue_ {
        let start = entries.partition_point(|entry| !place(entry.key()).gt(after.bytes()));
        entries.drain(..start.min(entries.len()));
    }
    if !options.selects_all() {
        entries.retain(|entry| selection::selects(options, entry));
    }
    let limit = match (options.from, &options.continue_) {
        (From::Any, None) => None,
        _ => options.limit,
    };
    let mut page = Page { revision, entries, next: None, remaining: None };
    if let Some(limit) = limit.filter(|limit| *limit < page.entries.len()) {
        let left = page.entries.len() - limit;
        page.entries.truncate(limit);
        page.remaining = options.selects_all().then_some(left);
        page.next = page.entries.last().map(|last| {
            let after = place(last.key()).collect::<Vec<u8>>();
            token(&Continue { revision: Some(revision), after: String::from_utf8_lossy(&after).into_owned() })
        });
    }
    Ok(page)
}

/// `namespace/name`, by which lists are in order.
fn place(key: &Key) -> impl Iterator<Item = u8> + '_ {
    key.namespace().bytes().chain(std::iter::once(b'/')).chain(key.name().bytes())
}

fn listing(call: &Call, options: &ListOptions) -> Result<Listing, Refused> {
    let (seen, prefix) = (call.store(), call.prefix());
    let store = &*seen;
    if let Some(Continue { revision: Some(revision), after }) = &options.continue_ {
        return history::list_at(store, &prefix, *revision).map_err(|error| expired(error, after));
    }
    match options.from {
        From::Exact(revision) => {
            if revision > store.revision() {
                return Err(Refused::unclassified("required revision is a future revision"));
            }
            history::list_at(store, &prefix, revision).map_err(Into::into)
        }
        From::NotOlderThan(revision) => {
            call.reached(revision)?;
            Ok(store.list(&prefix))
        }
        From::Newest | From::Any => match single(call, options) {
            Some(key) => Ok(Listing { revision: store.revision(), entries: store.get(&key).into_iter().collect() }),
            None => Ok(store.list(&prefix)),
        },
    }
}

/// The key of the one object that can be selected, if the options name it.
fn single(call: &Call, options: &ListOptions) -> Option<Key> {
    let in_one_place = !call.path.namespace.is_empty() || call.row.scope == crate::registry::Scope::Cluster;
    options.single_name().filter(|_| in_one_place).map(|name| call.key(name))
}

/// The history of a page is gone: the client may go on with the newest state, or begin again.
fn expired(error: WatchError, after: &str) -> Refused {
    match error {
        WatchError::Stopped => error.into(),
        WatchError::Expired { .. } => {
            let why = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
            let go_on = token(&Continue { revision: None, after: after.to_owned() });
            Refused::from(Failure::Expired(why.to_owned())).continued(go_on)
        }
    }
}

/// Shows a page as the client wants it.
pub(crate) fn render(call: &Call, page: Page) -> Answer {
    let row = &call.row;
    let wanted = call.wanted()?;
    let meta = list_meta(&page);
    let values = || page.entries.iter().map(|e| e.value()).collect::<Vec<Value>>();
    let whole = match wanted.form {
        Form::Object if wanted.encoding == Encoding::Json => {
            return Ok(answer::json(StatusCode::OK, axum::body::Body::from_stream(stream(row, &meta, page.entries))));
        }
        Form::Object => json!({"kind": row.list_kind(), "apiVersion": row.api_version(), "metadata": meta,
            "items": values()}),
        Form::MetadataList => shape::metadata_list(meta, values().iter()),
        Form::Table(include) => {
            let now = coracle_api::clock::now();
            shape::table(row, meta, values().iter(), include, shape::Columns::Stated, now)
        }
        Form::Metadata => {
            let name = shape::type_name(row, &row.list_kind());
            let why = format!("you requested PartialObjectMetadata, but the requested object is a list ({name})");
            return Err(Refused::from(Failure::NotAcceptable(String::new())).saying(why));
        }
    };
    Ok(answer::value(StatusCode::OK, &whole, wanted.encoding))
}

fn list_meta(page: &Page) -> Value {
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    let map = crate::object::map_mut(&mut meta);
    if let Some(next) = &page.next {
        map.insert("continue".to_owned(), next.clone().into());
    }
    if let Some(remaining) = page.remaining {
        map.insert("remainingItemCount".to_owned(), remaining.into());
    }
    meta
}

type Chunk = Result<Bytes, std::convert::Infallible>;

/// The list in pieces, made as they are sent.
fn stream(row: &Row, meta: &Value, entries: Vec<Arc<Entry>>) -> impl futures::Stream<Item = Chunk> + Send + 'static {
    let head =
        format!(r#"{{"kind":"{}","apiVersion":"{}","metadata":{meta},"items":["#, row.list_kind(), row.api_version());
    let mut entries = entries.into_iter().peekable();
    let mut first = Some(head);
    let mut done = false;
    futures::stream::iter(std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES.min(4096));
        if let Some(head) = first.take() {
            chunk.put_slice(head.as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(entry) = entries.next() else {
                chunk.put_slice(b"]}\n");
                done = true;
                break;
            };
            put_item(&mut chunk, entry.bytes());
            if entries.peek().is_some() {
                chunk.put_u8(b',');
            }
        }
        Some(Ok(chunk.freeze()))
    }))
}

/// An object without its `apiVersion` and `kind`, which a list says once and its items do not repeat.
fn put_item(chunk: &mut BytesMut, item: &Bytes) {
    let mut kept_to = 0;
    for member in Members::of(item) {
        if member.is(b"apiVersion") || member.is(b"kind") {
            chunk.put_slice(item.get(kept_to..member.start).unwrap_or_default());
            kept_to = member.end;
        }
        // Members are in order: those that come after say no more of this.
        if member.is(b"kind") {
            break;
        }
    }
    chunk.put_slice(item.get(kept_to..).unwrap_or_default());
}
