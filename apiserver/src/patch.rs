//! The three patches: pure functions from an object and a patch to an object.
//!
//! A patch is read whole before any of it is applied, so an object is never half patched. None of them knows kinds;
//! only the strategic patch asks the schema how lists merge.

mod json;
mod merge;
mod strategic;

use coracle_api::failure::{About, Failure};
use coracle_api::field::FieldError;
use serde_json::Value;

pub use json::json;
pub use merge::merge;
pub use strategic::strategic;

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not what its media type says.
    #[error("error decoding patch: {0}")]
    Undecodable(String),
    /// A JSON patch has more operations than allowed.
    #[error(
        "Request entity too large: The allowed maximum operations in a JSON patch is {max}, got {0}",
        max = json::OPERATIONS_MAX
    )]
    TooManyOperations(usize),
    /// A JSON patch does not fit the object: a test fails, a path does not exist.
    #[error("{0}")]
    Refused(String),
    /// A strategic patch has a directive that makes no sense.
    #[error("{0}")]
    Directive(String),
}

impl PatchError {
    /// The answer that the client gets.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Undecodable(_) | Self::Directive(_) => Failure::BadRequest(self.to_string()),
            Self::TooManyOperations(_) => Failure::TooLarge(self.to_string()),
            Self::Refused(why) => {
                let errors = vec![FieldError::forbidden("patch", why.as_str())];
                Failure::Invalid { about: About::default(), errors }
            }
        }
    }
}

/// Reads a patch that must be JSON.
fn read(patch: &[u8]) -> Result<Value, PatchError> {
    serde_json::from_slice(patch).map_err(|error| {
        PatchError::Undecodable(if error.is_eof() {
            "unexpected end of JSON input".to_owned()
        } else {
            error.to_string()
        })
    })
}
