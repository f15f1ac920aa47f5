//! The proof that an object passed the whole chain: only this module makes an [`Admitted`], and the store takes
//! nothing else.
//!
//! The order of admission stands in [`create`] and [`update`], one line a step. What may be switched off is a plugin,
//! see [`plugins`].

pub(crate) mod attributes;
pub(crate) mod plugins;

mod always_deny;
mod always_pull_images;
mod claim_resize;
mod default_ingress_class;
mod default_storage_class;
mod default_tolerations;
mod external_ips;
mod lifecycle;
mod namespace_exists;
mod node_taint;
mod priority;
mod service_account;
mod storage_in_use;

use std::time::Duration;

use coracle_api::field::FieldError;
use serde_json::Value;

use crate::answer::Refused;
use crate::apply::{Typed, Writer, entries, update as managers};
use crate::body;
use crate::machine::Machine;
use crate::object;
use crate::registry::addresses::Assigned;
use crate::registry::{Row, Subresource, Verdict, meta};
use crate::store::{Key, Prefix};
use attributes::{Attributes, Operation};
pub use plugins::without_effect;

/// How long to wait for what a controller is about to make: as long as upstream tries again.
const AWAITS: Duration = Duration::from_secs(1);

/// An object that was decoded, defaulted, admitted and validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    object: Value,
    warnings: Vec<String>,
}

impl Admitted {
    /// The object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.object
    }

    /// What is allowed but odd about it.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// An object that a test vouches for.
    #[cfg(test)]
    pub(crate) fn for_tests(object: Value) -> Self {
        of_our_own(object)
    }
}

/// What was set aside for an object while it was admitted: given back when dropped, kept once it is stored.
#[must_use]
pub(crate) struct Reserved(Option<Assigned>);

impl Reserved {
    /// The object is stored: what was set aside is its own.
    pub(crate) fn keep(self) {
        if let Some(assigned) = self.0 {
            assigned.commit();
        }
    }
}

/// Which part of an object a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but its status.
    Spec,
    /// Its status.
    Status,
    /// What another subresource is for.
    Below(Subresource),
}

/// Who manages the fields that are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Managed<'a> {
    /// The writer takes over what it changes.
    By(&'a Writer),
    /// The object says so already.
    AsStated,
}

/// How an object is changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// Which part.
    pub(crate) part: Part,
    /// What the client sent.
    pub(crate) source: Source,
    /// Who manages what changes.
    pub(crate) managed: Managed<'a>,
}

/// How far a changed object has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// It stands in the body, and may be none of its kind.
    Body,
    /// It has passed through its strategy's `default` already: a patch was made of it.
    Typed,
}

/// Waits for what the new object needs and a controller is about to make, but not for long: what is missing then,
/// [`create`] says.
pub(crate) async fn wait(machine: &Machine, row: &Row, object: &Value) {
    let attributes = Attributes { machine, row, operation: Operation::Create };
    let Some(key) = machine.plugins.awaits(&attributes, object) else { return };
    if machine.store.get(&key).is_none() {
        // Whether it came or time ran out is seen by who looks for it.
        let _ = tokio::time::timeout(AWAITS, appears(machine, &key)).await;
    }
}

async fn appears(machine: &Machine, key: &Key) {
    let Ok(mut watcher) = machine.store.watch(&Prefix::object(key), machine.store.revision()) else { return };
    while machine.store.get(key).is_none() && watcher.next().await.is_ok() {}
}

/// Admits a new object, whose metadata has begun.
pub(crate) fn create(
    machine: &Machine,
    row: &Row,
    sent: Value,
    managed: Managed<'_>,
) -> Result<(Admitted, Reserved), Refused> {
    let mut sent = sent;
    let entries = entries::set_aside(&mut sent, None);
    let attributes = Attributes { machine, row, operation: Operation::Create };
    let mut object = defaulted(row, sent)?;
    manage(row, &mut object, None, entries, managed);
    machine.plugins.mutate(&attributes, &mut object)?;
    row.strategy.prepare_for_create(&mut object);
    let reserved = reserve(machine, row, &mut object, None)?;
    let mut errors = meta::validate(&object, row);
    let verdict = row.strategy.judge(&object);
    errors.extend(verdict.errors);
    refuse(row, &object, errors)?;
    machine.plugins.validate(&attributes, &object)?;
    Ok((Admitted { object, warnings: verdict.warnings }, reserved))
}

/// Admits the deletion of the object of this name.
pub(crate) fn delete(machine: &Machine, row: &Row, name: &str) -> Result<(), Refused> {
    machine.plugins.delete(&Attributes { machine, row, operation: Operation::Delete }, name)
}

/// Admits an object that the server itself makes at its start. It is not validated: the server may be reached at an
/// address that would be wrong for anybody else to write, such as a loopback address.
pub(crate) fn create_our_own(
    machine: &Machine,
    row: &Row,
    made: Value,
    writer: &Writer,
) -> Result<(Admitted, Reserved), Refused> {
    let mut object = defaulted(row, made)?;
    manage(row, &mut object, None, None, Managed::By(writer));
    row.strategy.prepare_for_create(&mut object);
    let reserved = reserve(machine, row, &mut object, None)?;
    Ok((of_our_own(object), reserved))
}

/// Admits a change of an object, whose metadata has been carried over.
pub(crate) fn update(
    machine: &Machine,
    row: &Row,
    sent: Value,
    old: &Value,
    manner: Manner<'_>,
) -> Result<(Admitted, Reserved), Refused> {
    let Manner { part, source, managed } = manner;
    let mut sent = sent;
    let entries = entries::set_aside(&mut sent, Some(old));
    let mut object = match source {
        Source::Body => defaulted(row, sent)?,
        Source::Typed => sent,
    };
    manage(row, &mut object, Some(old), entries, managed);
    let attributes = Attributes { machine, row, operation: Operation::Update { old, part } };
    machine.plugins.mutate(&attributes, &mut object)?;
    match part {
        Part::Spec => row.strategy.prepare_for_update(&mut object, old),
        Part::Status => row.strategy.prepare_for_status_update(&mut object, old),
        Part::Below(part) => row.strategy.prepare_for_part_update(part, &mut object, old),
    }
    object::count_generation(row, &mut object, old);
    let reserved = match part {
        Part::Spec => reserve(machine, row, &mut object, Some(old))?,
        Part::Status | Part::Below(_) => Reserved(None),
    };
    let mut errors = meta::validate_update(&object, old, row);
    let verdict = match part {
        Part::Spec => row.strategy.judge_update(&object, old),
        Part::Status => errors_only(row.strategy.validate_status_update(&object, old)),
        Part::Below(part) => errors_only(row.strategy.validate_part_update(part, &object, old)),
    };
    errors.extend(verdict.errors);
    refuse(row, &object, errors)?;
    machine.plugins.validate(&attributes, &object)?;
    entries::keep_times(&mut object, old);
    Ok((Admitted { object, warnings: verdict.warnings }, reserved))
}

fn errors_only(errors: Vec<FieldError>) -> Verdict {
    Verdict { errors, warnings: Vec::new() }
}

/// A state that the machinery itself gives to an object which was admitted before: marked for deletion, bound.
pub(crate) fn of_our_own(object: Value) -> Admitted {
    Admitted { object, warnings: Vec::new() }
}

/// An object is gone: what it held is free again.
pub(crate) fn release(machine: &Machine, row: &Row, object: &Value) {
    if has_addresses(row) {
        machine.addresses.release(object);
    }
}

/// Writes down who manages the fields of an object that has been decoded.
fn manage(row: &Row, object: &mut Value, old: Option<&Value>, entries: Option<Value>, managed: Managed<'_>) {
    entries::take(object);
    match managed {
        Managed::By(writer) => managers::track(&Typed::of(row, &writer.subresource), old, object, entries, writer),
        Managed::AsStated => {
            if let Some(entries) = entries {
                entries::put_value(object, entries);
            }
        }
    }
}

fn defaulted(row: &Row, sent: Value) -> Result<Value, Refused> {
    row.strategy.default(sent).map_err(|error| body::unparsable(row, &error.0))
}

fn has_addresses(row: &Row) -> bool {
    (row.group, row.plural) == ("", "services")
}

fn reserve(machine: &Machine, row: &Row, object: &mut Value, old: Option<&Value>) -> Result<Reserved, Refused> {
    if !has_addresses(row) {
        return Ok(Reserved(None));
    }
    let assigned = machine.addresses.assign(object, old);
    let assigned = assigned.map_err(|errors| Refused::invalid(row, object::text(object, "name"), errors))?;
    Ok(Reserved(Some(assigned)))
}

fn refuse(row: &Row, object: &Value, errors: Vec<FieldError>) -> Result<(), Refused> {
    if errors.is_empty() { Ok(()) } else { Err(Refused::invalid(row, object::text(object, "name"), errors)) }
}
