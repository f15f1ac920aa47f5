//! `scale`: how many replicas, in one shape for all kinds that have them.

use coracle_api::failure::{About, Failure};
use http::StatusCode;
use serde_json::Value;

use crate::admit::{self, Managed, Part, Source};
use crate::answer::{Answer, Refused, warn};
use crate::apply::update::track;
use crate::apply::{self, Reset, Typed, Writer, entries};
use crate::body::{self, Expected};
use crate::machine::{Call, Shown};
use crate::object::text;
use crate::options::Run;
use crate::options::write::{WriteOptions, parse};
use crate::registry::Unparsable;
use crate::request::Verb;
use crate::scale;
use crate::store::Entry;
use crate::verbs::apply::Applied;
use crate::verbs::update::check_version;
use crate::verbs::write::{self, Manner, OnConflict};
use crate::verbs::{self, check_place, patch};

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
    let writer = writer(call, &options);
    let stated = !matches!(text(&wanted, "resourceVersion"), "" | "0");
    let on_conflict = if stated { OnConflict::Tell } else { OnConflict::Again };
    let transform = |entry: &Entry, old: &Value| {
        if stated {
            check_version(call, &wanted, entry)?;
        }
        scaled(call, old, wanted.clone(), Some(&writer))
    };
    let manner = manner(options.run, on_conflict, Source::Body);
    let written = write::change(call, manner, &transform).await?.written;
    Ok(warn(show(call, &scale::of(&written.value()))?, &decoded.warnings))
}

/// Applies a Scale.
async fn apply_scale(call: &Call) -> Answer {
    let applied = Applied::read(call, API_VERSION, KIND)?;
    let writer = writer(call, &applied.options);
    call.existing()?;
    let transform = |entry: &Entry, old: &Value| {
        let new = applied.to(&typed(), Some(&managed(old)), &writer)?;
        check_place(call, &new)?;
        if text(&new, "resourceVersion") != text(old, "resourceVersion") {
            check_version(call, &new, entry)?;
        }
        let entries = entries::stored(&new).cloned();
        let mut wanted = scale::parse(new).map_err(|error| unparsable(&error))?;
        entries::put_back(&mut wanted, entries);
        scaled(call, old, wanted, None)
    };
    let manner = manner(applied.options.run, OnConflict::Again, Source::Typed);
    let written = write::change(call, manner, &transform).await?.written;
    show(call, &scale::of(&written.value()))
}

async fn change(call: &Call) -> Answer {
    if verbs::apply::is_apply(call) {
        return apply_scale(call).await;
    }
    let options = parse(&call.query, "PatchOptions")?;
    let kind = patch::kind(call)?;
    call.existing()?;
    let patch = patch::read(kind, &call.body)?;
    let writer = writer(call, &options);
    let transform = |entry: &Entry, old: &Value| {
        let before = scale::of(old);
        let patched = patch.apply(&before, SCHEMA).map_err(|error| error.failure())?;
        let wanted = scale::parse(patched.clone()).map_err(|error| patch::unfit(&patch, &patched, &error.0))?;
        if text(&wanted, "resourceVersion") != text(&before, "resourceVersion") {
            check_version(call, &wanted, entry)?;
        }
        scaled(call, old, wanted, Some(&writer))
    };
    let manner = manner(options.run, OnConflict::Again, Source::Typed);
    let written = write::change(call, manner, &transform).await?.written;
    show(call, &scale::of(&written.value()))
}

/// The object with the replicas of its wanted Scale, managed by the writer if the Scale does not say by whom.
fn scaled(call: &Call, old: &Value, mut wanted: Value, writer: Option<&Writer>) -> Result<Value, Refused> {
    let errors = scale::validate(&wanted);
    if !errors.is_empty() {
        let about = About { group: "autoscaling".to_owned(), kind: KIND.to_owned(), name: call.path.name.clone() };
        return Err(Failure::Invalid { about, errors }.into());
    }
    if let Some(writer) = writer {
        track(&typed(), Some(&managed(old)), &mut wanted, None, writer);
    }
    let mut new = old.clone();
    scale::apply(&mut new, &wanted);
    apply::scale::take_over(&mut new, &call.row.api_version(), &wanted);
    Ok(new)
}

/// The Scale of an object, with who manages it.
fn managed(object: &Value) -> Value {
    let mut shown = scale::of(object);
    apply::scale::show(object, &mut shown);
    shown
}

fn typed() -> Typed<'static> {
    Typed::new(SCHEMA, Reset::These(&[], &[]))
}

fn writer(call: &Call, options: &WriteOptions) -> Writer {
    Writer { api_version: API_VERSION.to_owned(), ..call.writer(options) }
}

fn manner(run: Run, on_conflict: OnConflict, source: Source) -> Manner<'static> {
    let admitted = admit::Manner { part: Part::Spec, source, managed: Managed::AsStated };
    Manner { admitted, run, on_conflict }
}

fn unparsable(error: &Unparsable) -> Refused {
    Refused::bad_request(format!("{KIND} in version \"v1\" cannot be handled as a {KIND}: {error}"))
}

fn show(call: &Call, shown: &Value) -> Answer {
    call.show(StatusCode::OK, &Shown::Value(shown))
}
