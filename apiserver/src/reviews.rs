//! Reviews: questions in the shape of objects. They are answered at once and never kept.
//!
//! One table says which resources are questions, as [`policy`](crate::policy) does for how objects go.

mod access;
mod token;
mod who;

use coracle_api::failure::{About, Failure};
use coracle_api::field::FieldError;
use http::StatusCode;
use serde_json::Value;

use crate::answer::{Answer, Refused, warn};
use crate::body::{self, Expected};
use crate::machine::{Call, Shown};
use crate::object::{map_mut, metadata_mut};
use crate::options::write::parse;
use crate::registry::{Row, Scope};

/// What gives an answer: the question becomes the answer.
type Review = fn(&Call, Value) -> Result<Value, Refused>;

/// What answers the objects of this resource, if they are questions.
pub(crate) fn of(row: &Row) -> Option<Review> {
    match (row.group, row.plural) {
        ("authentication.k8s.io", "tokenreviews") => Some(token::review),
        ("authentication.k8s.io", "selfsubjectreviews") => Some(who::review),
        ("authorization.k8s.io", "subjectaccessreviews") => Some(access::of_anybody),
        ("authorization.k8s.io", "localsubjectaccessreviews") => Some(access::of_anybody_here),
        ("authorization.k8s.io", "selfsubjectaccessreviews") => Some(access::of_oneself),
        ("authorization.k8s.io", "selfsubjectrulesreviews") => Some(access::rules),
        _ => None,
    }
}

/// Answers the question of the body.
pub(crate) fn answer(call: &Call, review: Review) -> Answer {
    let options = parse(&call.query, "CreateOptions")?;
    let row = &call.row;
    let expected = Expected { api_version: &row.api_version(), kind: row.kind, schema: Some(row.schema) };
    let decoded = body::object(&call.body, &call.headers, &expected, options.validation)?;
    crate::verbs::check_namespace(call, crate::object::text(&decoded.object, "namespace"))?;
    let mut asked = row.strategy.default(decoded.object).map_err(|error| body::unparsable(row, &error.0))?;
    let metadata = metadata_mut(&mut asked);
    metadata.remove("managedFields");
    if row.scope == Scope::Namespaced {
        metadata.insert("namespace".to_owned(), call.path.namespace.as_str().into());
    }
    let answered = review(call, asked)?;
    Ok(warn(call.show(StatusCode::CREATED, &Shown::Value(&answered))?, &decoded.warnings))
}

/// The question with its answer.
fn with_status(mut asked: Value, status: Value) -> Value {
    map_mut(&mut asked).insert("status".to_owned(), status);
    asked
}

/// A refusal of a question that makes no sense; upstream names neither kind nor object.
fn invalid(call: &Call, errors: Vec<FieldError>) -> Result<(), Refused> {
    if errors.is_empty() {
        return Ok(());
    }
    let about = About { group: call.row.group.to_owned(), ..About::default() };
    let sentence = format!(".{} \"\" is invalid: {}", call.row.group, coracle_api::field::aggregate(&errors));
    Err(Refused::from(Failure::Invalid { about, errors }).saying(sentence))
}
