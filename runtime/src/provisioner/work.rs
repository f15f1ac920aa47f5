//! What the provisioner does: to directories, and to the objects that speak of them.

use std::io;
use std::sync::Arc;

use coracle_api::event::Kind;
use coracle_api::storage::{FINALIZER_PROVISIONED, is_bound, volume_name};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::known::{Key, Known};
use super::{Provisioner, directory, plan};

/// One thing to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Nothing after all.
    None,
    /// Tell a claim why it gets no volume.
    Refuse(Box<PersistentVolumeClaim>, String),
    /// Make the volume of a claim.
    Make { claim: Box<PersistentVolumeClaim>, class: Box<StorageClass> },
    /// Mark a volume for deletion.
    Mark(Box<PersistentVolume>),
    /// Delete the data of a marked volume, and then let it go.
    Delete(Box<PersistentVolume>),
    /// Let a marked volume go.
    LetGo(Box<PersistentVolume>),
}

/// A job that has ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) key: Key,
    pub(super) result: Result<(), JobError>,
}

/// Why a job is to be tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// A directory could not be made or deleted.
    #[error("{0}")]
    Directory(#[source] io::Error),
    /// The API refused or did not answer.
    #[error("{0}")]
    Api(#[from] kube::Error),
    /// The object could not be built.
    #[error("{0}")]
    Object(#[from] serde_json::Error),
    /// The work was broken off.
    #[error("the work was broken off")]
    BrokenOff,
}

/// Does jobs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Worker(Arc<Provisioner>);

impl Worker {
    pub(super) fn new(provisioner: Provisioner) -> Self {
        Self(Arc::new(provisioner))
    }

    pub(super) fn node(&self) -> &str {
        self.0.node.as_str()
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.0.client.clone())
    }

    /// Removes empty directories that nothing speaks for: their making was cut off.
    pub(super) async fn sweep(&self, known: &Known) {
        let (root, spoken_for) = (self.0.dir.clone(), known.spoken_for());
        let swept =
            tokio::task::spawn_blocking(move || directory::sweep(&root, |name| spoken_for.contains(name))).await;
        match swept {
            Ok(Ok(kept)) if kept.is_empty() => {}
            Ok(Ok(kept)) => tracing::info!(
                ?kept,
                "directories hold the data of volumes that were retained and then deleted: delete them by hand"
            ),
            Ok(Err(error)) => tracing::info!(%error, "the directories of volumes could not be swept"),
            Err(_) => {}
        }
    }

    /// Does a job, and says so of what it is about.
    pub(super) async fn perform(&self, job: Job) -> Result<(), JobError> {
        match job {
            Job::None => Ok(()),
            Job::Refuse(claim, why) => {
                self.0.speaker.about(claim.as_ref(), Kind::Warning, "ProvisioningFailed", why);
                Ok(())
            }
            Job::Make { claim, class } => {
                let key = format!("{}/{}", claim.namespace().unwrap_or_default(), claim.name_any());
                let words = format!("External provisioner is provisioning volume for claim {key:?}");
                self.0.speaker.about(claim.as_ref(), Kind::Normal, "Provisioning", words);
                let made = self.make(&claim, &class).await;
                let (kind, reason, words) = match &made {
                    Ok(name) => {
                        (Kind::Normal, "ProvisioningSucceeded", format!("Successfully provisioned volume {name}"))
                    }
                    Err(error) => {
                        let class = class.name_any();
                        let words = format!("failed to provision volume with StorageClass {class:?}: {error}");
                        (Kind::Warning, "ProvisioningFailed", words)
                    }
                };
                self.0.speaker.about(claim.as_ref(), kind, reason, words);
                made.map(drop)
            }
            Job::Mark(volume) => self.mark(&volume).await,
            Job::LetGo(volume) => self.let_go(&volume).await,
            Job::Delete(volume) => {
                let deleted = self.delete(&volume).await;
                if let Err(error) = &deleted {
                    let words = format!("failed to delete volume: {error}");
                    self.0.speaker.about(volume.as_ref(), Kind::Warning, "VolumeFailedDelete", words);
                }
                deleted
            }
        }
    }

    async fn make(&self, claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<String, JobError> {
        let name = plan::name_for(claim);
        let root = self.0.dir.clone();
        let volume = plan::volume_for(claim, class, self.node(), &self.0.host_name, &root)?;
        self.on_disk(&name, directory::make).await?;
        match self.volumes().create(&PostParams::default(), &volume).await {
            // A former life of this node came as far.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(name),
            created => created.map(|_| name).map_err(JobError::Api),
        }
    }

    async fn on_disk(&self, name: &str, work: fn(&std::path::Path, &str) -> io::Result<()>) -> Result<(), JobError> {
        let (root, name) = (self.0.dir.clone(), name.to_owned());
        let worked = tokio::task::spawn_blocking(move || work(&root, &name)).await;
        worked.map_err(|_| JobError::BrokenOff)?.map_err(JobError::Directory)
    }

    /// Whether any claim is bound to the volume, as the API has it now.
    async fn is_claimed(&self, volume: &PersistentVolume) -> Result<bool, JobError> {
        let claims: Api<PersistentVolumeClaim> = Api::all(self.0.client.clone());
        let name = volume.name_any();
        let claims = claims.list(&ListParams::default()).await?;
        Ok(claims.items.iter().any(|claim| is_bound(claim) && volume_name(claim) == name))
    }

    async fn mark(&self, volume: &PersistentVolume) -> Result<(), JobError> {
        if self.is_claimed(volume).await? {
            return Ok(());
        }
        let preconditions = Preconditions { uid: volume.uid(), resource_version: volume.resource_version() };
        let params = DeleteParams::default().preconditions(preconditions);
        match self.volumes().delete(&volume.name_any(), &params).await {
            // It changed or is gone: the watch tells, and it is decided anew.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            marked => marked.map(drop).map_err(JobError::Api),
        }
    }

    async fn delete(&self, volume: &PersistentVolume) -> Result<(), JobError> {
        if self.is_claimed(volume).await? {
            return Ok(());
        }
        self.on_disk(&volume.name_any(), directory::remove).await?;
        self.let_go(volume).await
    }

    async fn let_go(&self, volume: &PersistentVolume) -> Result<(), JobError> {
        let finalizers = volume.metadata.finalizers.iter().flatten();
        let others: Vec<_> = finalizers.filter(|finalizer| *finalizer != FINALIZER_PROVISIONED).collect();
        let meta = json!({"uid": volume.uid(), "resourceVersion": volume.resource_version(), "finalizers": others});
        let patch = Patch::Merge(json!({ "metadata": meta }));
        match self.volumes().patch(&volume.name_any(), &PatchParams::default(), &patch).await {
            // It changed: the watch tells, and it is decided anew.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            patched => patched.map(drop).map_err(JobError::Api),
        }
    }
}
