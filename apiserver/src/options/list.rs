//! Options of lists and watches: selectors, pages, and from which revision.

mod page;

pub(crate) use page::{Continue, token};

use std::time::Duration;

use coracle_api::field::FieldError;
use coracle_api::revision::Revision;
use coracle_api::selector::{FieldRelation, FieldRequirement, Selector, parse_fields};

use super::number;
use crate::answer::Refused;
use crate::registry::{Row, fields};
use crate::request::{is_true, pairs};

/// Which revision a list or watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The newest.
    Newest,
    /// Any that is at hand: `resourceVersion=0`.
    Any,
    /// At least this one (for a watch: after this one).
    NotOlderThan(Revision),
    /// Just this one.
    Exact(Revision),
}

/// Whether a watch begins with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitialEvents {
    /// By the old rule: only when no revision, or revision 0, is named.
    ByRevision,
    /// Yes, and a bookmark tells where they end.
    Sent,
    /// No.
    Left,
}

/// The options of a list or a watch.
#[derive(Debug, Clone)]
pub(crate) struct ListOptions {
    /// Which labels.
    pub(crate) labels: Selector,
    /// Which fields.
    pub(crate) fields: Vec<FieldRequirement>,
    /// Which revision.
    pub(crate) from: From,
    /// How many objects at most.
    pub(crate) limit: Option<usize>,
    /// Where to go on.
    pub(crate) continue_: Option<Continue>,
    /// How long a watch lasts.
    pub(crate) timeout: Option<Duration>,
    /// Whether a watch has bookmarks.
    pub(crate) bookmarks: Bookmarks,
    /// Whether a watch begins with what is there.
    pub(crate) initial: InitialEvents,
}

/// Whether a watch has bookmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bookmarks {
    /// Now and then.
    Sent,
    /// None.
    Left,
}

impl ListOptions {
    /// Whether any object is selected.
    pub(crate) fn selects_all(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// The one object that `metadata.name=…` selects.
    pub(crate) fn single_name(&self) -> Option<&str> {
        let named = |f: &&FieldRequirement| f.path == "metadata.name" && f.relation == FieldRelation::Equal;
        self.fields.iter().find(named).map(|f| f.value.as_str())
    }
}

/// What the request is: some options are for the one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A list, or the deletion of a collection.
    List,
    /// A watch.
    Watch,
}

#[derive(Default)]
struct Raw {
    labels: String,
    fields: String,
    version: String,
    match_: String,
    limit: String,
    continue_: String,
    timeout: String,
    bookmarks: bool,
    initial: Option<bool>,
}

/// Reads the options of a list or watch of `row`.
pub(crate) fn parse(query: &str, row: &Row, used: Use) -> Result<ListOptions, Refused> {
    let mut raw = Raw::default();
    for (key, value) in pairs(query) {
        match key.as_str() {
            "labelSelector" => raw.labels = value,
            "fieldSelector" => raw.fields = value,
            "resourceVersion" => raw.version = value,
            "resourceVersionMatch" => raw.match_ = value,
            "limit" => raw.limit = value,
            "continue" => raw.continue_ = value,
            "timeoutSeconds" => raw.timeout = value,
            "allowWatchBookmarks" => raw.bookmarks = is_true(Some(&value)),
            "sendInitialEvents" => raw.initial = Some(is_true(Some(&value))),
            _ => {}
        }
    }
    let limit = if raw.limit.is_empty() { 0 } else { number(&raw.limit)? };
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let timeout = if raw.timeout.is_empty() { 0 } else { number(&raw.timeout)? };
    let labels = Selector::parse(&raw.labels)?;
    let fields = field_selector(&raw.fields, row)?;
    let errors = conflicts(&raw, used);
    if !errors.is_empty() {
        return Err(Refused::invalid_options("ListOptions", errors));
    }
    let continue_ = if raw.continue_.is_empty() { None } else { Some(page::read(&raw.continue_)?) };
    if continue_.is_some() && !matches!(raw.version.as_str(), "" | "0") {
        return Err(Refused::bad_request("specifying resource version is not allowed when using continue"));
    }
    Ok(ListOptions {
        labels,
        fields,
        from: revision(&raw.version, &raw.match_, limit)?,
        limit,
        continue_,
        timeout: u64::try_from(timeout).ok().filter(|t| *t > 0).map(Duration::from_secs),
        bookmarks: if raw.bookmarks { Bookmarks::Sent } else { Bookmarks::Left },
        initial: match raw.initial {
            None => InitialEvents::ByRevision,
            Some(true) => InitialEvents::Sent,
            Some(false) => InitialEvents::Left,
        },
    })
}

/// Reads a `resourceVersion` parameter.
pub(crate) fn resource_version(text: &str) -> Result<Revision, Refused> {
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Refused::unclassified(format!("resourceVersion: Invalid value: {text:?}: {why}"))
    })
}

fn revision(version: &str, match_: &str, limit: Option<usize>) -> Result<From, Refused> {
    Ok(match (version, match_, limit) {
        ("", _, _) => From::Newest,
        ("0", _, _) => From::Any,
        // A page at a revision is that revision's, unless the client says otherwise.
        (version, "Exact", _) | (version, "", Some(_)) => From::Exact(resource_version(version)?),
        (version, _, _) => From::NotOlderThan(resource_version(version)?),
    })
}

fn field_selector(text: &str, row: &Row) -> Result<Vec<FieldRequirement>, Refused> {
    let mut requirements = parse_fields(text)?;
    for requirement in &mut requirements {
        requirement.path = fields::offered(row, &requirement.path).map_err(Refused::bad_request)?.to_owned();
    }
    Ok(requirements)
}

/// Which options exclude each other: upstream's `ValidateListOptions`.
fn conflicts(raw: &Raw, used: Use) -> Vec<FieldError> {
    let at = "resourceVersionMatch";
    let mut errors = Vec::new();
    if used == Use::Watch && (raw.initial.is_some() || !raw.match_.is_empty()) {
        let fits = raw.match_ == "NotOlderThan";
        if raw.initial.is_some() && !fits {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(at, why));
        }
        if raw.match_.is_empty() {
            return errors;
        }
        if raw.initial.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(at, why));
        }
        if !fits {
            errors.push(FieldError::not_supported(at, raw.match_.clone(), &["NotOlderThan"]));
        }
        if !raw.continue_.is_empty() {
            errors.push(FieldError::forbidden(at, "resourceVersionMatch is forbidden when continue is provided"));
        }
        return errors;
    }
    if !raw.match_.is_empty() {
        if raw.version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(at, why));
        }
        if !raw.continue_.is_empty() {
            errors.push(FieldError::forbidden(at, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(raw.match_.as_str(), "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(at, raw.match_.clone(), &["Exact", "NotOlderThan", ""]));
        }
        if raw.match_ == "Exact" && raw.version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(at, why));
        }
    }
    if used == Use::List && raw.initial.is_some() {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    errors
}
