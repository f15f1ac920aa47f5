//! Why the API server said no, as far as a controller acts differently on it.

use kube::Error;

/// The kinds of refusal that controllers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The object is not there.
    NotFound,
    /// An object of this name is there already.
    AlreadyExists,
    /// The object changed meanwhile.
    Conflict,
    /// The namespace is being deleted: nothing new may be created in it.
    NamespaceTerminating,
    /// Anything else, a broken connection included.
    Other,
}

/// Sorts a failure.
pub(crate) fn refusal(error: &Error) -> Refusal {
    let Error::Api(status) = error else { return Refusal::Other };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    if causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating") {
        return Refusal::NamespaceTerminating;
    }
    match (status.code, status.reason.as_str()) {
        (404, _) => Refusal::NotFound,
        (409, "AlreadyExists") => Refusal::AlreadyExists,
        (409, _) => Refusal::Conflict,
        _ => Refusal::Other,
    }
}

/// A failure in the API server's own words, as conditions and events quote it.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// A deletion that finds nothing has reached its aim.
pub(crate) fn gone_is_fine<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if refusal(&error) == Refusal::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
