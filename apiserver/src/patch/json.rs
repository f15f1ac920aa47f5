//! JSON patch (RFC 6902): a list of operations, all applied or none.
//!
//! Where upstream differs from the RFC, so do we: `replace` of what is absent adds it, a `test` for null holds where
//! nothing is, an index may count from the end, what stands before the first slash of a path is not looked at, and
//! the object as a whole cannot be named.

use serde_json::{Map, Value};

use super::{PatchError, printed, undecodable};

/// How many operations a patch may have: upstream's limit, which bounds the work of one request.
pub(super) const OPERATIONS_MAX: usize = 10_000;

/// How many bytes all `copy` operations of a patch may copy together: as much as a request may hold. Else a short
/// patch could double an object again and again.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How many elements of lists all operations of a patch may shift together: more than any honest patch does, and the
/// work of a fraction of a second. Else ten thousand insertions at the front of a long list would take minutes.
const SHIFTED_ELEMENTS_MAX: usize = 50_000_000;

/// One operation, as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Value,
}

/// Reads operations; tells the fields that no operation has.
pub(super) fn operations(patch: Value) -> Result<(Vec<Operation>, Vec<String>), PatchError> {
    let listed = match patch {
        Value::Array(listed) => listed,
        Value::Null => Vec::new(),
        other => {
            let found = printed::kind(&other);
            let why = format!("json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp");
            return Err(undecodable(why));
        }
    };
    if listed.len() > OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(listed.len()));
    }
    let mut unknown = Vec::new();
    let mut operations = Vec::with_capacity(listed.len());
    for (at, operation) in listed.into_iter().enumerate() {
        let Value::Object(mut fields) = operation else {
            let found = printed::kind(&operation);
            let why = format!("json: cannot unmarshal {found} into Go value of type handlers.jsonPatchOp");
            return Err(undecodable(why));
        };
        operations.push(Operation {
            op: text(&mut fields, "op")?.unwrap_or_default(),
            path: text(&mut fields, "path")?,
            from: text(&mut fields, "from")?,
            value: fields.remove("value").unwrap_or_default(),
        });
        unknown.extend(fields.keys().map(|name| format!("unknown field \"[{at}].{name}\"")));
    }
    Ok((operations, unknown))
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, PatchError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let found = printed::kind(&other);
            Err(undecodable(format!(
                "json: cannot unmarshal {found} into Go struct field jsonPatchOp.{name} of type string"
            )))
        }
    }
}

/// The object that the operations make of another.
pub(super) fn apply(target: &Value, operations: &[Operation]) -> Result<Value, PatchError> {
    let mut patched = target.clone();
    let mut work = Work::default();
    for (index, operation) in operations.iter().enumerate() {
        let unfit = |why| PatchError::Unfit(format!("operation {index}: {why}"));
        perform(&mut patched, operation, &mut work).map_err(unfit)?;
    }
    Ok(patched)
}

/// What all operations have cost so far.
#[derive(Debug, Default)]
struct Work {
    copied_bytes: usize,
    shifted_elements: usize,
}

impl Work {
    fn copy(&mut self, value: &Value) -> Result<Value, Unfit> {
        self.copied_bytes = self.copied_bytes.saturating_add(value.to_string().len());
        if self.copied_bytes > COPIED_BYTES_MAX { Err(Unfit::TooMuch) } else { Ok(value.clone()) }
    }

    fn shift(&mut self, elements: usize) -> Result<(), Unfit> {
        self.shifted_elements = self.shifted_elements.saturating_add(elements);
        if self.shifted_elements > SHIFTED_ELEMENTS_MAX { Err(Unfit::TooMuch) } else { Ok(()) }
    }
}

/// Why an operation does not fit. Clients are not told; tests and people who debug are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unfit {
    #[error("no such operation")]
    UnknownOperation,
    #[error("the path is missing")]
    NoPath,
    #[error("the path leads nowhere")]
    Nowhere,
    #[error("there is nothing at the path")]
    Nothing,
    #[error("the index is none of the list")]
    BadIndex,
    #[error("the value is another one")]
    Different,
    #[error("the operations together are too much work")]
    TooMuch,
}

fn perform(object: &mut Value, operation: &Operation, work: &mut Work) -> Result<(), Unfit> {
    let path = || operation.path.as_deref().ok_or(Unfit::NoPath);
    let from = || operation.from.as_deref().ok_or(Unfit::NoPath);
    match operation.op.as_str() {
        "add" => add(object, path()?, operation.value.clone(), work),
        "remove" => remove(object, path()?, work).map(drop),
        "replace" => replace(object, path()?, operation.value.clone()),
        "move" => {
            let value = remove(object, from()?, work)?;
            add(object, path()?, value, work)
        }
        "test" => match find(object, path()?)? {
            Some(found) if *found == operation.value => Ok(()),
            None if operation.value.is_null() => Ok(()),
            Some(_) | None => Err(Unfit::Different),
        },
        "copy" => {
            let value = find(object, from()?)?.map_or(Ok(Value::Null), |found| work.copy(found))?;
            add(object, path()?, value, work)
        }
        _ => Err(Unfit::UnknownOperation),
    }
}

/// An object or list, and the name or index in it that a path ends with.
fn container<'a>(object: &'a mut Value, path: &str) -> Result<(Container<'a>, String), Unfit> {
    let mut parts = path.split('/').skip(1).map(unescaped).peekable();
    let mut at = object;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            let container = match at {
                Value::Object(fields) => Container::Object(fields),
                Value::Array(items) => Container::List(items),
                _ => return Err(Unfit::Nowhere),
            };
            return Ok((container, part));
        }
        at = match at {
            Value::Object(fields) => fields.get_mut(&part),
            Value::Array(items) => index(&part, items.len()).ok().and_then(|at| items.get_mut(at)),
            _ => None,
        }
        .ok_or(Unfit::Nowhere)?;
    }
    Err(Unfit::Nowhere)
}

enum Container<'a> {
    Object(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// An index below `end`; what is negative counts from there.
fn index(text: &str, end: usize) -> Result<usize, Unfit> {
    let stated: i64 = text.parse().map_err(|_| Unfit::BadIndex)?;
    let end = i64::try_from(end).map_err(|_| Unfit::BadIndex)?;
    let counted = if stated < 0 { stated.checked_add(end).ok_or(Unfit::BadIndex)? } else { stated };
    if (0..end).contains(&counted) {
        usize::try_from(counted).map_err(|_| Unfit::BadIndex)
    } else {
        Err(Unfit::BadIndex)
    }
}

fn find<'a>(object: &'a mut Value, path: &str) -> Result<Option<&'a Value>, Unfit> {
    match container(object, path)? {
        (Container::Object(fields), name) => Ok(fields.get(&name)),
        (Container::List(items), at) => Ok(items.get(index(&at, items.len())?)),
    }
}

fn add(object: &mut Value, path: &str, value: Value, work: &mut Work) -> Result<(), Unfit> {
    match container(object, path)? {
        (Container::Object(fields), name) => drop(fields.insert(name, value)),
        (Container::List(items), end) if end == "-" => items.push(value),
        (Container::List(items), at) => {
            let at = index(&at, items.len() + 1)?;
            work.shift(items.len() - at)?;
            items.insert(at, value);
        }
    }
    Ok(())
}

fn remove(object: &mut Value, path: &str, work: &mut Work) -> Result<Value, Unfit> {
    match container(object, path)? {
        (Container::Object(fields), name) => fields.remove(&name).ok_or(Unfit::Nothing),
        (Container::List(items), at) => {
            let at = index(&at, items.len())?;
            work.shift(items.len() - at)?;
            Ok(items.remove(at))
        }
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Result<(), Unfit> {
    match container(object, path)? {
        (Container::Object(fields), name) => drop(fields.insert(name, value)),
        (Container::List(items), at) => {
            let at = index(&at, items.len())?;
            *items.get_mut(at).ok_or(Unfit::BadIndex)? = value;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
