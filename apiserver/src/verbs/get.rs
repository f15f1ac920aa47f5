//! Reading one object, straight from its stored bytes.

use http::StatusCode;

use crate::answer::Answer;
use crate::machine::{Call, Shown};
use crate::options::list::resource_version;
use crate::request::parameter;

/// Shows the object that the path names.
pub(crate) async fn get(call: &Call) -> Answer {
    if let Some(version) = parameter(&call.query, "resourceVersion").filter(|v| !v.is_empty()) {
        call.reached(resource_version(&version)?).await?;
    }
    let entry = call.existing()?;
    call.show(StatusCode::OK, &Shown::Entry(&entry))
}
