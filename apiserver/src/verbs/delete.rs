//! Deleting one object: at once, or marked and kept until what holds it lets go.

use axum::response::Response;
use coracle_api::clock;
use coracle_api::failure::Failure;
use coracle_api::field::FieldError;
use http::StatusCode;
use serde_json::{Value, json};

use super::write::{self, Attempt, Written};
use crate::admit;
use crate::answer::{Answer, Refused, refused, warn};
use crate::body;
use crate::machine::Call;
use crate::object::deletion::{Plan, check_preconditions, plan};
use crate::object::text;
use crate::options::Run;
use crate::options::delete::{DeleteOptions, IgnoreReadError, parse};
use crate::policy::{Farewell, Policy, deletion_warning};
use crate::store::{Action, Entry, Expect};

/// How often a deletion is decided anew on the newest state before the client is told to try again.
const ATTEMPTS_MAX: usize = 64;

/// What became of an object.
pub(crate) enum Outcome {
    /// It is still there.
    Kept(Written),
    /// It is gone; its last state.
    Gone(Value),
}

/// Deletes the object that the path names.
pub(crate) async fn delete(call: &Call) -> Answer {
    let options = options(call)?;
    let answer = match remove(call, &call.path.name, &options).await? {
        Outcome::Kept(written) => call.show(StatusCode::OK, &written.shown()),
        Outcome::Gone(last) => match Policy::of(&call.row).farewell {
            Farewell::Object => call.show(StatusCode::OK, &Written::Unstored(last).shown()),
            Farewell::Status => Ok(crate::answer::json(StatusCode::OK, success(call, &last).to_string())),
        },
    };
    Ok(warned(call, &options, answer?))
}

/// The options of a deletion, from the body or the query.
pub(crate) fn options(call: &Call) -> Result<DeleteOptions, Refused> {
    let body = body::options(&call.body, &call.headers, "DeleteOptions")?;
    parse(&call.query, body.as_ref())
}

/// The answer with a warning for those who did not say what becomes of the dependents, where that surprises.
pub(crate) fn warned(call: &Call, options: &DeleteOptions, answer: Response) -> Response {
    match deletion_warning(&call.row).filter(|_| options.propagation.is_none()) {
        Some(warning) => warn(answer, &[warning.to_owned()]),
        None => answer,
    }
}

/// Deletes an object by name.
pub(crate) async fn remove(call: &Call, name: &str, options: &DeleteOptions) -> Result<Outcome, Refused> {
    admit::delete(&call.machine, &call.row, name)?;
    let key = call.key(name);
    for _ in 0..ATTEMPTS_MAX {
        let Some(entry) = call.store().get(&key) else { return Err(Refused::not_found(&call.row, name)) };
        if let Some(outcome) = attempt(call, &entry, options).await? {
            return Ok(outcome);
        }
    }
    Err(Failure::modified(refused::about(&call.row, name)).into())
}

/// Nothing: the object changed meanwhile.
async fn attempt(call: &Call, entry: &Entry, options: &DeleteOptions) -> Result<Option<Outcome>, Refused> {
    let object = entry.value();
    check_preconditions(&call.row, &object, options)?;
    if options.ignore_read_error == IgnoreReadError::Yes {
        return Err(readable(call, entry.key().name()));
    }
    let (key, expect) = (entry.key().clone(), Expect::At(entry.revision()));
    match plan(Policy::of(&call.row), object.clone(), options, clock::now()) {
        Plan::Leave => Ok(Some(Outcome::Kept(Written::Unstored(object)))),
        Plan::Keep(state) if options.run == Run::Dry || state == object => {
            Ok(Some(Outcome::Kept(Written::Unstored(state))))
        }
        Plan::Keep(state) => {
            let put = Action::Put(write::encode(&admit::of_our_own(state))?);
            match write::commit(call, key, expect, put).await? {
                Attempt::Done(Some(stored)) => Ok(Some(Outcome::Kept(Written::Stored(stored)))),
                Attempt::Done(None) | Attempt::Lost(_) => Ok(None),
            }
        }
        Plan::Remove(last) if options.run == Run::Dry => Ok(Some(Outcome::Gone(last))),
        Plan::Remove(last) => match write::commit(call, key, expect, Action::Delete).await? {
            Attempt::Done(_) => {
                admit::release(&call.machine, &call.row, &last);
                Ok(Some(Outcome::Gone(last)))
            }
            Attempt::Lost(_) => Ok(None),
        },
    }
}

/// An object that can be read is not deleted by force.
fn readable(call: &Call, name: &str) -> Refused {
    let detail = "is exclusively used to delete corrupt object(s), try again by removing this option";
    let error = FieldError::invalid("ignoreStoreReadErrorWithClusterBreakingPotential", true, detail);
    Failure::Invalid { about: refused::about(&call.row, name), errors: vec![error] }.into()
}

fn success(call: &Call, last: &Value) -> Value {
    let mut details = json!({"name": text(last, "name"), "kind": call.row.plural, "uid": text(last, "uid")});
    if !call.row.group.is_empty() {
        crate::object::map_mut(&mut details).insert("group".to_owned(), call.row.group.into());
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
