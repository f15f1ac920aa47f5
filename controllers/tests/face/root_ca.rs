//! The certificate of the cluster's authority: given to every namespace, and put back.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::cluster::Cluster;

const NAME: &str = "kube-root-ca.crt";

async fn certificate(cluster: &Cluster, namespace: &str) -> Option<ConfigMap> {
    let map = cluster.api::<ConfigMap>(namespace).get_opt(NAME).await.unwrap()?;
    let is_whole = |data: &BTreeMap<String, String>| {
        data.len() == 1 && data.get("ca.crt").is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----\n"))
    };
    map.data.as_ref().is_some_and(is_whole).then_some(map)
}

#[tokio::test]
async fn every_namespace_has_the_certificate_of_the_authority_whatever_others_do() {
    let cluster = Cluster::start().await;
    let lab = serde_json::from_value(json!({"metadata": {"name": "lab"}})).unwrap();
    Api::<Namespace>::all(cluster.client.clone()).create(&PostParams::default(), &lab).await.unwrap();
    for namespace in ["default", "kube-system", "lab"] {
        cluster.until("the certificate", async || certificate(&cluster, namespace).await.map(drop)).await;
    }
    let maps = cluster.api::<ConfigMap>("lab");
    let first = certificate(&cluster, "lab").await.unwrap();
    assert!(first.annotations()["kubernetes.io/description"].starts_with("Contains a CA bundle that can be used"));

    maps.delete(NAME, &DeleteParams::default()).await.unwrap();
    let again = cluster
        .until("another", async || certificate(&cluster, "lab").await.filter(|map| map.uid() != first.uid()))
        .await;
    let forged = json!({"data": {"ca.crt": "forged", "more": "x"}, "metadata": {"labels": {"mine": "yes"}}});
    maps.patch(NAME, &PatchParams::default(), &Patch::Merge(&forged)).await.unwrap();
    let mended = cluster.until("the same", async || certificate(&cluster, "lab").await).await;
    assert_eq!((mended.uid(), &mended.data), (again.uid(), &first.data));
    assert_eq!(mended.labels()["mine"], "yes", "what does no harm stays");
    cluster.stop().await;
}
