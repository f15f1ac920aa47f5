//! Deleting a collection: each selected object as if it were deleted alone.

use std::sync::Arc;

use super::delete::{options, remove, warned};
use super::list::{self, Page};
use crate::answer::Answer;
use crate::machine::Call;
use crate::options::list::Use;
use crate::store::Entry;

/// Deletes what the path and the selectors name. Objects that went meanwhile are no failure.
pub(crate) async fn delete_collection(call: &Call) -> Answer {
    let wanted = call.wanted()?;
    let selected = crate::options::list::parse(&call.query, &call.row, Use::List)?;
    let options = options(call)?;
    let page = list::page(call, &selected).await?;
    let mut deleted: Vec<Arc<Entry>> = Vec::with_capacity(page.entries.len());
    for entry in page.entries {
        let place = crate::request::ResourcePath {
            namespace: entry.key().namespace().to_owned(),
            name: entry.key().name().to_owned(),
            ..call.path.clone()
        };
        let one = Call {
            machine: Arc::clone(&call.machine),
            user: call.user.clone(),
            row: Arc::clone(&call.row),
            path: place,
            query: String::new(),
            headers: call.headers.clone(),
            body: bytes::Bytes::new(),
            agent: call.agent.clone(),
            upgrade: None,
        };
        match remove(&one, entry.key().name(), &options).await {
            Ok(_) => deleted.push(entry),
            Err(refused) if refused.code() == http::StatusCode::NOT_FOUND => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(warned(call, &options, list::render(call, wanted, Page { entries: deleted, ..page })?))
}
