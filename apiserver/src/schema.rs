//! The schema engine: which fields an object may have, of which type, and how their lists merge.
//!
//! Schemas come out of `k8s-openapi`, built once on first need, so that starting costs nothing; what they lack
//! (merge keys, list types, kinds) is in [`facts`]. Descriptions are not kept: only the OpenAPI documents need them,
//! and those are built anew when somebody asks.

mod build;
mod defaults;
mod enums;
mod facts;
mod mend;
mod openapi;
mod strict;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

pub use openapi::{Definitions, name_of};
pub use strict::{Decoded, decode};

/// The schemas of all built-in kinds.
#[must_use]
pub fn builtin() -> &'static Schemas {
    static BUILTIN: LazyLock<Schemas> = LazyLock::new(build::builtin);
    &BUILTIN
}

/// All object types that some kind reaches.
#[derive(Debug)]
pub struct Schemas {
    types: Vec<Type>,
    by_name: HashMap<Box<str>, Shape>,
}

/// Where a type stands in [`Schemas`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeId(u32);

/// An object type: `io.k8s.api.core.v1.PodSpec`.
#[derive(Debug)]
struct Type {
    /// Its fields, sorted by name.
    fields: Vec<Field>,
    /// The names of those that are times and stated as null where they are absent.
    null_times: Vec<Box<str>>,
    /// Whether its objects have one owner as a whole.
    whole: bool,
}

/// A field of an object type.
#[derive(Debug)]
pub(crate) struct Field {
    name: Box<str>,
    pub(crate) shape: Shape,
    pub(crate) merge: Merge,
    pub(crate) owned: Owned,
    pub(crate) zero: Zero,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Anything: a place where the schema does not look.
    Any,
    /// A text.
    Text,
    /// Bytes, as base64.
    Bytes,
    /// A time, in whole seconds or in microseconds.
    Time,
    /// A quantity: a text, or a number that means the same.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// An object with known fields.
    Object(TypeId),
    /// An object with any keys.
    Map(Box<Shape>),
    /// A list.
    List(Box<Shape>),
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Merge {
    /// Lists: what happens with the elements.
    pub(crate) list: ListMerge,
    /// Objects, and elements of a list: `$retainKeys` is offered.
    pub(crate) retain_keys: bool,
    /// Objects: what happens with the fields.
    pub(crate) object: ObjectMerge,
}

/// How a strategic merge patch treats an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ObjectMerge {
    /// Each field by itself.
    #[default]
    Fields,
    /// The patch's object takes the place of the old one.
    Replace,
}

/// How a strategic merge patch treats a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ListMerge {
    /// The patch's list takes the place of the old one.
    #[default]
    Replace,
    /// Elements are objects that are the same when this key is.
    ByKey(&'static str),
    /// Elements are scalars; the result has those of both.
    Union,
}

/// Who owns what of a field's value, under server-side apply.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Owned {
    /// As its type has it: objects and maps by their parts, lists and scalars as a whole.
    #[default]
    ByType,
    /// One owner.
    Whole,
    /// An owner for each part, whatever the type says.
    Parts,
    /// A list of scalars that are each there once, with an owner each.
    Set,
    /// A list of objects that are told apart by these keys, sorted by name.
    Keyed(Box<[MapKey]>),
}

/// A field by which the objects of a list are told apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MapKey {
    pub(crate) name: Box<str>,
    /// What it is where it is left out.
    pub(crate) default: Option<Value>,
}

/// What an object without a value for a field holds there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Zero {
    /// Nothing.
    #[default]
    Nothing,
    /// An object that is always there, if only an empty one: nobody can add it or own it.
    Object,
    /// `null`.
    Null,
}

impl Schemas {
    /// The type of this name.
    pub(crate) fn root(&self, name: &str) -> &Shape {
        self.by_name.get(name).unwrap_or(&Shape::Any)
    }

    /// A field of a type.
    pub(crate) fn field(&self, id: TypeId, name: &str) -> Option<&Field> {
        let fields = &self.types.get(usize::try_from(id.0).ok()?)?.fields;
        let at = fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok()?;
        fields.get(at)
    }

    /// The fields of a type that are times and stated as null where they are absent.
    pub(crate) fn null_times(&self, id: TypeId) -> &[Box<str>] {
        usize::try_from(id.0).ok().and_then(|at| self.types.get(at)).map_or(&[], |t| &t.null_times)
    }

    /// Whether objects of a type have one owner as a whole.
    pub(crate) fn is_whole(&self, id: TypeId) -> bool {
        usize::try_from(id.0).ok().and_then(|at| self.types.get(at)).is_some_and(|t| t.whole)
    }
}
