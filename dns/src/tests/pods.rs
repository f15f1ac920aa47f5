//! What pods are told that ask in process.

use super::*;

#[tokio::test]
async fn a_pod_that_does_not_ask_the_cluster_is_not_told_of_it() {
    let mut tasks = JoinSet::new();
    let (sender, mut asked) = tokio::sync::mpsc::channel(64);
    let running = running(vec![outside(&mut tasks, sender).await]).await;
    let alone = PodNames { servers: Vec::new(), ..of("default") };
    for name in ["web", "web.default.svc.cluster.local", "outside", "www.example.com"] {
        assert!(running.resolver.lookup(name, &alone).await.is_empty(), "{name}");
    }
    assert!(asked.try_recv().is_err());
    let cluster = PodNames { servers: vec![NameServer::Cluster], search: vec!["example.com".to_owned()], ..alone };
    assert_eq!(running.resolver.lookup("www", &cluster).await, [IpAddr::from([192, 0, 2, 7])]);
}

#[tokio::test]
async fn a_name_that_a_pod_may_not_reach_is_not_asked_for_and_others_are_learned() {
    let mut tasks = JoinSet::new();
    let (sender, mut asked) = tokio::sync::mpsc::channel(64);
    let running = running(vec![outside(&mut tasks, sender).await]).await;
    let hosts = [(ANNOTATION_ALLOWED_HOSTS.to_owned(), "*.example.com:443".to_owned())].into();
    let narrowed = Arc::new(Outside::of(&hosts).unwrap().unwrap());
    let pod = PodNames { outside: Some(Arc::clone(&narrowed)), ..of("default") };
    assert!(running.resolver.lookup("www.example.org", &pod).await.is_empty());
    assert!(asked.try_recv().is_err(), "nothing left by the question");
    let found = IpAddr::from([192, 0, 2, 7]);
    assert!(!narrowed.may_reach(found, 443));
    assert_eq!(running.resolver.lookup("www.example.com", &pod).await, [found]);
    assert!(narrowed.may_reach(found, 443) && !narrowed.may_reach(found, 80));
}

#[tokio::test]
async fn several_addresses_take_turns() {
    let running = running(vec![]).await;
    let endpoints = json!([{ "addresses": ["10.1.0.2"] }, { "addresses": ["10.1.0.3"] }]);
    let metadata = json!({ "labels": { "kubernetes.io/service-name": "pair" } });
    let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": [], "endpoints": endpoints });
    running.api.put(SLICES, "pair", slice);
    running.api.put(SERVICES, "pair", json!({ "spec": { "clusterIP": "None" } }));
    let ask = async || running.resolver.lookup("pair", &of("default")).await;
    while ask().await.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_ne!(ask().await.first(), ask().await.first());
}
