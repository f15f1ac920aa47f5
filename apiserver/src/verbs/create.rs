//! Making an object.

use std::sync::Arc;

use coracle_api::clock;
use coracle_api::failure::Failure;
use http::StatusCode;
use serde_json::Value;

use super::write::{self, Attempt, Written};
use crate::admit::{self, Managed};
use crate::answer::{Answer, Refused, refused, warn};
use crate::body::{self, Expected};
use crate::machine::Call;
use crate::object::{self, name, text};
use crate::options::Run;
use crate::options::write::parse;
use crate::store::{Action, Entry, Expect};

/// Makes the object of the body.
pub(crate) async fn create(call: &Call) -> Answer {
    let options = parse(&call.query, "CreateOptions")?;
    let row = &call.row;
    let expected = Expected { api_version: &row.api_version(), kind: row.kind, schema: Some(row.schema) };
    let decoded = body::object(&call.body, &call.headers, &expected, options.validation)?;
    let writer = call.writer(&options);
    let (written, mut warnings) = insert(call, decoded.object, options.run, Managed::By(&writer)).await?;
    warnings.splice(0..0, decoded.warnings);
    Ok(warn(call.show(StatusCode::CREATED, &written.shown())?, &warnings))
}

/// Makes an object, under a generated name if it has none; tells the warnings about it too.
pub(crate) async fn insert(
    call: &Call,
    sent: Value,
    run: Run,
    managed: Managed<'_>,
) -> Result<(Written, Vec<String>), Refused> {
    super::check_namespace(call, text(&sent, "namespace"))?;
    if !matches!(text(&sent, "resourceVersion"), "" | "0") {
        return Err(Refused::unclassified("resourceVersion should not be set on objects to be created"));
    }
    let prefix = text(&sent, "generateName").to_owned();
    if !text(&sent, "name").is_empty() || prefix.is_empty() {
        return match attempt(call, sent, run, managed).await? {
            Ok(made) => Ok(made),
            Err((taken, current)) => Err(already_exists(call, &prefix, &taken, current.as_deref())),
        };
    }
    let mut taken = String::new();
    for _ in 0..name::ATTEMPTS_MAX {
        let mut named = sent.clone();
        object::set(&mut named, "name", name::generate(&prefix, name::random()));
        match attempt(call, named, run, managed).await? {
            Ok(made) => return Ok(made),
            Err((name, _)) => taken = name,
        }
    }
    Err(already_exists(call, &prefix, &taken, None))
}

type Made = (Written, Vec<String>);
type Taken = (String, Option<Arc<Entry>>);

/// One attempt; the inner error is that the name is taken.
async fn attempt(
    call: &Call,
    mut object: Value,
    run: Run,
    managed: Managed<'_>,
) -> Result<Result<Made, Taken>, Refused> {
    let uid = uuid::Uuid::new_v4().to_string();
    object::begin(&mut object, &call.row, &call.path.namespace, uid, clock::now());
    admit::wait(&call.machine, &call.row, &object).await;
    let (admitted, reserved) = admit::create(&call.machine, &call.row, object, managed)?;
    let name = text(admitted.value(), "name").to_owned();
    let warnings = admitted.warnings().to_vec();
    let key = call.key(&name);
    if run == Run::Dry {
        return Ok(match call.store().get(&key) {
            Some(current) => Err((name, Some(current))),
            None => Ok((Written::Unstored(admitted.value().clone()), warnings)),
        });
    }
    let put = Action::Put(write::encode(&admitted)?);
    Ok(match write::commit(call, key, Expect::Absent, put).await? {
        Attempt::Lost(current) => Err((name, current)),
        Attempt::Done(stored) => {
            reserved.keep();
            let unstored = || Written::Unstored(admitted.value().clone());
            Ok((stored.map_or_else(unstored, Written::Stored), warnings))
        }
    })
}

/// A refusal because the name is taken. The client that asked for a generated one may try again.
fn already_exists(call: &Call, prefix: &str, name: &str, current: Option<&Entry>) -> Refused {
    let failure = Failure::AlreadyExists { about: refused::about(&call.row, name) };
    let sentence = failure.to_string();
    let refused = Refused::from(failure);
    if current.is_some_and(|entry| object::is_terminating(&entry.value())) {
        refused.saying(format!("object is being deleted: {sentence}"))
    } else if prefix.is_empty() {
        refused
    } else {
        let why = "the server was not able to generate a unique name for the object";
        refused.saying(format!("{sentence}, {why}")).retry_after(1)
    }
}
