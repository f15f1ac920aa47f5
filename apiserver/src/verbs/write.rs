//! Writing one object: compare-and-swap against the state that was read, again if it changed meanwhile.
//!
//! Invariant: what a client is shown is what is stored, or for a dry run what would have been.

use std::sync::Arc;

use coracle_api::failure::Failure;
use coracle_api::limits::OBJECT_BYTES_MAX;
use serde_json::Value;

use crate::admit::{self, Admitted, Reserved};
use crate::answer::Refused;
use crate::machine::{Call, Shown};
use crate::object::{self, deletion};
use crate::options::Run;
use crate::policy::Policy;
use crate::store::{Action, Change, CommitError, Encoded, Entry, Expect, Key};

/// How often a change is made anew on the newest state before the client is told to try again.
/// Under contention each round lets one writer through, so this is the number of writers that never see a conflict.
const ATTEMPTS_MAX: usize = 64;

/// An object after a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// As it is stored.
    Stored(Arc<Entry>),
    /// As it would be, or as it was last.
    Unstored(Value),
}

impl Written {
    /// What a client is shown of it.
    pub(crate) fn shown(&self) -> Shown<'_> {
        match self {
            Self::Stored(entry) => Shown::Entry(entry),
            Self::Unstored(value) => Shown::Value(value),
        }
    }

    /// The object.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Stored(entry) => entry.value(),
            Self::Unstored(value) => value.clone(),
        }
    }
}

/// Whether something else stood there than was expected.
pub(crate) enum Attempt {
    /// It is done.
    Done(Option<Arc<Entry>>),
    /// Something else stood there.
    Lost(Option<Arc<Entry>>),
}

/// Makes one change of one object.
pub(crate) async fn commit(call: &Call, key: Key, expect: Expect, action: Action) -> Result<Attempt, Refused> {
    let durability = call.row.durability;
    match call.store().commit(vec![Change { key, expect, action, durability }]).await {
        Ok(entries) => Ok(Attempt::Done(entries.into_iter().next())),
        Err(CommitError::Mismatch { current, .. }) => Ok(Attempt::Lost(current)),
        Err(error) => Err(error.into()),
    }
}

/// The bytes of an object, unless they are too many.
pub(crate) fn encode(object: &Admitted) -> Result<Encoded, Refused> {
    let encoded = Encoded::new(object);
    if encoded.is_too_deep() {
        return Err(Refused::bad_request("the object nests too deep"));
    }
    if encoded.len() > OBJECT_BYTES_MAX {
        let why = format!("the object is too large: {} bytes, at most {OBJECT_BYTES_MAX} are kept", encoded.len());
        return Err(Failure::TooLarge(why).into());
    }
    Ok(encoded)
}

/// What a change does to an object, given its newest state; it may be asked several times.
pub(crate) type Transform<'a> = &'a (dyn Fn(&Entry, &Value) -> Result<Value, Refused> + Send + Sync);

/// What happens when the object changes while it is being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnConflict {
    /// The change is made on the newest state.
    Again,
    /// The client is told.
    Tell,
}

/// How an object is changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// How it is admitted.
    pub(crate) admitted: admit::Manner<'a>,
    /// Whether for real.
    pub(crate) run: Run,
    /// What happens when it changes meanwhile.
    pub(crate) on_conflict: OnConflict,
}

/// A change that was made.
pub(crate) struct Changed {
    /// The object now.
    pub(crate) written: Written,
    /// What is odd about the change.
    pub(crate) warnings: Vec<String>,
}

/// Changes an object that exists.
pub(crate) async fn change(call: &Call, manner: Manner<'_>, transform: Transform<'_>) -> Result<Changed, Refused> {
    let deletion = Policy::of(&call.row).deletion;
    for _ in 0..ATTEMPTS_MAX {
        let entry = call.existing()?;
        let old = entry.value();
        let mut new = transform(&entry, &old)?;
        object::carry_over(&mut new, &old);
        let (admitted, reserved) = admit::update(&call.machine, &call.row, new, &old, manner.admitted)?;
        let goes = deletion::ends_with_update(deletion, admitted.value(), &old);
        let warnings = admitted.warnings().to_vec();
        match settle(call, &entry, &old, (admitted, reserved), manner.run, goes).await? {
            Some(written) => return Ok(Changed { written, warnings }),
            None if manner.on_conflict == OnConflict::Tell => break,
            None => {}
        }
    }
    Err(Failure::modified(crate::answer::refused::about(&call.row, &call.path.name)).into())
}

/// Stores the changed object, or takes it away when nothing holds it any more. Nothing: it changed meanwhile.
async fn settle(
    call: &Call,
    entry: &Entry,
    old: &Value,
    (admitted, reserved): (Admitted, Reserved),
    run: Run,
    goes: bool,
) -> Result<Option<Written>, Refused> {
    if !goes && (run == Run::Dry || admitted.value() == old) {
        return Ok(Some(Written::Unstored(admitted.value().clone())));
    }
    let (key, expect) = (entry.key().clone(), Expect::At(entry.revision()));
    if goes {
        if run == Run::Real {
            let Attempt::Done(_) = commit(call, key, expect, Action::Delete).await? else { return Ok(None) };
            admit::release(&call.machine, &call.row, admitted.value());
        }
        return Ok(Some(Written::Unstored(admitted.value().clone())));
    }
    let Attempt::Done(stored) = commit(call, key, expect, Action::Put(encode(&admitted)?)).await? else {
        return Ok(None);
    };
    reserved.keep();
    Ok(Some(stored.map_or_else(|| Written::Unstored(admitted.value().clone()), Written::Stored)))
}
