//! A place in an object, as its schema sees it: what kind of thing stands there, and who may own what of it.

use serde_json::Value;

use super::element;
use crate::schema::{MapKey, Owned, Schemas, Shape, Zero};

/// Values that no schema describes, and items of lists, have nothing said about them but their type.
static BY_TYPE: Owned = Owned::ByType;

/// What no schema describes.
static ANY: Shape = Shape::Any;

/// A place in an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'s> {
    schemas: &'s Schemas,
    shape: &'s Shape,
    owned: &'s Owned,
}

/// How what stands at a place is owned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'s> {
    /// By one owner.
    Whole,
    /// By its fields: an object or a map.
    Fields,
    /// By its items.
    Items(Items<'s>),
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum Items<'s> {
    /// By themselves.
    Scalars,
    /// By their keys.
    Keyed(&'s [MapKey]),
}

/// A field at a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'s> {
    /// Where it stands.
    pub(super) place: Place<'s>,
    /// What is there if nothing was given.
    pub(super) zero: Zero,
    /// Whether it is a field of a type, or an entry of a map.
    pub(super) role: Role,
}

/// What a key of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A field that the type names.
    Field,
    /// An entry of a map: it can be owned beside what it holds.
    Entry,
}

impl<'s> Place<'s> {
    /// The root of objects of a type.
    pub(crate) fn root(schemas: &'s Schemas, name: &str) -> Self {
        Self { schemas, shape: schemas.root(name), owned: &BY_TYPE }
    }

    /// How a value here is owned.
    pub(super) fn form(self, value: &Value) -> Form<'s> {
        match (self.shape, self.owned) {
            (Shape::Any, _) if value.is_object() => Form::Fields,
            (Shape::List(_), Owned::Set) => Form::Items(Items::Scalars),
            (Shape::List(_), Owned::Keyed(keys)) => Form::Items(Items::Keyed(keys)),
            (Shape::Object(_) | Shape::Map(_), Owned::Parts) => Form::Fields,
            (Shape::Object(id), Owned::ByType) if !self.schemas.is_whole(*id) => Form::Fields,
            (Shape::Map(_), Owned::ByType) => Form::Fields,
            _ => Form::Whole,
        }
    }

    /// A field of what stands here; nothing if the type has no such field.
    pub(super) fn child(self, name: &str) -> Option<Child<'s>> {
        let entry = |shape| Child {
            place: Place { schemas: self.schemas, shape, owned: &BY_TYPE },
            zero: Zero::Nothing,
            role: Role::Entry,
        };
        match self.shape {
            Shape::Object(id) => self.schemas.field(*id, name).map(|field| Child {
                place: Place { schemas: self.schemas, shape: &field.shape, owned: &field.owned },
                zero: field.zero,
                role: Role::Field,
            }),
            Shape::Map(values) => Some(entry(values)),
            Shape::Any => Some(entry(&ANY)),
            _ => None,
        }
    }

    /// An item of the list that stands here.
    pub(super) fn item(self) -> Self {
        let shape = if let Shape::List(item) = self.shape { item } else { &ANY };
        Self { schemas: self.schemas, shape, owned: &BY_TYPE }
    }

    /// What may stand here.
    pub(super) fn shape(self) -> &'s Shape {
        self.shape
    }
}

impl Items<'_> {
    /// The path element of an item.
    ///
    /// # Errors
    /// Why the item has no place in such a list.
    pub(super) fn element(self, item: &Value) -> Result<String, String> {
        match self {
            Self::Scalars => element::scalar(item),
            Self::Keyed(keys) => element::keyed(keys, item),
        }
    }
}
