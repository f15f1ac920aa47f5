//! LimitRange: how much one pod, container or claim of a namespace may have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, CREATED, NAME};
use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::require;
use crate::registry::check::numbers::nanos;
use crate::registry::check::{Errors, at, item, resources};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, CREATED];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short_names: &["limits"],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

const CONTAINER: &str = "Container";
const POD: &str = "Pod";
const CLAIM: &str = "PersistentVolumeClaim";

/// One in billionths.
const ONE: i128 = 1_000_000_000;

impl Kind for Strategy {
    type Object = LimitRange;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.LimitRange";

    const NULLS: &'static [&'static str] = &["spec.limits"];

    fn default(object: &mut LimitRange) {
        for limit in &mut object.spec.get_or_insert_default().limits {
            if limit.type_ == CONTAINER {
                default(limit);
            }
        }
    }

    fn validate(object: &LimitRange) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut kinds = BTreeSet::new();
        for (index, limit) in object.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
            let path = item("spec", "limits", index);
            kind(&mut errors, &at(&path, "type"), &limit.type_);
            if !kinds.insert(limit.type_.as_str()) {
                errors.push(FieldError::duplicate(at(&path, "type"), limit.type_.as_str()));
            }
            names(&mut errors, &path, limit);
            for name in resources_of(limit) {
                amounts(&mut errors, &path, limit, name);
            }
        }
        errors
    }

    fn cells(object: &LimitRange, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&object.metadata), cells::created(&object.metadata)]
    }
}

/// A limit is the greatest there may be, and a request the limit or the least there may be.
fn default(limit: &mut LimitRangeItem) {
    let fill = |into: &mut BTreeMap<String, Quantity>, from: Option<&BTreeMap<String, Quantity>>| {
        for (name, quantity) in from.into_iter().flatten() {
            into.entry(name.clone()).or_insert_with(|| quantity.clone());
        }
    };
    let mut limits = limit.default.take().unwrap_or_default();
    let mut requests = limit.default_request.take().unwrap_or_default();
    fill(&mut limits, limit.max.as_ref());
    fill(&mut requests, Some(&limits));
    fill(&mut requests, limit.min.as_ref());
    limit.default = Some(limits);
    limit.default_request = Some(requests);
}

fn kind(errors: &mut Errors, path: &str, kind: &str) {
    let before = errors.len();
    require(errors, path, kind, qualified_name);
    if errors.len() == before && !kind.contains('/') && ![POD, CONTAINER, CLAIM].contains(&kind) {
        errors.push(FieldError::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
}

type Amounts = Option<BTreeMap<String, Quantity>>;

fn fields(limit: &LimitRangeItem) -> [(&'static str, &Amounts); 5] {
    [
        ("max", &limit.max),
        ("min", &limit.min),
        ("default", &limit.default),
        ("defaultRequest", &limit.default_request),
        ("maxLimitRequestRatio", &limit.max_limit_request_ratio),
    ]
}

fn resources_of(limit: &LimitRangeItem) -> BTreeSet<&str> {
    fields(limit).iter().flat_map(|(_, amounts)| amounts.iter().flatten()).map(|(name, _)| name.as_str()).collect()
}

fn names(errors: &mut Errors, path: &str, limit: &LimitRangeItem) {
    for (field, amounts) in fields(limit) {
        if limit.type_ == POD && field.starts_with("default") {
            if amounts.as_ref().is_some_and(|amounts| !amounts.is_empty()) {
                errors.push(FieldError::forbidden(at(path, field), "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (name, _) in amounts.iter().flatten() {
            let path = format!("{path}.{field}[{name}]");
            match limit.type_.as_str() {
                POD | CONTAINER => resources::of_container(errors, &path, name),
                _ => resources::name(errors, &path, name),
            }
        }
    }
    let storage = |amounts: &Amounts| amounts.as_ref().is_some_and(|amounts| amounts.contains_key("storage"));
    if limit.type_ == CLAIM && !storage(&limit.min) && !storage(&limit.max) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(at(path, "limits"), detail));
    }
}

/// An amount and what it is called.
type Amount<'a> = (&'a str, Option<&'a Quantity>);

/// The rules for the amounts of one resource: none is outside of the others.
fn amounts(errors: &mut Errors, path: &str, limit: &LimitRangeItem, name: &str) {
    let get = |amounts: &'_ Amounts| amounts.as_ref().and_then(|amounts| amounts.get(name)).cloned();
    let (least, most) = (get(&limit.min), get(&limit.max));
    let of_pod = limit.type_ == POD;
    let usual = get(&limit.default).filter(|_| !of_pod);
    let request = get(&limit.default_request).filter(|_| !of_pod);
    let mut ordered = |field: &str, (smaller, low): Amount<'_>, (greater, high): Amount<'_>| {
        let (Some(low), Some(high)) = (low, high) else { return };
        if nanos(low) > nanos(high) {
            let detail = format!("{smaller} value {} is greater than {greater} value {}", low.0, high.0);
            errors.push(FieldError::invalid(format!("{path}.{field}[{name}]"), low.0.as_str(), detail));
        }
    };
    let (least, most) = (least.as_ref(), most.as_ref());
    let (usual, request) = (usual.as_ref(), request.as_ref());
    ordered("min", ("min", least), ("max", most));
    ordered("defaultRequest", ("min", least), ("default request", request));
    ordered("defaultRequest", ("default request", request), ("max", most));
    ordered("defaultRequest", ("default request", request), ("default limit", usual));
    ordered("default", ("min", least), ("default", usual));
    ordered("default", ("default", usual), ("max", most));
    let Some(ratio) = get(&limit.max_limit_request_ratio) else { return };
    let path = format!("{path}.maxLimitRequestRatio[{name}]");
    if nanos(&ratio) < ONE {
        let detail = format!("ratio {} is less than 1", ratio.0);
        errors.push(FieldError::invalid(path, ratio.0.as_str(), detail));
    }
}
