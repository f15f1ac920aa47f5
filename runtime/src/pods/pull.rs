//! A container's image: from the local store, or from its registry, as the pull policy has it.
//!
//! An image that was pushed here has its origin here: the store is its registry, and `Always` asks nobody else.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use coracle_api::event::Kind;
use k8s_openapi::api::core::v1::Pod;

use super::launch::Order;
use crate::images::pull::{Keyring, PullError, Pulled};
use crate::images::{Image, Missing, Reference};
use crate::lifecycle::Problem;
use crate::sources::Source;

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

/// What is to be done for an image.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is here and may be used.
    Use(Image),
    /// Its registry is asked.
    Pull,
    /// Nothing can be done.
    GiveUp(Problem),
}

/// Whether the pod may have an image that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// It was pushed here, or given to one of the pod's credentials, or to anybody.
    Granted,
    /// Only the registry can tell.
    Unknown,
}

/// What the policy makes of what the store has.
fn decide(policy: Policy, name: &str, found: Result<Image, Missing>, access: Access) -> Step {
    match (policy, found) {
        (Policy::Always, Ok(image)) if image.was_pulled => Step::Pull,
        (Policy::IfNotPresent, Ok(_)) if access == Access::Unknown => Step::Pull,
        (Policy::Never, Ok(_)) if access == Access::Unknown => Step::GiveUp(Problem::ErrImageNeverPull(format!(
            "Container image {name:?} is present with pull policy of Never but does not have the proper credentials to \
             access the image"
        ))),
        (Policy::Always | Policy::IfNotPresent | Policy::Never, Ok(image)) => Step::Use(image),
        (Policy::Never, Err(Missing::NotFound { .. })) => Step::GiveUp(Problem::ErrImageNeverPull(format!(
            "Container image {name:?} is not present with pull policy of Never"
        ))),
        (Policy::Always | Policy::IfNotPresent, Err(Missing::NotFound { .. })) => Step::Pull,
        (Policy::Always | Policy::IfNotPresent | Policy::Never, Err(other @ Missing::NotWasm { .. })) => {
            Step::GiveUp(Problem::InvalidImage(other.to_string()))
        }
    }
}

/// What is said of a pull that is done.
fn pulled_words(name: &str, pulled: &Pulled) -> String {
    format!(
        "Successfully pulled image {name:?} in {} ({} including waiting). Image size: {} bytes.",
        in_words(pulled.took),
        in_words(pulled.took_with_waiting),
        pulled.size
    )
}

/// How Go prints a duration that was cut to milliseconds: `12ms`, `1.234s`, `1m2.5s`.
fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (minutes, seconds, rest) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let mut text = if minutes >= 60 {
        format!("{}h{}m{seconds}", minutes / 60, minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{seconds}")
    } else {
        seconds.to_string()
    };
    if rest > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{rest:03}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text + "s"
}

/// The pull secrets that a pod names; admission has added those of its ServiceAccount.
fn pull_secrets(pod: &Pod) -> Vec<String> {
    let named = pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten());
    named.map(|s| s.name.clone()).filter(|name| !name.is_empty()).collect()
}

impl Order {
    /// The image to start from.
    pub(super) async fn image(&self, name: &str, reference: &Reference) -> Result<Image, Problem> {
        let policy = match self.container.image_pull_policy.as_deref() {
            Some("Never") => Policy::Never,
            Some("Always") => Policy::Always,
            // The API server fills it in; this is for one that does not.
            _ => Policy::IfNotPresent,
        };
        let found = self.shared.images.find(reference);
        let access = match &found {
            Ok(image) if image.was_pulled && policy != Policy::Always => {
                let credentials = self.keyring().await?.find(reference.repository());
                let granted = self.shared.puller.was_granted(image, &credentials);
                if granted { Access::Granted } else { Access::Unknown }
            }
            Ok(_) | Err(_) => Access::Granted,
        };
        match decide(policy, name, found, access) {
            Step::Use(image) => {
                let message =
                    format!("Container image {name:?} already present on machine and can be accessed by the pod");
                self.say(Kind::Normal, "Pulled", message);
                Ok(image)
            }
            Step::GiveUp(problem) => Err(problem),
            Step::Pull => {
                self.say(Kind::Normal, "Pulling", format!("Pulling image {name:?}"));
                let pulled = self.pull(reference).await?;
                self.say(Kind::Normal, "Pulled", pulled_words(name, &pulled));
                Ok(pulled.image)
            }
        }
    }

    async fn pull(&self, reference: &Reference) -> Result<Pulled, Problem> {
        let puller = &self.shared.puller;
        if !puller.has_registry(reference) {
            let missing = Missing::not_found(reference);
            let name = reference.familiar();
            let message = format!(
                "{name:?} names no registry ({reference} would, or mirrors of docker.io in registries.yaml); {missing}"
            );
            return Err(Problem::ErrImagePull(message));
        }
        let keyring = self.keyring().await?;
        let credentials = keyring.find(reference.repository());
        puller.pull(reference, &credentials).await.map_err(|error| match error {
            PullError::NotWasm(missing) => Problem::InvalidImage(missing.to_string()),
            other => Problem::ErrImagePull(match self.shared.images.find(reference) {
                Err(missing @ Missing::NotFound { .. }) => format!("{}; {missing}", crate::with_causes(&other)),
                Ok(_) | Err(Missing::NotWasm { .. }) => crate::with_causes(&other),
            }),
        })
    }

    /// The credentials in the pod's pull secrets. One that is missing is told, and the rest is tried.
    async fn keyring(&self) -> Result<Keyring, Problem> {
        let mut keyring = Keyring::default();
        let names = pull_secrets(&self.pod);
        if names.is_empty() {
            return Ok(keyring);
        }
        let failed = |message: String| Problem::ErrImagePull(message);
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let wanted: BTreeSet<Source> = names.iter().cloned().map(Source::Secret).collect();
        let fetched =
            self.shared.sources.fetch(namespace, &wanted).await.map_err(|e| failed(crate::with_causes(&e)))?;
        let mut missing: Vec<&str> = Vec::new();
        for name in &names {
            match fetched.get(&Source::Secret(name.clone())) {
                Some(data) => keyring.add_secret(data).map_err(|e| failed(format!("pull secret {name:?}: {e}")))?,
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            let speaker = &self.shared.speaker;
            speaker.pod(&self.pod, None, Kind::Warning, "FailedToRetrieveImagePullSecret", message);
        }
        Ok(keyring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(was_pulled: bool) -> Image {
        let digest = coracle_api::names::Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap();
        Image { digest: digest.clone(), id: "i".into(), layer: digest, path: "p".into(), size: 1, was_pulled }
    }

    #[test]
    fn the_policy_decides_what_is_asked_of_a_registry() {
        let none = || Err(Missing::not_found(&"a:1".parse().unwrap()));
        let of = |policy, found, access| match decide(policy, "a:1", found, access) {
            Step::Use(_) => "use",
            Step::Pull => "pull",
            Step::GiveUp(Problem::ErrImageNeverPull(_)) => "never",
            Step::GiveUp(_) => "invalid",
        };
        let all = |policy| {
            let broken = Err(Missing::NotWasm { name: "a".into(), why: "w".into() });
            let known = [none(), Ok(image(true)), Ok(image(false)), broken].map(|f| of(policy, f, Access::Granted));
            (known, of(policy, Ok(image(true)), Access::Unknown))
        };
        assert_eq!(all(Policy::Always), (["pull", "pull", "use", "invalid"], "pull"));
        assert_eq!(all(Policy::IfNotPresent), (["pull", "use", "use", "invalid"], "pull"));
        assert_eq!(all(Policy::Never), (["never", "use", "use", "invalid"], "never"));
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        let of = |millis| in_words(Duration::from_millis(millis));
        assert_eq!(
            [of(0), of(12), of(1000), of(1234), of(1200), of(62_500), of(60_000), of(3_600_000)],
            ["0s", "12ms", "1s", "1.234s", "1.2s", "1m2.5s", "1m0s", "1h0m0s"]
        );
    }
}
