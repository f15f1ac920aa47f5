//! The entries of `metadata.managedFields`: who owns which fields, by which kind of write, since when.

use serde_json::{Map, Value, json};

use super::Writer;
use super::fields::FieldSet;
use crate::object;

/// Where entries stand in the metadata.
const FIELD: &str = "managedFields";

/// How many managers that update, rather than apply, are kept apart; the oldest beyond that become one.
const UPDATERS_MAX: usize = 10;

/// The manager that the oldest entries become.
const ANCIENT: &str = "ancient-changes";

/// The manager of what was there before the first apply to an object that nobody managed.
pub(super) const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// By which kind of write fields came to be owned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// A server-side apply.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    pub(crate) time: Option<String>,
    pub(crate) subresource: String,
    pub(crate) fields: FieldSet,
}

impl Entry {
    /// An entry of a writer that owns nothing yet.
    pub(crate) fn of(writer: &Writer, operation: Operation) -> Self {
        Self {
            manager: if writer.manager.is_empty() { "unknown".to_owned() } else { writer.manager.clone() },
            operation,
            api_version: writer.api_version.clone(),
            time: None,
            subresource: writer.subresource.clone(),
            fields: FieldSet::default(),
        }
    }

    /// Whether both are the same manager's: one that applies is so in every version.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        version
            && self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
    }

    fn read(entry: Value) -> Result<Self, String> {
        let Value::Object(mut entry) = entry else { return Err("not an entry".to_owned()) };
        let mut text = |name: &str| match entry.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType").as_str() {
            "FieldsV1" => {}
            "" => return Err("missing fieldsType in managed fields entry".to_owned()),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry")),
        }
        let time = Some(text("time")).filter(|time| !time.is_empty());
        let (manager, subresource) = (text("manager"), text("subresource"));
        let fields = entry.remove("fieldsV1").unwrap_or_default();
        Ok(Self { manager, operation, api_version, time, subresource, fields: FieldSet::stored(fields) })
    }

    fn into_value(self) -> Value {
        let mut entry = Map::new();
        let mut put = |name: &str, text: String| {
            if !text.is_empty() {
                entry.insert(name.to_owned(), Value::String(text));
            }
        };
        put("manager", self.manager);
        put("operation", self.operation.as_str().to_owned());
        put("apiVersion", self.api_version);
        put("time", self.time.unwrap_or_default());
        put("fieldsType", "FieldsV1".to_owned());
        put("subresource", self.subresource);
        entry.insert("fieldsV1".to_owned(), self.fields.into_value());
        Value::Object(entry)
    }

    fn order(&self) -> impl Ord + '_ {
        let time = self.time.as_deref().unwrap_or("");
        (self.operation, time, &self.manager, &self.api_version, &self.subresource)
    }
}

/// Takes the entries out of an object.
pub(crate) fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata").and_then(Value::as_object_mut)?.remove(FIELD)
}

/// Takes the entries out of an object that is yet to be decoded, if they are those of its earlier state. Those that a
/// client wrote stay in too, to be decoded like all else.
pub(crate) fn set_aside(object: &mut Value, old: Option<&Value>) -> Option<Value> {
    let stated = stored(object)?;
    if old.and_then(stored) == Some(stated) { take(object) } else { Some(stated.clone()) }
}

/// Puts back what was set aside.
pub(crate) fn put_back(object: &mut Value, entries: Option<Value>) {
    if let Some(entries) = entries {
        object::set(object, FIELD, entries);
    }
}

/// Puts entries into an object, none if there are none.
pub(crate) fn put(object: &mut Value, entries: Vec<Entry>) {
    let mut entries = entries;
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| a.order().cmp(&b.order()));
    put_value(object, Value::Array(entries.into_iter().map(Entry::into_value).collect()));
}

/// Puts entries into an object as they stand.
pub(crate) fn put_value(object: &mut Value, entries: Value) {
    let meta = object::metadata_mut(object);
    match entries.as_array().map(Vec::is_empty) {
        None | Some(true) => meta.remove(FIELD),
        Some(false) => meta.insert(FIELD.to_owned(), entries),
    };
}

/// The entries of a stored object, as they stand.
pub(crate) fn stored(object: &Value) -> Option<&Value> {
    object::metadata(object)?.get(FIELD)
}

/// Reads the entries of a stored object; none if there are none that can be read.
pub(crate) fn read_stored(object: &Value) -> Vec<Entry> {
    stored(object).cloned().and_then(|entries| read(entries).ok()).unwrap_or_default()
}

/// Reads entries that the server wrote.
///
/// # Errors
/// What is wrong with the first that is.
pub(crate) fn read(entries: Value) -> Result<Vec<Entry>, String> {
    match entries {
        Value::Array(entries) => entries.into_iter().map(Entry::read).collect(),
        _ => Ok(Vec::new()),
    }
}

/// Reads entries that a client wrote.
///
/// # Errors
/// What is wrong with the first that is.
pub(crate) fn read_foreign(entries: Value) -> Result<Vec<Entry>, String> {
    let canonical = |mut entry: Entry| {
        entry.fields = FieldSet::read(entry.fields.into_value())?;
        Ok(entry)
    };
    read(entries)?.into_iter().map(canonical).collect()
}

/// Whether a client asks for the entries to be forgotten: by an empty list, or a list of one empty entry.
pub(crate) fn is_reset(entries: &Value) -> bool {
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([entry]) => entry == &json!({}),
        _ => false,
    }
}

/// Lets the oldest of too many entries become one per version.
pub(crate) fn cap(entries: &mut Vec<Entry>) {
    let updates = |entry: &&Entry| entry.operation == Operation::Update;
    let mut excess = entries.iter().filter(updates).count().saturating_sub(UPDATERS_MAX);
    if excess == 0 {
        return;
    }
    let (mut updaters, mut rest): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|entry| entry.operation == Operation::Update);
    updaters.sort_by(|a, b| (&a.time, &a.manager, &a.subresource).cmp(&(&b.time, &b.manager, &b.subresource)));
    let applied = rest.len();
    for entry in updaters {
        let mut updates = rest.iter_mut().skip(applied);
        match updates.find(|older| excess > 0 && older.api_version == entry.api_version) {
            Some(older) => {
                ANCIENT.clone_into(&mut older.manager);
                older.subresource.clear();
                older.time = entry.time;
                older.fields.add(entry.fields);
                excess -= 1;
            }
            None => rest.push(entry),
        }
    }
    *entries = rest;
}

/// Lets entries that differ in nothing but their times keep the old times, if nothing else changed: a write that says
/// nothing new is no write.
pub(crate) fn keep_times(new: &mut Value, old: &Value) {
    let (Some(before), Some(after)) = (stored(old), stored(new)) else { return };
    if before == after || !same_but_times(before, after) || !same_beside(new, old) {
        return;
    }
    let before = before.clone();
    put_value(new, before);
}

fn same_but_times(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_array(), b.as_array()) else { return false };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_but("time", a.as_object(), b.as_object()))
}

fn same_beside(a: &Value, b: &Value) -> bool {
    same_but("metadata", a.as_object(), b.as_object()) && same_but(FIELD, object::metadata(a), object::metadata(b))
}

fn same_but(name: &str, a: Option<&Map<String, Value>>, b: Option<&Map<String, Value>>) -> bool {
    let rest = |map: Option<&'_ Map<String, Value>>| map.into_iter().flatten().filter(|(key, _)| *key != name).count();
    let (Some(x), Some(y)) = (a, b) else { return false };
    rest(a) == rest(b) && x.iter().all(|(key, value)| key == name || y.get(key) == Some(value))
}
