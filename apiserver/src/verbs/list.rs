//! Reading a collection: consistent at one revision, in pages, streamed out of the stored bytes.
//!
//! Only what is sent is touched, unless something is selected; nothing is parsed but for a Table's cells.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use coracle_api::failure::Failure;
use coracle_api::revision::Revision;
use http::StatusCode;
use serde_json::{Value, json};

use super::{history, selection};
use crate::answer::pretty::Indenter;
use crate::answer::{self, Answer, Encoding, Form, Refused, Wanted, shape};
use crate::machine::Call;
use crate::options::list::{Continue, From, ListOptions, Use, parse, token};
use crate::registry::Row;
use crate::store::{Entry, Key, Prefix, Stretch, WatchError};

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
pub(crate) async fn list(call: &Call) -> Answer {
    let wanted = call.wanted()?;
    let options = parse(&call.query, &call.row, Use::List)?;
    let page = page(call, &options).await?;
    render(call, wanted, page)
}

/// The page that the options name.
pub(crate) async fn page(call: &Call, options: &ListOptions) -> Result<Page, Refused> {
    if let From::NotOlderThan(revision) = options.from {
        call.reached(revision).await?;
    }
    let prefix = call.prefix();
    let limit = match (options.from, &options.continue_) {
        (From::Any, None) => None,
        _ => options.limit,
    };
    let most = limit.filter(|_| options.selects_all()).unwrap_or(usize::MAX);
    let Stretch { revision, mut entries, left } = stretch(call, options, &prefix, most)?;
    let mut page = Page { revision, entries: Vec::new(), next: None, remaining: None };
    let more = if options.selects_all() {
        page.remaining = Some(left).filter(|left| *left > 0);
        left > 0
    } else {
        select(&mut entries, options, limit) == More::Unread
    };
    page.entries = entries;
    if let Some(last) = page.entries.last().filter(|_| more) {
        let start = format!("{}\0", prefix.rest(last.key()));
        page.next = Some(token(&Continue { revision: Some(revision), start }));
    }
    Ok(page)
}

/// Whether objects were left unread because there were enough.
#[derive(PartialEq, Eq)]
enum More {
    Unread,
    Nothing,
}

/// Keeps what is selected, until there is enough. As upstream, it does not look whether more would be selected.
fn select(entries: &mut Vec<Arc<Entry>>, options: &ListOptions, limit: Option<usize>) -> More {
    let limit = limit.unwrap_or(usize::MAX);
    let mut selected = Vec::new();
    let mut read = 0;
    for entry in entries.iter() {
        if selected.len() == limit {
            break;
        }
        read += 1;
        if selection::selects(options, entry) {
            selected.push(Arc::clone(entry));
        }
    }
    let more = if read < entries.len() { More::Unread } else { More::Nothing };
    *entries = selected;
    more
}

fn stretch(call: &Call, options: &ListOptions, prefix: &Prefix, most: usize) -> Result<Stretch, Refused> {
    let seen = call.store();
    let store = &*seen;
    let start = options.continue_.as_ref().map_or("", |continue_| continue_.start.as_str());
    if let Some(Continue { revision: Some(revision), .. }) = &options.continue_ {
        return history::stretch_at(store, prefix, start, most, *revision).map_err(|error| lost_page(error, start));
    }
    if let (From::Exact(revision), None) = (options.from, &options.continue_) {
        if revision > store.revision() {
            return Err(Refused::unclassified("etcdserver: mvcc: required revision is a future revision"));
        }
        return history::stretch_at(store, prefix, start, most, revision).map_err(lost_list);
    }
    match single(call, options) {
        Some(key) => Ok(store.stretch(&Prefix::object(&key), "", most)),
        None => Ok(store.stretch(prefix, start, most)),
    }
}

/// The key of the one object that can be selected, if the options name it.
fn single(call: &Call, options: &ListOptions) -> Option<Key> {
    let in_one_place = !call.path.namespace.is_empty() || call.row.scope == crate::registry::Scope::Cluster;
    options.single_name().filter(|_| in_one_place && options.continue_.is_none()).map(|name| call.key(name))
}

/// The history of a list is gone.
fn lost_list(error: WatchError) -> Refused {
    match error {
        WatchError::Stopped => error.into(),
        WatchError::Expired { .. } => {
            Failure::Expired("The resourceVersion for the provided list is too old.".to_owned()).into()
        }
    }
}

/// The history of a page is gone: the client may go on with the newest state, or begin again.
fn lost_page(error: WatchError, start: &str) -> Refused {
    match error {
        WatchError::Stopped => error.into(),
        WatchError::Expired { .. } => {
            let why = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
            let go_on = token(&Continue { revision: None, start: start.to_owned() });
            Refused::from(Failure::Expired(why.to_owned())).continued(go_on)
        }
    }
}

/// Shows a page as the client wants it.
pub(crate) fn render(call: &Call, wanted: Wanted, page: Page) -> Answer {
    let row = &call.row;
    if wanted.form == Form::Metadata {
        let name = shape::type_name(row, &row.list_kind());
        let why = format!("you requested PartialObjectMetadata, but the requested object is a list ({name})");
        return Err(Refused::from(Failure::NotAcceptable(String::new())).saying(why));
    }
    let head = shape::list_head(row, wanted, &list_meta(&page));
    let mut pieces = pieces(Arc::clone(row), wanted, head, page.entries);
    match wanted.encoding {
        Encoding::Json => Ok(streamed(pieces)),
        Encoding::Pretty => {
            let mut indenter = Indenter::default();
            Ok(streamed(pieces.map(move |piece| {
                let mut indented = Vec::new();
                indenter.put(&mut indented, &piece);
                indented.into()
            })))
        }
        Encoding::Yaml => {
            let mut whole = Vec::new();
            pieces.by_ref().for_each(|piece| whole.extend_from_slice(&piece));
            Ok(answer::encoded(StatusCode::OK, whole.into(), wanted.encoding))
        }
    }
}

/// An answer that is made as it is sent.
fn streamed(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Response {
    let body = futures::stream::iter(pieces.map(Ok::<Bytes, std::convert::Infallible>));
    answer::json(StatusCode::OK, axum::body::Body::from_stream(body))
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

/// The list in pieces, made as they are sent.
fn pieces(row: Arc<Row>, wanted: Wanted, head: String, entries: Vec<Arc<Entry>>) -> impl Iterator<Item = Bytes> + Send {
    let now = coracle_api::clock::now();
    let mut entries = entries.into_iter().peekable();
    let mut head = Some(head);
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let likely = entries.peek().map_or(0, |entry| entry.bytes().len());
        let mut piece = Vec::with_capacity(CHUNK_BYTES.min(likely.saturating_mul(entries.len())) + CHUNK_BYTES / 8);
        if let Some(head) = head.take() {
            piece.extend_from_slice(head.as_bytes());
        }
        while piece.len() < CHUNK_BYTES {
            let Some(entry) = entries.next() else {
                piece.extend_from_slice(b"]}\n");
                done = true;
                break;
            };
            shape::put_item(&mut piece, &row, wanted, entry.bytes(), now);
            if entries.peek().is_some() {
                piece.push(b',');
            }
        }
        Some(piece.into())
    })
}
