//! Applying a configuration: merged into the object, what the manager let go pruned, and everybody's fields settled.

use serde_json::Value;

use super::compare::{Difference, compare, same};
use super::conflict::Conflict;
use super::entries::{self, BEFORE_FIRST_APPLY, Entry, Operation};
use super::fields::FieldSet;
use super::{Typed, Writer, check, last_applied, merge, owned, prune, update};
use crate::object;

/// What happens to fields that others own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Force {
    /// The apply is refused.
    #[default]
    No,
    /// The applier takes them.
    Yes,
}

/// Why a configuration is not applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ApplyError {
    /// It is not of its type.
    #[error("{0}")]
    Untyped(String),
    /// Others own what it sets.
    #[error("{}", super::conflict::message(.0))]
    Conflicts(Vec<Conflict>),
}

/// The object that comes of applying a configuration to another, or to none.
///
/// # Errors
/// See [`ApplyError`].
pub(crate) fn apply(
    typed: &Typed<'_>,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer,
    force: Force,
) -> Result<Value, ApplyError> {
    check::check(typed.root, config).map_err(ApplyError::Untyped)?;
    let entries = before(typed, live, writer);
    let mut applied = match attempt(typed, live, config, &entries, writer, force) {
        Err(ApplyError::Conflicts(conflicts)) if writer.manager == last_applied::MANAGER => {
            let allowed = live.and_then(|live| last_applied::allowed(typed, live, writer));
            let left = last_applied::beyond(conflicts, allowed.as_ref());
            if !left.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            attempt(typed, live, config, &entries, writer, Force::Yes)?
        }
        other => other?,
    };
    if writer.manager == last_applied::MANAGER {
        last_applied::renew(&mut applied, config);
    }
    Ok(applied)
}

/// The entries that an apply begins with. What was there before anybody managed it is given a manager of its own.
fn before(typed: &Typed<'_>, live: Option<&Value>, writer: &Writer) -> Vec<Entry> {
    let Some(live) = live else { return Vec::new() };
    let mut entries = entries::read_stored(live);
    if entries.is_empty() {
        let before = Writer { manager: BEFORE_FIRST_APPLY.to_owned(), ..writer.clone() };
        update::settle(typed, &mut entries, &compare(typed, None, live), &before);
    }
    entries
}

fn attempt(
    typed: &Typed<'_>,
    live: Option<&Value>,
    config: &Value,
    entries: &[Entry],
    writer: &Writer,
    force: Force,
) -> Result<Value, ApplyError> {
    let mut own = Entry::of(writer, Operation::Apply);
    own.fields = owned::stated(typed, config);
    let (mut earlier, mut others): (Vec<Entry>, Vec<Entry>) =
        entries.iter().filter(|e| typed.keeps(&e.api_version, writer)).cloned().partition(|e| e.is_same(&own));
    let earlier = earlier.pop();
    let nothing = Value::Null;
    let mut new = merge::merge(typed.root, live.unwrap_or(&nothing), config);
    if let Some(earlier) = &earlier {
        let mut managed = owned::named(typed, config);
        others.iter().for_each(|entry| managed.add(entry.fields.clone()));
        new = prune::prune(typed.root, new, &earlier.fields, &managed);
    }
    let difference = compare(typed, live, &new);
    let conflicts = conflicts(&others, &difference);
    if force == Force::No && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    for entry in &mut others {
        entry.fields.subtract(&difference.set);
        entry.fields.subtract(&difference.removed);
    }
    let changed = live.is_none_or(|live| !same_object(live, &new));
    own.time = if changed { Some(object::time(writer.now)) } else { earlier.and_then(|earlier| earlier.time) };
    others.push(own);
    entries::put(&mut new, others);
    Ok(new)
}

/// Whether an apply left the object itself as it was.
fn same_object(live: &Value, new: &Value) -> bool {
    let (mut live, mut new) = (live.clone(), new.clone());
    entries::take(&mut live);
    entries::take(&mut new);
    same(&live, &new)
}

fn conflicts(others: &[Entry], difference: &Difference) -> Vec<Conflict> {
    let with = |entry: &Entry| {
        let fields: FieldSet = entry.fields.intersection(&difference.set);
        (!fields.is_empty()).then(|| Conflict::with(entry, fields))
    };
    others.iter().filter_map(with).collect()
}
