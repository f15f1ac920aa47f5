//! The book of what the watches said: each change of a Service, a slice or a namespace is one change of the cluster.

use coracle_api::listed::Listed;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::zone::cluster::{Asked, Cluster, Group, Key, key, service_of};

/// The cluster as it is known.
#[derive(Default)]
pub(crate) struct Book {
    cluster: Cluster,
    services: Listed<Key, ()>,
    /// By `NAMESPACE/NAME` of the slice: whose it is.
    slices: Listed<Box<str>, Key>,
    namespaces: Listed<Box<str>, ()>,
    is_stale: bool,
}

impl Book {
    /// The cluster, if it has changed since the last call and all lists have come: one that is made of half the
    /// objects would deny names that exist.
    pub(crate) fn changed(&mut self) -> Option<Cluster> {
        let is_whole = self.services.is_whole() && self.slices.is_whole() && self.namespaces.is_whole();
        (is_whole && std::mem::take(&mut self.is_stale)).then(|| self.cluster.clone())
    }

    /// Notes what the watch of Services said.
    pub(crate) fn note_service(&mut self, event: &Event<Service>) {
        match event {
            Event::Init => self.services.begin(),
            Event::Apply(service) | Event::InitApply(service) => {
                let key = key_of(service);
                self.cluster.put_service(&key, Asked::of(service));
                self.services.put(key, ());
            }
            Event::Delete(service) => {
                let key = key_of(service);
                self.cluster.put_service(&key, None);
                self.services.remove(&key);
            }
            Event::InitDone => {
                for (key, ()) in self.services.end() {
                    self.cluster.put_service(&key, None);
                }
            }
        }
        self.is_stale = true;
    }

    /// Notes what the watch of EndpointSlices said.
    pub(crate) fn note_slice(&mut self, event: &Event<EndpointSlice>) {
        match event {
            Event::Init => self.slices.begin(),
            Event::Apply(slice) | Event::InitApply(slice) => {
                let (name, owner) = (path_of(slice), service_of(slice));
                let before = match &owner {
                    Some(owner) => self.slices.put(name.clone(), owner.clone()),
                    None => self.slices.remove(&name),
                };
                if let Some(before) = before.filter(|before| Some(before) != owner.as_ref()) {
                    self.cluster.put_slice(&before, &name, None);
                }
                if let Some(owner) = owner {
                    self.cluster.put_slice(&owner, &name, Some(Group::of(slice)));
                }
            }
            Event::Delete(slice) => {
                let name = path_of(slice);
                if let Some(owner) = self.slices.remove(&name) {
                    self.cluster.put_slice(&owner, &name, None);
                }
            }
            Event::InitDone => {
                for (name, owner) in self.slices.end() {
                    self.cluster.put_slice(&owner, &name, None);
                }
            }
        }
        self.is_stale = true;
    }

    /// Notes what the watch of namespaces said.
    pub(crate) fn note_namespace(&mut self, event: &Event<Namespace>) {
        match event {
            Event::Init => self.namespaces.begin(),
            Event::Apply(namespace) | Event::InitApply(namespace) => {
                let name = namespace.name_any().into_boxed_str();
                self.cluster.put_namespace(&name, true);
                self.namespaces.put(name, ());
            }
            Event::Delete(namespace) => {
                let name = namespace.name_any().into_boxed_str();
                self.cluster.put_namespace(&name, false);
                self.namespaces.remove(&name);
            }
            Event::InitDone => {
                for (name, ()) in self.namespaces.end() {
                    self.cluster.put_namespace(&name, false);
                }
            }
        }
        self.is_stale = true;
    }
}

fn key_of(service: &Service) -> Key {
    let meta = &service.metadata;
    key(meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default())
}

fn path_of(slice: &EndpointSlice) -> Box<str> {
    format!("{}/{}", slice.namespace().unwrap_or_default(), slice.name_any()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str) -> Service {
        let spec = json!({ "clusterIP": "None" });
        serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec })).unwrap()
    }

    fn slice(name: &str, of: &str, ip: &str) -> EndpointSlice {
        let metadata = json!({ "name": name, "namespace": "shop", "labels": { "kubernetes.io/service-name": of } });
        let endpoints = json!([{ "addresses": [ip] }]);
        let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": [], "endpoints": endpoints });
        serde_json::from_value(slice).unwrap()
    }

    fn listed() -> Book {
        let mut book = Book::default();
        book.note_service(&Event::Init);
        book.note_service(&Event::InitApply(service("db")));
        book.note_service(&Event::InitApply(service("web")));
        book.note_service(&Event::InitDone);
        book.note_slice(&Event::Init);
        book.note_slice(&Event::InitApply(slice("db-1", "db", "10.0.0.1")));
        book.note_slice(&Event::InitDone);
        book
    }

    fn found(cluster: &Cluster, service: &str) -> Vec<String> {
        let named = cluster.service(service).into_iter();
        named
            .flat_map(|named| named.endpoints().map(|(endpoint, _)| endpoint.ip.to_string()).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn nothing_is_said_before_all_lists_have_come() {
        let mut book = listed();
        assert!(book.changed().is_none());
        book.note_namespace(&Event::Init);
        book.note_namespace(&Event::InitDone);
        assert_eq!(found(&book.changed().unwrap(), "db.shop"), ["10.0.0.1"]);
        assert!(book.changed().is_none(), "nothing has changed since");
    }

    #[test]
    fn what_a_new_list_does_not_have_is_gone_and_a_slice_may_change_its_service() {
        let mut book = listed();
        book.note_namespace(&Event::Init);
        book.note_namespace(&Event::InitDone);
        book.note_slice(&Event::Apply(slice("db-1", "web", "10.0.0.2")));
        let cluster = book.changed().unwrap();
        assert_eq!((found(&cluster, "db.shop"), found(&cluster, "web.shop")), (vec![], vec!["10.0.0.2".to_owned()]));
        book.note_service(&Event::Init);
        book.note_service(&Event::InitApply(service("db")));
        book.note_service(&Event::InitDone);
        let cluster = book.changed().unwrap();
        assert!(cluster.service("web.shop").is_none() && cluster.service("db.shop").is_some());
        book.note_slice(&Event::Delete(slice("db-1", "web", "10.0.0.2")));
        assert_eq!(book.changed().unwrap().owners([10, 0, 0, 2].into()).count(), 0);
    }
}
