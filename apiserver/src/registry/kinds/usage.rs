//! The kinds that tell what is used: `NodeMetrics` and `PodMetrics`. They are read off the nodes and never kept
//! ([`usage`](crate::usage)), so all that is particular to them here is their shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::field::FieldError;
use coracle_api::quantity::nanos;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::registry::cells::{self, NAME};
use crate::registry::meta::NameRule;
use crate::registry::quantity::written;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Strategy};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    column("cpu", "quantity", "How much CPU is used, in cores."),
    column("memory", "quantity", "How much memory is used, in bytes."),
    column("Window", "duration", "Over which time the CPU was measured."),
];

const fn column(name: &'static str, format: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format, description, priority: 0 }
}

/// Both of them.
pub(super) fn rows() -> Vec<Row> {
    vec![
        row("NodeMetrics", "nodes", Scope::Cluster, NodeMetrics::SCHEMA, Arc::new(Typed::<NodeMetrics>::new())),
        row("PodMetrics", "pods", Scope::Namespaced, PodMetrics::SCHEMA, Arc::new(Typed::<PodMetrics>::new())),
    ]
}

fn row(
    kind: &'static str,
    plural: &'static str,
    scope: Scope,
    schema: &'static str,
    strategy: Arc<dyn Strategy>,
) -> Row {
    Row {
        group: "metrics.k8s.io",
        version: "v1beta1",
        kind,
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        scope,
        verbs: &["get", "list"],
        subresources: &[],
        schema,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Volatile,
        strategy,
    }
}

/// What a node uses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeMetrics {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    timestamp: Option<Time>,
    window: String,
    usage: Usage,
}

/// What a pod uses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodMetrics {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    timestamp: Option<Time>,
    window: String,
    containers: Vec<ContainerMetrics>,
}

/// What a container uses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerMetrics {
    name: String,
    usage: Usage,
}

/// Amounts by resource.
type Usage = BTreeMap<String, Quantity>;

const CONTAINER_SCHEMA: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1.ContainerMetrics";

impl Kind for NodeMetrics {
    type Object = Self;

    const SCHEMA: &'static str = "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics";

    fn validate(_object: &Self) -> Vec<FieldError> {
        Vec::new()
    }

    fn cells(object: &Self, _now: Timestamp) -> Vec<Value> {
        let of = |resource: &str| Value::from(object.usage.get(resource).map_or("0", |q| q.0.as_str()));
        vec![cells::name(&object.metadata), of("cpu"), of("memory"), object.window.as_str().into()]
    }
}

impl Kind for PodMetrics {
    type Object = Self;

    const SCHEMA: &'static str = "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics";

    fn validate(_object: &Self) -> Vec<FieldError> {
        Vec::new()
    }

    fn cells(object: &Self, _now: Timestamp) -> Vec<Value> {
        // What a cell shows of several containers is their sum.
        let of = |resource: &str| {
            let amounts: Vec<&str> =
                object.containers.iter().filter_map(|c| c.usage.get(resource)).map(|q| q.0.as_str()).collect();
            let like = amounts.iter().find(|amount| amount.ends_with('i')).copied().unwrap_or_default();
            let sum = amounts.iter().filter_map(|amount| nanos(amount).ok()).sum();
            Value::from(written(sum, like))
        };
        vec![cells::name(&object.metadata), of("cpu"), of("memory"), object.window.as_str().into()]
    }
}

impl JsonSchema for NodeMetrics {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Self::SCHEMA.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = of_metrics(generator, "What a node uses.");
        add(&mut schema, "usage", amounts(generator));
        schema
    }
}

impl JsonSchema for PodMetrics {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Self::SCHEMA.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = of_metrics(generator, "What a pod uses.");
        let containers = json_schema!({
            "description": "What its containers use.",
            "type": "array",
            "items": generator.subschema_for::<ContainerMetrics>(),
        });
        add(&mut schema, "containers", containers);
        schema
    }
}

impl JsonSchema for ContainerMetrics {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        CONTAINER_SCHEMA.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What a container uses.",
            "type": "object",
            "properties": {
                "name": {"description": "The container's name.", "type": "string"},
                "usage": amounts(generator),
            },
            "required": ["name", "usage"],
        })
    }
}

/// What both kinds have.
fn of_metrics(generator: &mut SchemaGenerator, description: &str) -> Schema {
    json_schema!({
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": {"description": "The group and version of the object.", "type": "string"},
            "kind": {"description": "The kind of the object.", "type": "string"},
            "metadata": generator.subschema_for::<ObjectMeta>(),
            "timestamp": generator.subschema_for::<Time>(),
            "window": {"description": "Over which time, before the timestamp, it was measured.", "type": "string"},
        },
        "required": ["timestamp", "window"],
    })
}

fn amounts(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "How much is used, by resource.",
        "type": "object",
        "additionalProperties": generator.subschema_for::<Quantity>(),
    })
}

/// Adds a required property.
fn add(schema: &mut Schema, name: &str, property: Schema) {
    let object = schema.ensure_object();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.insert(name.to_owned(), property.to_value());
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.push(name.into());
    }
}
