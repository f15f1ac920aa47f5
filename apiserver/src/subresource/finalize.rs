//! `finalize`: changes `spec.finalizers` of a namespace, which no other write does; without any, a going namespace
//! is gone.

use http::StatusCode;

use crate::admit::{self, of_our_own};
use crate::answer::{Answer, Refused, refused};
use crate::body::{self, Expected};
use crate::machine::Call;
use crate::object::{self, deletion, map_mut};
use crate::options::Run;
use crate::options::write::parse;
use crate::policy::Policy;
use crate::store::{Action, Expect};
use crate::verbs::update::{check_uid, check_version};
use crate::verbs::write::{self, Attempt, Written};

/// How often it is tried anew on a namespace that changes meanwhile.
const ATTEMPTS_MAX: usize = 64;

/// Replaces the finalizers.
pub(super) async fn finalize(call: &Call) -> Answer {
    let options = parse(&call.query, "UpdateOptions")?;
    let row = &call.row;
    let expected = Expected { api_version: &row.api_version(), kind: row.kind, schema: Some(row.schema) };
    let sent = body::object(&call.body, &call.headers, &expected, options.validation)?.object;
    crate::verbs::check_place(call, &sent)?;
    for _ in 0..ATTEMPTS_MAX {
        let entry = call.existing()?;
        let old = entry.value();
        check_uid(call, &sent, &old)?;
        check_version(call, &sent, &entry)?;
        let mut new = sent.clone();
        object::carry_over(&mut new, &old);
        let mut new = row.strategy.default(new).map_err(|error| body::unparsable(row, &error.0))?;
        let status = old.get("status").cloned().unwrap_or_default();
        map_mut(&mut new).insert("status".to_owned(), status);
        let errors = row.strategy.validate(&new);
        if !errors.is_empty() {
            return Err(Refused::invalid(row, &call.path.name, errors));
        }
        let goes = deletion::ends_with_update(Policy::of(row).deletion, &new, &old);
        if options.run == Run::Dry || new == old && !goes {
            return call.show(StatusCode::OK, &Written::Unstored(new).shown());
        }
        let admitted = of_our_own(new);
        let action = if goes { Action::Delete } else { Action::Put(write::encode(&admitted)?) };
        let expect = Expect::At(entry.revision());
        if let Attempt::Done(stored) = write::commit(call, entry.key().clone(), expect, action).await? {
            let gone = || Written::Unstored(admitted.value().clone());
            let written = stored.filter(|_| !goes).map_or_else(gone, Written::Stored);
            if goes {
                admit::release(&call.machine, row, admitted.value());
            }
            return call.show(StatusCode::OK, &written.shown());
        }
    }
    Err(coracle_api::failure::Failure::modified(refused::about(row, &call.path.name)).into())
}
