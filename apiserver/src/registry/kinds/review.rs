//! The kinds that are questions: whose a token is, who one is, what one may do. Their objects are answered and never
//! kept ([`reviews`](crate::reviews)), so all that is particular to them here is their shape.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use serde_json::Value;

use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Generation, Row, Scope, Strategy};
use crate::store::Durability;

/// All of them.
pub(super) fn rows() -> Vec<Row> {
    const AUTHENTICATION: &str = "authentication.k8s.io";
    const AUTHORIZATION: &str = "authorization.k8s.io";
    let (cluster, namespaced) = (Scope::Cluster, Scope::Namespaced);
    vec![
        row::<SelfSubjectReview>(AUTHENTICATION, "selfsubjectreviews", "selfsubjectreview", cluster),
        row::<TokenReview>(AUTHENTICATION, "tokenreviews", "tokenreview", cluster),
        row::<LocalSubjectAccessReview>(
            AUTHORIZATION,
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
            namespaced,
        ),
        row::<SelfSubjectAccessReview>(AUTHORIZATION, "selfsubjectaccessreviews", "selfsubjectaccessreview", cluster),
        row::<SelfSubjectRulesReview>(AUTHORIZATION, "selfsubjectrulesreviews", "selfsubjectrulesreview", cluster),
        row::<SubjectAccessReview>(AUTHORIZATION, "subjectaccessreviews", "subjectaccessreview", cluster),
    ]
}

fn row<Q: Question>(group: &'static str, plural: &'static str, singular: &'static str, scope: Scope) -> Row
where
    Questioned<Q>: Kind,
{
    Row {
        group,
        version: "v1",
        kind: Q::KIND,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        scope,
        verbs: &["create"],
        subresources: &[],
        schema: Q::SCHEMA,
        columns: &[],
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Volatile,
        strategy: Arc::new(Typed::<Questioned<Q>>::new()) as Arc<dyn Strategy>,
    }
}

/// A kind that is a question.
trait Question: Send + Sync + 'static {
    const KIND: &'static str;
    const SCHEMA: &'static str;
}

/// The strategy of a question.
struct Questioned<Q>(std::marker::PhantomData<fn() -> Q>);

macro_rules! questions {
    ($($kind:ident $schema:literal)*) => { $(
        impl Question for $kind {
            const KIND: &'static str = stringify!($kind);
            const SCHEMA: &'static str = $schema;
        }

        impl Kind for Questioned<$kind> {
            type Object = $kind;

            const SCHEMA: &'static str = $schema;

            fn validate(_asked: &$kind) -> Vec<FieldError> {
                Vec::new()
            }

            fn cells(_asked: &$kind, _now: Timestamp) -> Vec<Value> {
                Vec::new()
            }
        }
    )* };
}

questions! {
    SelfSubjectReview "io.k8s.api.authentication.v1.SelfSubjectReview"
    TokenReview "io.k8s.api.authentication.v1.TokenReview"
    LocalSubjectAccessReview "io.k8s.api.authorization.v1.LocalSubjectAccessReview"
    SelfSubjectAccessReview "io.k8s.api.authorization.v1.SelfSubjectAccessReview"
    SelfSubjectRulesReview "io.k8s.api.authorization.v1.SelfSubjectRulesReview"
    SubjectAccessReview "io.k8s.api.authorization.v1.SubjectAccessReview"
}
