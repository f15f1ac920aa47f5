//! `scale`: how many replicas, in one shape for all kinds that have them.

use coracle_api::failure::{About, Failure};
use http::StatusCode;
use serde_json::Value;

use crate::admit::{Part, Source};
use crate::answer::{Answer, Refused, warn};
use crate::body::{self, Expected};
use crate::machine::{Call, Shown};
use crate::object::text;
use crate::options::write::parse;
use crate::registry::Unparsable;
use crate::request::Verb;
use crate::scale;
use crate::store::Entry;
use crate::verbs::update::check_version;
use crate::verbs::write::{self, Manner, OnConflict};
use crate::verbs::{check_place, patch};

const API_VERSION: &str = "autoscaling/v1";
const KIND: &str = "Scale";
const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Reads or writes the scale.
pub(super) async fn perform(verb: Verb, call: &Call) -> Answer {
    match verb {
        Verb::Get => {
            let shown = scale::of(&call.existing()?.value());
            show(call, &shown)
        }
        Verb::Update => update(call).await,
        Verb::Patch => change(call).await,
        Verb::List | Verb::Watch | Verb::Create | Verb::Delete | Verb::DeleteCollection => {
            Err(Failure::MethodNotAllowed.into())
        }
    }
}

async fn update(call: &Call) -> Answer {
    let options = parse(&call.query, "UpdateOptions")?;
    call.existing()?;
    let expected = Expected { api_version: API_VERSION, kind: KIND, schema: Some(SCHEMA) };
    let decoded = body::object(&call.body, &call.headers, &expected, options.validation)?;
    let wanted = scale::parse(decoded.object).map_err(|error| unparsable(&error))?;
    check_place(call, &wanted)?;
    let stated = !matches!(text(&wanted, "resourceVersion"), "" | "0");
    let on_conflict = if stated { OnConflict::Tell } else { OnConflict::Again };
    let transform = |entry: &Entry, old: &Value| {
        if stated {
            check_version(call, &wanted, entry)?;
        }
        scaled(call, old, &wanted)
    };
    let manner = Manner { part: Part::Spec, run: options.run, on_conflict, source: Source::Body };
    let written = write::change(call, manner, &transform).await?;
    Ok(warn(show(call, &scale::of(&written.value()))?, &decoded.warnings))
}

async fn change(call: &Call) -> Answer {
    let options = parse(&call.query, "PatchOptions")?;
    let kind = patch::kind(call)?;
    call.existing()?;
    let patch = patch::read(kind, &call.body)?;
    let transform = |entry: &Entry, old: &Value| {
        let before = scale::of(old);
        let patched = patch.apply(&before, SCHEMA).map_err(|error| error.failure())?;
        let wanted = scale::parse(patched.clone()).map_err(|error| patch::unfit(&patch, &patched, &error.0))?;
        if text(&wanted, "resourceVersion") != text(&before, "resourceVersion") {
            check_version(call, &wanted, entry)?;
        }
        scaled(call, old, &wanted)
    };
    let manner = Manner { part: Part::Spec, run: options.run, on_conflict: OnConflict::Again, source: Source::Typed };
    let written = write::change(call, manner, &transform).await?;
    show(call, &scale::of(&written.value()))
}

fn scaled(call: &Call, old: &Value, wanted: &Value) -> Result<Value, Refused> {
    let errors = scale::validate(wanted);
    if !errors.is_empty() {
        let about = About { group: "autoscaling".to_owned(), kind: KIND.to_owned(), name: call.path.name.clone() };
        return Err(Failure::Invalid { about, errors }.into());
    }
    let mut new = old.clone();
    scale::apply(&mut new, wanted);
    Ok(new)
}

fn unparsable(error: &Unparsable) -> Refused {
    Refused::bad_request(format!("{KIND} in version \"v1\" cannot be handled as a {KIND}: {error}"))
}

fn show(call: &Call, shown: &Value) -> Answer {
    call.show(StatusCode::OK, &Shown::Value(shown))
}
