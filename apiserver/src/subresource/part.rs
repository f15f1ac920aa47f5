//! Subresources that are a part of the object: reading one is reading the object, writing one writes that part.

use coracle_api::failure::Failure;

use crate::admit::Part;
use crate::answer::Answer;
use crate::machine::Call;
use crate::request::Verb;
use crate::verbs::{get, patch, update};

/// Reads or writes the part.
pub(super) async fn perform(verb: Verb, call: &Call, part: Part) -> Answer {
    match verb {
        Verb::Get => get::get(call).await,
        Verb::Update => update::replace(call, part).await,
        Verb::Patch => patch::patch_part(call, part).await,
        Verb::List | Verb::Watch | Verb::Create | Verb::Delete | Verb::DeleteCollection => {
            Err(Failure::MethodNotAllowed.into())
        }
    }
}
