//! `status`: reading it is reading the object; writing it writes the status and nothing else.

use coracle_api::failure::Failure;

use crate::admit::Part;
use crate::answer::Answer;
use crate::machine::Call;
use crate::request::Verb;
use crate::verbs::{get, patch, update};

/// Reads or writes the status.
pub(super) async fn perform(verb: Verb, call: &Call) -> Answer {
    match verb {
        Verb::Get => get::get(call),
        Verb::Update => update::replace(call, Part::Status).await,
        Verb::Patch => patch::patch_part(call, Part::Status).await,
        Verb::List | Verb::Watch | Verb::Create | Verb::Delete | Verb::DeleteCollection => {
            Err(Failure::MethodNotAllowed.into())
        }
    }
}
