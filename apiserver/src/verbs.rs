//! The verbs, one file each: what a client may do with the objects of a row.
//!
//! A verb knows its row and never its kind. Writes go through [`write`], so that conflicts are met in one place.

pub(crate) mod apply;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod delete_collection;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod update;
pub(crate) mod watch;

mod history;
mod selection;
pub(crate) mod write;

use crate::answer::{Answer, Refused};
use crate::machine::Call;
use crate::request::Verb;
use crate::reviews;
use crate::usage;

/// Does what the request asks with the object or collection that it names.
pub(crate) async fn perform(verb: Verb, call: &Call) -> Answer {
    if let Some(review) = reviews::of(&call.row) {
        return reviews::answer(call, review);
    }
    if let Some(of) = usage::of(&call.row) {
        return usage::answer(verb, call, of).await;
    }
    match verb {
        Verb::Get => get::get(call).await,
        Verb::List => list::list(call).await,
        Verb::Watch => watch::watch(call).await,
        Verb::Create => create::create(call).await,
        Verb::Update => update::update(call).await,
        Verb::Patch => patch::patch(call).await,
        Verb::Delete => delete::delete(call).await,
        Verb::DeleteCollection => delete_collection::delete_collection(call).await,
    }
}

/// A name in the body must be the one in the path, and so must the namespace.
pub(crate) fn check_place(call: &Call, object: &serde_json::Value) -> Result<(), Refused> {
    use crate::object::text;
    let (name, namespace) = (text(object, "name"), text(object, "namespace"));
    let wanted = &call.path.name;
    if name.is_empty() {
        let why = format!("the name of the object ({wanted} based on URL) was undeterminable: name must be provided");
        return Err(Refused::bad_request(why));
    }
    if name != wanted {
        let why = format!("the name of the object ({name}) does not match the name on the URL ({wanted})");
        return Err(Refused::bad_request(why));
    }
    check_namespace(call, namespace)
}

/// A namespace in the body must be the one in the path. Objects of the cluster have none, whatever the body says.
pub(crate) fn check_namespace(call: &Call, namespace: &str) -> Result<(), Refused> {
    if call.path.namespace.is_empty() || namespace.is_empty() || namespace == call.path.namespace {
        return Ok(());
    }
    let why = "the namespace of the provided object does not match the namespace sent on the request";
    Err(Refused::bad_request(why))
}
