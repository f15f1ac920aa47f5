//! Who was given an image by its registry: another pod may have what is here only if it would be given it too.
//!
//! Kept on disk, so that a node that starts again without its registry knows what it knew. Of a credential only a hash
//! is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::upload::hex;
use super::keyring::Credential;

/// How many credentials are remembered for an image; those that come after are asked about at the registry.
const CREDENTIALS_MAX: usize = 100;

/// Who may have one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    /// It was given without a pod's credential.
    #[serde(default)]
    anybody: bool,
    /// The hashes of those to whom it was given.
    #[serde(default)]
    credentials: BTreeSet<String>,
}

/// All grants, by `repository@digest`.
#[derive(Debug)]
pub(super) struct Grants {
    path: PathBuf,
    all: BTreeMap<String, Grant>,
}

impl Grants {
    /// What an earlier process knew. What cannot be read is forgotten: then registries are asked again.
    pub(super) fn open(path: &Path) -> Self {
        let known = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path: path.to_owned(), all: known.unwrap_or_default() }
    }

    /// Whether one of these has been given the image, or anybody.
    pub(super) fn include(&self, image: &str, credentials: &[Credential]) -> bool {
        self.all.get(image).is_some_and(|g| g.anybody || credentials.iter().any(|c| g.credentials.contains(&hash(c))))
    }

    /// The image was given: to whoever asked with this credential, or without one of a pod's. Returns what to write
    /// where, if that is news.
    pub(super) fn add(&mut self, image: &str, credential: Option<&Credential>) -> Option<(PathBuf, Vec<u8>)> {
        let grant = self.all.entry(image.to_owned()).or_default();
        let before = grant.clone();
        match credential {
            None => grant.anybody = true,
            Some(_) if grant.credentials.len() >= CREDENTIALS_MAX => {}
            Some(credential) => drop(grant.credentials.insert(hash(credential))),
        }
        let news = *grant != before;
        news.then(|| serde_json::to_vec(&self.all).ok().map(|bytes| (self.path.clone(), bytes))).flatten()
    }

    /// Forgets images that are not here any more.
    pub(super) fn keep(&mut self, is_here: impl Fn(&str) -> bool) {
        self.all.retain(|image, _| image.rsplit_once('@').is_some_and(|(_, digest)| is_here(digest)));
    }
}

fn hash(credential: &Credential) -> String {
    let text = match credential {
        Credential::Basic { username, password } => format!("basic\0{username}\0{password}"),
        Credential::Identity(token) => format!("identity\0{token}"),
        Credential::Bearer(token) => format!("bearer\0{token}"),
    };
    hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jane(password: &str) -> Credential {
        Credential::Basic { username: "jane".into(), password: password.into() }
    }

    #[test]
    fn an_image_is_for_those_who_were_given_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grants.json");
        let mut grants = Grants::open(&path);
        assert!(!grants.include("a@1", &[jane("x")]));
        let (place, bytes) = grants.add("a@1", Some(&jane("x"))).unwrap();
        assert!(grants.add("a@1", Some(&jane("x"))).is_none());
        assert!(!String::from_utf8(bytes.clone()).unwrap().contains("jane"));
        std::fs::write(place, bytes).unwrap();

        let mut again = Grants::open(&path);
        assert!(again.include("a@1", &[jane("y"), jane("x")]));
        for (image, who) in [("a@1", vec![jane("y")]), ("a@1", vec![]), ("a@2", vec![jane("x")])] {
            assert!(!again.include(image, &who), "{image} {who:?}");
        }
        again.add("a@1", None);
        assert!(again.include("a@1", &[]) && again.include("a@1", &[jane("y")]));
        again.keep(|digest| digest == "2");
        assert!(!again.include("a@1", &[]));
    }
}
