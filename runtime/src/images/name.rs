//! Image names: what people write (`hello`, `hello:1`, `ghcr.io/a/b@sha256:…`), in one form for comparing.
//!
//! Docker's rules fill in what is left out (`docker.io`, `library`, `latest`), for comparison only: a short name
//! stays short wherever a person reads it.

use std::fmt;
use std::str::FromStr;

use coracle_api::names::Digest;

/// A name that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name {name:?}: {rule}")]
pub struct InvalidReference {
    /// What was given.
    pub name: String,
    /// The rule it breaks, in upstream's words.
    pub rule: &'static str,
}

/// Upstream's words for a name that does not have the grammar's form.
const FORMAT: &str = "invalid reference format";
/// Upstream's words for a name with capitals.
const LOWER_CASE: &str = "invalid reference format: repository name must be lowercase";

/// The longest tag (OCI distribution specification).
const TAG_MAX: usize = 128;
/// The longest repository name (Docker's reference grammar).
const REPOSITORY_MAX: usize = 255;

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// By a tag, which may move.
    Tag(String),
    /// By its digest, which never does.
    Digest(Digest),
}

/// A parsed image name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    written: String,
    repository: String,
    pick: Pick,
}

impl Reference {
    /// The repository in full: `docker.io/library/hello`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The registry's host: `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.repository.split_once('/').map_or("", |(host, _)| host)
    }

    /// The repository without its registry: `library/hello`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.repository.split_once('/').map_or(&self.repository, |(_, path)| path)
    }

    /// Whether the registry's host was written down, rather than filled in.
    #[must_use]
    pub fn names_registry(&self) -> bool {
        self.written.split_once('/').is_some_and(|(first, _)| is_host(first))
    }

    /// The tag or digest.
    #[must_use]
    pub fn pick(&self) -> &Pick {
        &self.pick
    }

    /// As it was written, with its tag.
    #[must_use]
    pub fn familiar(&self) -> String {
        match &self.pick {
            Pick::Tag(tag) => format!("{}:{tag}", self.written),
            Pick::Digest(digest) => format!("{}@{digest}", self.written),
        }
    }

    /// The last part of the repository's name: `hello`.
    #[must_use]
    pub fn base_name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// The name without tag or digest, as it was written.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether the two mean the same image, however they are written.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.repository == other.repository && self.pick == other.pick
    }

    /// A reference from a repository and a tag or digest, as the registry's paths have them.
    ///
    /// # Errors
    /// [`InvalidReference`] if one of the two has the wrong form.
    pub fn of(repository: &str, pick: &str) -> Result<Self, InvalidReference> {
        let separator = if pick.contains(':') { '@' } else { ':' };
        format!("{repository}{separator}{pick}").parse()
    }
}

/// The repository's name in full, if it is well formed.
pub(super) fn full_repository(written: &str) -> Result<String, &'static str> {
    let (domain, path) = match written.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
        Some(_) => ("docker.io", written.to_owned()),
        None => ("docker.io", format!("library/{written}")),
    };
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(LOWER_CASE);
    }
    if !is_domain(domain) || !path.split('/').all(is_component) || written.len() > REPOSITORY_MAX {
        return Err(FORMAT);
    }
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    let bare = domain == "docker.io" && !path.contains('/');
    Ok(if bare { format!("{domain}/library/{path}") } else { format!("{domain}/{path}") })
}

/// Whether the part before the first slash is a registry's host.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = domain.split_once(':').map_or((domain, None), |(h, p)| (h, Some(p)));
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    host.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators_fit =
        part.split(alphanumeric).all(|s| matches!(s, "" | "." | "_" | "__") || s.chars().all(|c| c == '-'));
    part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && separators_fit
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= TAG_MAX && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(name: &str) -> Result<Self, InvalidReference> {
        let fault = |rule| InvalidReference { name: name.to_owned(), rule };
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::new(digest).map_err(|_| fault(FORMAT))?)),
            None => (name, None),
        };
        let (written, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(fault(FORMAT));
        }
        let repository = full_repository(written).map_err(fault)?;
        let pick = match digest {
            Some(digest) => Pick::Digest(digest),
            None => Pick::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self { written: written.to_owned(), repository, pick })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pick {
            Pick::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Pick::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_filled_in_as_docker_does() {
        for (written, full) in [
            ("hello", "docker.io/library/hello:latest"),
            ("hello:1", "docker.io/library/hello:1"),
            ("docker.io/hello:1", "docker.io/library/hello:1"),
            ("a/b", "docker.io/a/b:latest"),
            ("localhost/x:2", "localhost/x:2"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("ghcr.io/a/b-c_d.e:v1.2", "ghcr.io/a/b-c_d.e:v1.2"),
        ] {
            assert_eq!(written.parse::<Reference>().map(|r| r.to_string()), Ok(full.to_owned()), "{written}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        let r: Reference = format!("hello:1@{digest}").parse().unwrap();
        assert_eq!(r.to_string(), format!("docker.io/library/hello@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused_with_upstreams_words() {
        for bad in ["", "Hello", "a b", "a//b", "a:", "a:-x", "/a", "a/", "a@sha256:12", "-a", "a..b", "../a"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        let error = "Hello:1".parse::<Reference>().unwrap_err();
        assert!(error.to_string().ends_with("repository name must be lowercase"), "{error}");
    }
}
