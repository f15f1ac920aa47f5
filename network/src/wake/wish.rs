//! What a Service says of its sleep, and what is scaled for it.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_api::duration;
use coracle_api::names::NamespacedName;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use kube::ResourceExt;

use crate::asked::name_of;

/// On a Service: `true` if what is behind it may be scaled to nothing while nobody asks.
const SCALE_TO_ZERO: &str = "coracle.dev/scale-to-zero";

/// On such a Service: how long nobody must have asked, as `60s`.
const IDLE_AFTER: &str = "coracle.dev/idle-after";

/// On such a Service: what is scaled, as `deployment/web`; else what its selector selects the pods of.
const SCALE_TARGET: &str = "coracle.dev/scale-target";

/// On such a Service: how long connections wait for it to wake, as `30s`.
const WAKE_TIMEOUT: &str = "coracle.dev/wake-timeout";

/// On such a Service, by us: to how many replicas it wakes.
pub(super) const REPLICAS: &str = "coracle.dev/replicas";

/// How long nobody must have asked unless the Service says otherwise.
const IDLE: Duration = Duration::from_secs(60);

/// How long connections wait unless the Service says otherwise: an image may have to be pulled, and few clients wait
/// for longer.
const WAKE: Duration = Duration::from_secs(30);

/// The longest that connections may be made to wait: longer, and they are forgotten rather than awaited.
const WAKE_MAX: Duration = Duration::from_secs(3600);

/// The shortest idle time: below it, every pause between two requests would cost a pod.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// A kind that can be scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Deployment,
    StatefulSet,
}

impl Kind {
    /// As objects name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// What is scaled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) name: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str().to_ascii_lowercase(), self.name)
    }
}

/// A Service that may sleep, or wishes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sleepy {
    pub(crate) service: NamespacedName,
    pub(super) uid: String,
    pub(super) selector: BTreeMap<String, String>,
    pub(crate) wish: Result<Wish, InvalidWish>,
}

/// What a Service wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(super) idle_after: Duration,
    pub(super) wake_timeout: Duration,
    /// Named by the Service.
    pub(super) target: Option<Target>,
    /// To how many replicas it wakes.
    pub(super) replicas: i32,
}

/// A wish that cannot be followed, for an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidWish {
    #[error("annotation {SCALE_TO_ZERO}: {0:?} is neither true nor false")]
    Switch(String),
    #[error(
        "a Service without a cluster address has nothing at which connections could wait: give it one, or take the annotation {SCALE_TO_ZERO} away"
    )]
    NoAddress,
    #[error(
        "a Service without a selector does not say what is to be scaled: add the annotation {SCALE_TARGET}, for example deployment/web"
    )]
    NoTarget,
    #[error("annotation {annotation}: {source}; write for example 60s")]
    Duration { annotation: &'static str, source: duration::InvalidDuration },
    #[error("annotation {IDLE_AFTER}: {0} is too short: at least 1s")]
    IdleTooShort(String),
    #[error("annotation {WAKE_TIMEOUT}: {0} is too long: at most 1h")]
    WakeTooLong(String),
    #[error("annotation {SCALE_TARGET}: {0:?} is no target; write for example deployment/web")]
    Target(String),
}

impl Sleepy {
    /// The Service, if it wishes to sleep.
    pub(crate) fn of(service: &Service) -> Option<Self> {
        let wish = match service.annotations().get(SCALE_TO_ZERO)?.as_str() {
            "false" => return None,
            "true" => Wish::of(service),
            text => Err(InvalidWish::Switch(text.to_owned())),
        };
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        Some(Self { service: name_of(service), uid: service.uid().unwrap_or_default(), selector, wish })
    }

    /// What is scaled: what the Service names, else what its selector selects the pods of, a Deployment before a
    /// StatefulSet, the first by name. Nothing if there is none; of what is named, it is not asked whether it is there.
    pub(super) fn target<'a>(
        &self,
        deployments: impl Iterator<Item = &'a Deployment>,
        sets: impl Iterator<Item = &'a StatefulSet>,
    ) -> Option<Target> {
        if let Ok(Wish { target: Some(target), .. }) = &self.wish {
            return Some(target.clone());
        }
        let is_near = |namespace: Option<String>| namespace.as_ref() == Some(&self.service.namespace);
        let deployments = deployments.filter(|one| is_near(one.namespace()));
        let deployments = deployments.filter(|one| self.selects(&one.spec.template));
        let sets = sets.filter(|one| is_near(one.namespace()));
        let sets = sets.filter(|one| self.selects(&one.spec.template));
        let of = |kind: Kind, name: Option<String>| name.map(|name| Target { kind, name });
        of(Kind::Deployment, deployments.map(ResourceExt::name_any).min())
            .or_else(|| of(Kind::StatefulSet, sets.map(ResourceExt::name_any).min()))
    }

    fn selects(&self, template: &PodTemplateSpec) -> bool {
        let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        let has = |labels: &BTreeMap<_, _>| self.selector.iter().all(|(name, value)| labels.get(name) == Some(value));
        !self.selector.is_empty() && labels.is_some_and(has)
    }
}

impl Wish {
    /// The wish of a Service.
    fn of(service: &Service) -> Result<Self, InvalidWish> {
        let annotation = |name: &str| service.annotations().get(name).map(String::as_str);
        let duration = |name: &'static str, usual: Duration| match annotation(name) {
            None => Ok(usual),
            Some(text) => duration::parse(text).map_err(|source| InvalidWish::Duration { annotation: name, source }),
        };
        let text = |name: &str| annotation(name).unwrap_or_default().to_owned();
        let (idle_after, wake_timeout) = (duration(IDLE_AFTER, IDLE)?, duration(WAKE_TIMEOUT, WAKE)?);
        if idle_after < IDLE_MIN {
            return Err(InvalidWish::IdleTooShort(text(IDLE_AFTER)));
        }
        if wake_timeout > WAKE_MAX {
            return Err(InvalidWish::WakeTooLong(text(WAKE_TIMEOUT)));
        }
        let named = annotation(SCALE_TARGET);
        let named = named.map(|text| target(text).ok_or_else(|| InvalidWish::Target(text.to_owned()))).transpose()?;
        let wish = Self {
            idle_after,
            wake_timeout,
            target: named,
            replicas: annotation(REPLICAS).and_then(|text| text.parse().ok()).filter(|count| *count > 0).unwrap_or(1),
        };
        let spec = service.spec.as_ref();
        let has_address = spec.and_then(|spec| spec.cluster_ip.as_deref()).is_some_and(|ip| ip != "None");
        if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") || !has_address {
            return Err(InvalidWish::NoAddress);
        }
        let selects = spec.and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty());
        if wish.target.is_none() && !selects {
            return Err(InvalidWish::NoTarget);
        }
        Ok(wish)
    }
}

/// A target, as `deployment/web`.
fn target(text: &str) -> Option<Target> {
    let (kind, name) = text.split_once('/').filter(|(_, name)| !name.is_empty())?;
    let kind = match kind.to_ascii_lowercase().as_str() {
        "deployment" | "deployments" | "deploy" | "deployment.apps" | "deployments.apps" => Kind::Deployment,
        "statefulset" | "statefulsets" | "sts" | "statefulset.apps" | "statefulsets.apps" => Kind::StatefulSet,
        _ => return None,
    };
    Some(Target { kind, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;

    fn sleepy(annotations: &Value, spec: &Value) -> Option<Sleepy> {
        let metadata = json!({ "name": "web", "namespace": "default", "annotations": annotations });
        let service: Service = serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
        Sleepy::of(&service)
    }

    fn usual() -> Value {
        json!({ "clusterIP": "10.43.0.9", "selector": { "app": "web" } })
    }

    fn wish(more: &Value, spec: &Value) -> Result<Wish, InvalidWish> {
        let mut annotations = more.clone();
        annotations[SCALE_TO_ZERO] = json!("true");
        sleepy(&annotations, spec).unwrap().wish
    }

    #[test]
    fn a_wish_is_read_of_annotations() {
        assert_eq!(sleepy(&json!({}), &usual()), None);
        assert_eq!(sleepy(&json!({ SCALE_TO_ZERO: "false" }), &usual()), None);
        let plain = Wish { idle_after: IDLE, wake_timeout: WAKE, target: None, replicas: 1 };
        assert_eq!(wish(&json!({}), &usual()), Ok(plain.clone()));
        let full = json!({ IDLE_AFTER: "5m", WAKE_TIMEOUT: "500ms", SCALE_TARGET: "StatefulSet/db", REPLICAS: "3" });
        let target = Some(Target { kind: Kind::StatefulSet, name: "db".to_owned() });
        let (idle_after, wake_timeout) = (Duration::from_secs(300), Duration::from_millis(500));
        assert_eq!(wish(&full, &usual()), Ok(Wish { idle_after, wake_timeout, target, replicas: 3 }));
        assert_eq!(wish(&json!({ REPLICAS: "-1" }), &usual()), Ok(plain));
    }

    #[test]
    fn what_cannot_be_followed_is_said_with_the_fix() {
        let check = |annotations: Value, spec: Value, expected: expect_test::Expect| {
            expected.assert_eq(&wish(&annotations, &spec).unwrap_err().to_string());
        };
        let switch = sleepy(&json!({ SCALE_TO_ZERO: "yes" }), &usual()).unwrap().wish.unwrap_err();
        expect![[r#"annotation coracle.dev/scale-to-zero: "yes" is neither true nor false"#]]
            .assert_eq(&switch.to_string());
        check(
            json!({ IDLE_AFTER: "1x" }),
            usual(),
            expect![[
                r#"annotation coracle.dev/idle-after: time: unknown unit "x" in duration "1x"; write for example 60s"#
            ]],
        );
        check(
            json!({ IDLE_AFTER: "1ms" }),
            usual(),
            expect!["annotation coracle.dev/idle-after: 1ms is too short: at least 1s"],
        );
        check(
            json!({ WAKE_TIMEOUT: "2h" }),
            usual(),
            expect!["annotation coracle.dev/wake-timeout: 2h is too long: at most 1h"],
        );
        check(
            json!({ SCALE_TARGET: "job/x" }),
            usual(),
            expect![[r#"annotation coracle.dev/scale-target: "job/x" is no target; write for example deployment/web"#]],
        );
        check(
            json!({}),
            json!({ "clusterIP": "None", "selector": { "app": "web" } }),
            expect![
                "a Service without a cluster address has nothing at which connections could wait: give it one, or take the annotation coracle.dev/scale-to-zero away"
            ],
        );
        check(
            json!({}),
            json!({ "clusterIP": "10.43.0.9" }),
            expect![
                "a Service without a selector does not say what is to be scaled: add the annotation coracle.dev/scale-target, for example deployment/web"
            ],
        );
    }

    #[test]
    fn what_is_scaled_is_found_by_the_selector() {
        let scaled = |name: &str, namespace: &str, app: &str| {
            let template = json!({ "metadata": { "labels": { "app": app, "more": "x" } } });
            let spec = json!({ "selector": {}, "serviceName": "", "template": template });
            json!({ "metadata": { "name": name, "namespace": namespace }, "spec": spec })
        };
        let deployment = |name, space, app| serde_json::from_value::<Deployment>(scaled(name, space, app)).unwrap();
        let sets = [serde_json::from_value::<StatefulSet>(scaled("s", "default", "web")).unwrap()];
        let web = sleepy(&json!({ SCALE_TO_ZERO: "true" }), &usual()).unwrap();
        let found =
            |deployments: &[Deployment]| web.target(deployments.iter(), sets.iter()).map(|target| target.to_string());
        let (other, far) = (deployment("a", "default", "other"), deployment("a", "elsewhere", "web"));
        let deployments = [other.clone(), far.clone(), deployment("b", "default", "web")];
        assert_eq!(found(&deployments).as_deref(), Some("deployment b"));
        assert_eq!(found(&[other, far]).as_deref(), Some("statefulset s"));
        let named = json!({ SCALE_TO_ZERO: "true", SCALE_TARGET: "deploy/x" });
        let named = sleepy(&named, &json!({ "clusterIP": "10.43.0.9" })).unwrap();
        assert_eq!(named.target([].iter(), [].iter()).unwrap().to_string(), "deployment x");
    }
}
