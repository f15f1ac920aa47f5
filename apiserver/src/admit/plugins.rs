//! The admission plugins, by Kubernetes' names and in Kubernetes' order, and which of them are in force.
//!
//! A plugin is a file with one [`Plugin`]. Those that have no file are known by name only: `docs/compatibility.md` says
//! that they have no effect.

use serde_json::Value;

use super::attributes::Attributes;
use super::{
    always_deny, always_pull_images, claim_resize, default_ingress_class, default_storage_class, default_tolerations,
    external_ips, lifecycle, namespace_exists, node_taint, priority, service_account, storage_in_use,
};
use crate::answer::Refused;
use crate::store::Key;

type Awaits = fn(&Attributes<'_>, &Value) -> Option<Key>;
type Mutate = fn(&Attributes<'_>, &mut Value) -> Result<(), Refused>;
type Validate = fn(&Attributes<'_>, &Value) -> Result<(), Refused>;
type Delete = fn(&Attributes<'_>, &str) -> Result<(), Refused>;

/// One plugin: what it does at each step, if it does anything there.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// Kubernetes' name.
    pub(super) name: &'static str,
    /// Whether it is in force if nobody says otherwise.
    pub(super) usually: Usually,
    /// An object that a controller is about to make, and that is worth waiting for.
    pub(super) awaits: Option<Awaits>,
    /// Changes or refuses an object before it is validated.
    pub(super) mutate: Option<Mutate>,
    /// Refuses an object that is valid in itself.
    pub(super) validate: Option<Validate>,
    /// Refuses the deletion of the object of this name.
    pub(super) delete: Option<Delete>,
}

/// Whether a plugin is in force if nobody says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usually {
    /// In force.
    On,
    /// Not in force.
    Off,
}

impl Plugin {
    /// A plugin that is in force unless it is disabled, and does nothing yet.
    pub(super) const fn on(name: &'static str) -> Self {
        Self { name, usually: Usually::On, awaits: None, mutate: None, validate: None, delete: None }
    }

    /// The same for one that must be enabled.
    pub(super) const fn off(name: &'static str) -> Self {
        Self { usually: Usually::Off, ..Self::on(name) }
    }
}

/// All of them, in the order in which they are asked.
static PLUGINS: [Plugin; 41] = [
    Plugin::off("AlwaysAdmit"),
    Plugin::off("NamespaceAutoProvision"),
    lifecycle::PLUGIN,
    namespace_exists::PLUGIN,
    Plugin::off("LimitPodHardAntiAffinityTopology"),
    Plugin::on("LimitRanger"),
    service_account::PLUGIN,
    Plugin::off("NodeRestriction"),
    node_taint::PLUGIN,
    always_pull_images::PLUGIN,
    Plugin::off("ImagePolicyWebhook"),
    Plugin::on("PodSecurity"),
    Plugin::off("PodNodeSelector"),
    priority::PLUGIN,
    default_tolerations::PLUGIN,
    Plugin::off("PodTolerationRestriction"),
    Plugin::off("EventRateLimit"),
    Plugin::off("ExtendedResourceToleration"),
    default_storage_class::PLUGIN,
    storage_in_use::PLUGIN,
    Plugin::on("PodGroupProtection"),
    Plugin::off("OwnerReferencesPermissionEnforcement"),
    claim_resize::PLUGIN,
    Plugin::on("RuntimeClass"),
    Plugin::on("CertificateApproval"),
    Plugin::on("CertificateSigning"),
    Plugin::on("ClusterTrustBundleAttest"),
    Plugin::on("CertificateSubjectRestriction"),
    default_ingress_class::PLUGIN,
    external_ips::PLUGIN,
    Plugin::on("PodTopologyLabels"),
    Plugin::on("PodGroupWorkloadExists"),
    Plugin::on("NodeDeclaredFeatureValidator"),
    Plugin::on("JobValidation"),
    Plugin::on("PodResizeValidator"),
    Plugin::on("MutatingAdmissionPolicy"),
    Plugin::on("MutatingAdmissionWebhook"),
    Plugin::on("ValidatingAdmissionPolicy"),
    Plugin::on("ValidatingAdmissionWebhook"),
    Plugin::on("ResourceQuota"),
    always_deny::PLUGIN,
];

/// The names of those that are known and do nothing yet.
pub fn without_effect() -> impl Iterator<Item = &'static str> {
    let idle = |p: &&Plugin| p.awaits.is_none() && p.mutate.is_none() && p.validate.is_none() && p.delete.is_none();
    PLUGINS.iter().filter(idle).map(|plugin| plugin.name)
}

/// A list of plugins that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// A name that there is not.
    #[error("{switch}-admission-plugins plugin {name:?} is unknown; the plugins are: {known}")]
    Unknown {
        /// `enable` or `disable`.
        switch: &'static str,
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// A name that is in both lists.
    #[error("{0:?} in enable-admission-plugins and disable-admission-plugins overlapped")]
    Both(String),
}

/// The plugins in force.
#[derive(Debug)]
pub(crate) struct Plugins(Vec<&'static Plugin>);

impl Plugins {
    /// The usual ones, with those that are enabled and without those that are disabled.
    pub(crate) fn choose(enabled: &[String], disabled: &[String]) -> Result<Self, PluginError> {
        for (switch, names) in [("enable", enabled), ("disable", disabled)] {
            if let Some(name) = names.iter().find(|name| PLUGINS.iter().all(|p| p.name != **name)) {
                let known = PLUGINS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
                return Err(PluginError::Unknown { switch, name: name.clone(), known });
            }
        }
        if let Some(name) = enabled.iter().find(|name| disabled.contains(name)) {
            return Err(PluginError::Both(name.clone()));
        }
        let is_in = |names: &[String], plugin: &Plugin| names.iter().any(|name| name == plugin.name);
        let in_force = |plugin: &&Plugin| match plugin.usually {
            Usually::On => !is_in(disabled, plugin),
            Usually::Off => is_in(enabled, plugin),
        };
        Ok(Self(PLUGINS.iter().filter(in_force).collect()))
    }

    /// What is worth waiting for before the object is admitted.
    pub(super) fn awaits(&self, attributes: &Attributes<'_>, object: &Value) -> Option<Key> {
        self.0.iter().filter_map(|plugin| plugin.awaits).find_map(|awaits| awaits(attributes, object))
    }

    /// Lets all plugins change the object.
    pub(super) fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Refused> {
        self.0.iter().filter_map(|plugin| plugin.mutate).try_for_each(|mutate| mutate(attributes, object))
    }

    /// Lets all plugins look at the object.
    pub(super) fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Refused> {
        self.0.iter().filter_map(|plugin| plugin.validate).try_for_each(|validate| validate(attributes, object))
    }

    /// Lets all plugins say no to a deletion.
    pub(super) fn delete(&self, attributes: &Attributes<'_>, name: &str) -> Result<(), Refused> {
        self.0.iter().filter_map(|plugin| plugin.delete).try_for_each(|delete| delete(attributes, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(enabled: &[&str], disabled: &[&str]) -> Result<Vec<&'static str>, String> {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let plugins = Plugins::choose(&owned(enabled), &owned(disabled));
        plugins.map(|p| p.0.iter().map(|p| p.name).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_plugins_are_in_force_until_they_are_disabled() {
        let usual = chosen(&[], &[]).unwrap();
        assert!(usual.contains(&"ServiceAccount") && !usual.contains(&"AlwaysPullImages"));
        let changed = chosen(&["AlwaysPullImages"], &["ServiceAccount"]).unwrap();
        assert!(!changed.contains(&"ServiceAccount") && changed.contains(&"AlwaysPullImages"));
        let place = |name| changed.iter().position(|n| *n == name);
        assert!(place("NamespaceLifecycle") < place("Priority") && place("Priority") < place("ResourceQuota"));
    }

    #[test]
    fn a_list_that_cannot_be_is_refused_with_the_names_that_there_are() {
        let unknown = chosen(&[], &["SecurityContextDeny"]).unwrap_err();
        assert!(
            unknown.starts_with("disable-admission-plugins plugin \"SecurityContextDeny\" is unknown"),
            "{unknown}"
        );
        assert!(unknown.contains("NamespaceLifecycle, "), "{unknown}");
        let both = chosen(&["Priority"], &["Priority"]).unwrap_err();
        assert_eq!(both, "\"Priority\" in enable-admission-plugins and disable-admission-plugins overlapped");
    }
}
