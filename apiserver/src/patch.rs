//! The three patches: pure functions from an object and a patch to an object.
//!
//! A patch is read whole before any of it is applied, so an object is never half patched. None of them knows kinds;
//! only the strategic patch asks the schema how lists merge.

mod json;
mod merge;
mod printed;
mod strategic;

#[cfg(test)]
mod tests;

use coracle_api::failure::Failure;
use serde_json::{Map, Value};

use crate::schema;
use json::Operation;

/// A patch that has been read: it is what its media type says.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    content: Content,
    problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Json(Vec<Operation>),
    Merge(Map<String, Value>),
    Strategic(Map<String, Value>),
}

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not what its media type says, or a directive of it is not written as it should be.
    #[error("{0}")]
    Malformed(String),
    /// A JSON patch has more operations than allowed.
    #[error(
        "Request entity too large: The allowed maximum operations in a JSON patch is {max}, got {0}",
        max = json::OPERATIONS_MAX
    )]
    TooManyOperations(usize),
    /// The patch does not fit the object: a test fails, a path does not exist.
    #[error("{0}")]
    Unfit(String),
    /// A directive of a strategic patch makes no sense.
    #[error("{0}")]
    Directive(String),
}

impl PatchError {
    /// The answer that the client gets.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Malformed(why) => Failure::BadRequest(why.clone()),
            Self::TooManyOperations(_) => Failure::TooLarge(self.to_string()),
            Self::Unfit(_) => Failure::Unprocessable,
            Self::Directive(why) => Failure::Unclassified(why.clone()),
        }
    }
}

impl Patch {
    /// Reads a JSON patch (RFC 6902).
    ///
    /// # Errors
    /// [`PatchError`]: what is no list of operations, or too long.
    pub fn json(bytes: &[u8]) -> Result<Self, PatchError> {
        let decoded = read(bytes).map_err(undecodable)?;
        let (operations, unknown) = json::operations(decoded.value)?;
        let problems = decoded.problems.into_iter().chain(unknown).map(|p| format!("json patch {p}")).collect();
        Ok(Self { content: Content::Json(operations), problems })
    }

    /// Reads a merge patch (RFC 7386).
    ///
    /// # Errors
    /// [`PatchError::Malformed`] if it is no JSON object.
    pub fn merge(bytes: &[u8]) -> Result<Self, PatchError> {
        let decoded = read(bytes).map_err(undecodable)?;
        match decoded.value {
            Value::Object(patch) => Ok(Self { content: Content::Merge(patch), problems: decoded.problems }),
            Value::Null => Err(PatchError::Malformed("Invalid JSON Patch".to_owned())),
            other => Err(undecodable(not_a_map(&other))),
        }
    }

    /// Reads a strategic merge patch.
    ///
    /// # Errors
    /// [`PatchError::Malformed`] if it is no JSON object.
    pub fn strategic(bytes: &[u8]) -> Result<Self, PatchError> {
        let decoded = read(bytes).map_err(PatchError::Malformed)?;
        let patch = match decoded.value {
            Value::Object(patch) => patch,
            Value::Null => Map::new(),
            other => return Err(PatchError::Malformed(not_a_map(&other))),
        };
        Ok(Self { content: Content::Strategic(patch), problems: decoded.problems })
    }

    /// Fields that stand twice in the patch, and those that no operation has.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The object that the patch makes of another, of this schema.
    ///
    /// # Errors
    /// [`PatchError`]: what does not fit the object, or makes no sense.
    pub fn apply(&self, target: &Value, schema: &str) -> Result<Value, PatchError> {
        match &self.content {
            Content::Json(operations) => json::apply(target, operations),
            Content::Merge(patch) => Ok(merge::apply(target, patch)),
            Content::Strategic(patch) => strategic::apply(target, patch, schema),
        }
    }

    /// What an error shows about it: of a strategic patch the patch, of the others what they made of the object.
    #[must_use]
    pub fn shown(&self, patched: &Value) -> String {
        match &self.content {
            Content::Json(_) | Content::Merge(_) => patched.to_string(),
            Content::Strategic(patch) => printed::map(patch),
        }
    }
}

/// Reads a patch that must be JSON; fields that stand twice are told.
fn read(patch: &[u8]) -> Result<schema::Decoded, String> {
    schema::decode(patch, None)
        .map_err(|error| if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() })
}

fn undecodable(why: impl std::fmt::Display) -> PatchError {
    PatchError::Malformed(format!("error decoding patch: {why}"))
}

fn not_a_map(value: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", printed::kind(value))
}
