//! What the provisioner knows of claims, volumes and classes, and what it has to look at, and when.
//!
//! A key is worked on by one job at a time; what changes meanwhile is looked at again after it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use coracle_api::names::NamespacedName;
use coracle_api::storage::{claim_class, volume_name};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::plan::{self, ForClaim, ForVolume};
use super::work::{Done, Job};

/// The delay after the first failure, doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// The longest delay: external provisioners' `--retry-interval-max`.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// What there is to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A claim by namespace and name.
    Claim(NamespacedName),
    /// A volume by name.
    Volume(String),
}

/// One kind, as a watch tells of it.
#[derive(Debug)]
struct Kind<K> {
    objects: BTreeMap<NamespacedName, K>,
    listed: HashSet<NamespacedName>,
    complete: bool,
}

impl<K> Default for Kind<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listed: HashSet::new(), complete: false }
    }
}

impl<K: ResourceExt> Kind<K> {
    /// Takes in an event, and returns the objects that changed, as they are or were.
    fn read(&mut self, event: Event<K>) -> Vec<K>
    where
        K: Clone,
    {
        match event {
            Event::Apply(object) => {
                self.objects.insert(key_of(&object), object.clone());
                vec![object]
            }
            Event::InitApply(object) => {
                self.listed.insert(key_of(&object));
                self.objects.insert(key_of(&object), object.clone());
                vec![object]
            }
            Event::Delete(object) => {
                self.objects.remove(&key_of(&object));
                vec![object]
            }
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitDone => {
                self.complete = true;
                let gone: Vec<_> = self.objects.keys().filter(|key| !self.listed.contains(*key)).cloned().collect();
                gone.iter().filter_map(|key| self.objects.remove(key)).collect()
            }
        }
    }
}

fn key_of<K: ResourceExt>(object: &K) -> NamespacedName {
    NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    claims: Kind<PersistentVolumeClaim>,
    volumes: Kind<PersistentVolume>,
    classes: Kind<StorageClass>,
    due: HashMap<Key, Option<Instant>>,
    busy: HashSet<Key>,
    failures: HashMap<Key, u32>,
}

impl Known {
    /// Whether everything has been listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.claims.complete && self.volumes.complete && self.classes.complete
    }

    pub(super) fn claim_event(&mut self, event: Event<PersistentVolumeClaim>) {
        for claim in self.claims.read(event) {
            self.due.insert(Key::Claim(key_of(&claim)), None);
            for name in [volume_name(&claim).to_owned(), plan::name_for(&claim)] {
                self.look_at_volume(name);
            }
        }
    }

    pub(super) fn volume_event(&mut self, event: Event<PersistentVolume>) {
        for volume in self.volumes.read(event) {
            if let Some(named) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) {
                let part = |text: &Option<String>| text.clone().unwrap_or_default();
                let key = Key::Claim(NamespacedName::new(part(&named.namespace), part(&named.name)));
                self.due.insert(key, None);
            }
            self.look_at_volume(volume.name_any());
        }
    }

    pub(super) fn class_event(&mut self, event: Event<StorageClass>) {
        for class in self.classes.read(event) {
            let name = class.name_any();
            let of_class = self.claims.objects.iter().filter(|(_, claim)| claim_class(claim) == Some(name.as_str()));
            let keys: Vec<_> = of_class.map(|(key, _)| Key::Claim(key.clone())).collect();
            self.due.extend(keys.into_iter().map(|key| (key, None)));
        }
    }

    fn look_at_volume(&mut self, name: String) {
        if self.volumes.objects.contains_key(&NamespacedName::new("", name.as_str())) {
            self.due.insert(Key::Volume(name), None);
        }
    }

    /// The next key to work on.
    pub(super) fn next(&mut self, now: Instant) -> Option<Key> {
        let is_due = |(key, at): &(&Key, &Option<Instant>)| at.is_none_or(|at| at <= now) && !self.busy.contains(*key);
        let key = self.due.iter().find(is_due)?.0.clone();
        self.due.remove(&key);
        self.busy.insert(key.clone());
        Some(key)
    }

    /// When the next key is due that waits after a failure.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.iter().filter(|(key, _)| !self.busy.contains(*key)).filter_map(|(_, at)| *at).min()
    }

    /// What is to be done about a key on this node.
    pub(super) fn job(&self, key: &Key, node: &str) -> Job {
        match key {
            Key::Claim(key) => self.claims.objects.get(key).map_or(Job::None, |claim| self.claim_job(claim, node)),
            Key::Volume(name) => {
                let volume = self.volumes.objects.get(&NamespacedName::new("", name.as_str()));
                let Some(volume) = volume else { return Job::None };
                match plan::for_volume(volume, node) {
                    ForVolume::Leave => Job::None,
                    ForVolume::Mark => Job::Mark(Box::new(volume.clone())),
                    ForVolume::Delete => Job::Delete(Box::new(volume.clone())),
                    ForVolume::LetGo => Job::LetGo(Box::new(volume.clone())),
                }
            }
        }
    }

    fn claim_job(&self, claim: &PersistentVolumeClaim, node: &str) -> Job {
        let name = plan::name_for(claim);
        if self.volumes.objects.contains_key(&NamespacedName::new("", name.as_str())) {
            return Job::None;
        }
        let class = claim_class(claim).and_then(|name| self.classes.objects.get(&NamespacedName::new("", name)));
        match plan::for_claim(claim, class, node) {
            ForClaim::Leave => Job::None,
            ForClaim::Refuse(why) => Job::Refuse(Box::new(claim.clone()), why),
            ForClaim::Make => class.map_or(Job::None, |class| Job::Make {
                claim: Box::new(claim.clone()),
                class: Box::new(class.clone()),
            }),
        }
    }

    /// Takes in what became of a job.
    pub(super) fn done(&mut self, done: Done, now: Instant) {
        let Done { key, result } = done;
        self.busy.remove(&key);
        if result.is_ok() {
            self.failures.remove(&key);
            return;
        }
        let failures = self.failures.entry(key.clone()).or_default();
        *failures = failures.saturating_add(1);
        let delay = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(*failures - 1)).min(BACKOFF_MAX);
        self.due.entry(key).or_insert(Some(now + delay));
    }

    /// The names of all directories that something speaks for.
    pub(super) fn spoken_for(&self) -> HashSet<String> {
        let volumes = self.volumes.objects.keys().map(|key| key.name.clone());
        volumes.chain(self.claims.objects.values().map(plan::name_for)).collect()
    }
}
