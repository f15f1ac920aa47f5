//! The catalogue of rows: who asks for a resource or a kind gets its row.
//!
//! Invariant: a reader sees one whole state of the catalogue. Rows come and go at run time without a lock on the way
//! of a request; a row in use lives on until its last request is answered.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Row, kinds};

/// All rows, shared by everybody who serves requests. A clone is the same catalogue.
#[derive(Clone)]
pub struct Registry(Arc<ArcSwap<State>>);

/// Group, version, and a plural name or a kind.
type Name = (&'static str, &'static str, &'static str);

struct State {
    rows: Arc<[Arc<Row>]>,
    by_plural: HashMap<Name, Arc<Row>>,
    by_kind: HashMap<Name, Arc<Row>>,
}

impl State {
    fn of(rows: Vec<Arc<Row>>) -> Self {
        let index = |name: fn(&Row) -> Name| rows.iter().map(|row| (name(row), Arc::clone(row))).collect();
        let by_plural = index(|row| (row.group, row.version, row.plural));
        let by_kind = index(|row| (row.group, row.version, row.kind));
        Self { rows: rows.into(), by_plural, by_kind }
    }
}

impl Registry {
    /// The kinds that are there from the start.
    #[must_use]
    pub fn builtin() -> Self {
        Self(Arc::new(ArcSwap::from_pointee(State::of(kinds::rows()))))
    }

    /// The row of a resource, as a path names it.
    #[must_use]
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Row>> {
        self.0.load().by_plural.get(&(group, version, plural)).cloned()
    }

    /// The row of a kind, as an object names it.
    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Row>> {
        self.0.load().by_kind.get(&(group, version, kind)).cloned()
    }

    /// All rows in the order of discovery.
    #[must_use]
    pub fn rows(&self) -> Arc<[Arc<Row>]> {
        Arc::clone(&self.0.load().rows)
    }

    /// Adds a row, in the place of one of the same name if there is one.
    pub fn add(&self, row: &Arc<Row>) {
        self.0.rcu(|state| {
            let others = state.rows.iter().filter(|r| !same_resource(r, row)).cloned();
            State::of(others.chain([Arc::clone(row)]).collect())
        });
    }

    /// Takes a row away.
    pub fn remove(&self, row: &Row) {
        self.0.rcu(|state| State::of(state.rows.iter().filter(|r| !same_resource(r, row)).cloned().collect()));
    }
}

fn same_resource(a: &Row, b: &Row) -> bool {
    (a.group, a.version, a.plural) == (b.group, b.version, b.plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_resource_and_by_kind() {
        let registry = Registry::builtin();
        let names: Vec<String> = registry.rows().iter().map(|r| format!("{} {}", r.api_version(), r.plural)).collect();
        expect_test::expect![[r#"
            v1 configmaps
            v1 endpoints
            v1 events
            v1 limitranges
            v1 namespaces
            v1 nodes
            v1 persistentvolumes
            v1 persistentvolumeclaims
            v1 pods
            v1 podtemplates
            v1 replicationcontrollers
            v1 resourcequotas
            v1 secrets
            v1 serviceaccounts
            v1 services
            apps/v1 controllerrevisions
            apps/v1 daemonsets
            apps/v1 deployments
            apps/v1 replicasets
            apps/v1 statefulsets
            autoscaling/v2 horizontalpodautoscalers
            autoscaling/v1 horizontalpodautoscalers
            batch/v1 cronjobs
            batch/v1 jobs
            coordination.k8s.io/v1 leases
            discovery.k8s.io/v1 endpointslices
            events.k8s.io/v1 events
            networking.k8s.io/v1 ingressclasses
            networking.k8s.io/v1 ingresses
            networking.k8s.io/v1 networkpolicies
            apiextensions.k8s.io/v1 customresourcedefinitions
            node.k8s.io/v1 runtimeclasses
            policy/v1 poddisruptionbudgets
            rbac.authorization.k8s.io/v1 clusterrolebindings
            rbac.authorization.k8s.io/v1 clusterroles
            rbac.authorization.k8s.io/v1 rolebindings
            rbac.authorization.k8s.io/v1 roles
            scheduling.k8s.io/v1 priorityclasses
            storage.k8s.io/v1 csidrivers
            storage.k8s.io/v1 csinodes
            storage.k8s.io/v1 csistoragecapacities
            storage.k8s.io/v1 storageclasses
            storage.k8s.io/v1 volumeattachments
            authentication.k8s.io/v1 selfsubjectreviews
            authentication.k8s.io/v1 tokenreviews
            authorization.k8s.io/v1 localsubjectaccessreviews
            authorization.k8s.io/v1 selfsubjectaccessreviews
            authorization.k8s.io/v1 selfsubjectrulesreviews
            authorization.k8s.io/v1 subjectaccessreviews
            metrics.k8s.io/v1beta1 nodes
            metrics.k8s.io/v1beta1 pods"#]]
        .assert_eq(&names.join("\n"));
        assert!(registry.get("apps", "v1", "deployments").is_some_and(|r| r.kind == "Deployment"));
        assert!(registry.by_kind("", "v1", "Pod").is_some_and(|r| r.plural == "pods"));
        assert!(registry.get("apps", "v1", "pods").is_none());
    }

    #[test]
    fn a_row_comes_and_goes_at_run_time() {
        let registry = Registry::builtin();
        let Some(pods) = registry.get("", "v1", "pods") else { panic!("no pods") };
        let widgets = Arc::new(Row { group: "example.com", kind: "Widget", plural: "widgets", ..Row::clone(&pods) });
        registry.clone().add(&widgets);
        assert!(registry.by_kind("example.com", "v1", "Widget").is_some());
        registry.remove(&widgets);
        assert!(registry.get("example.com", "v1", "widgets").is_none());
    }

    #[test]
    fn every_column_has_a_cell() {
        for row in Registry::builtin().rows().iter() {
            let object =
                serde_json::json!({"apiVersion": row.api_version(), "kind": row.kind, "metadata": {"name": "x"}});
            let object = row.strategy.default(object).unwrap();
            let shown = row.strategy.table_row(object.to_string().as_bytes(), jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(shown.cells.len(), row.columns.len(), "{}", row.kind);
        }
    }
}
