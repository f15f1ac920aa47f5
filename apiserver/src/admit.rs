//! The proof that an object passed the whole chain: only this module makes an [`Admitted`], and the store takes
//! nothing else.

use serde_json::Value;

/// An object that was decoded, defaulted, admitted and validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted(Value);

impl Admitted {
    /// The object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// An object that a test vouches for.
    #[cfg(test)]
    pub(crate) fn for_tests(object: Value) -> Self {
        Self(object)
    }
}
