//! Whom the server asks about names outside, while that changes.

use super::*;
use crate::fake_api::CONFIG_MAPS;
use crate::host::LOOKED_AT_EVERY;

/// A resolver that has this address for every name.
async fn resolver(tasks: &mut JoinSet<()>, ip: [u8; 4]) -> SocketAddr {
    answering(tasks, move |question| {
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        if query.query_type() == RecordType::A {
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(A(ip.into()))));
        }
        answer.add_query(query);
        vec![answer.to_vec().unwrap()]
    })
    .await
}

async fn found(running: &Running, name: &str) -> Vec<IpAddr> {
    running.resolver.lookup(name, &of("default")).await
}

/// Asks until the address is the one that is wanted.
async fn becomes(running: &Running, name: &str, ip: [u8; 4]) {
    while found(running, name).await != [IpAddr::from(ip)] {
        tokio::task::yield_now().await;
    }
}

fn put(running: &Running, data: &Value) {
    running.api.put(CONFIG_MAPS, "kube-dns", json!({ "data": data }));
}

#[tokio::test]
async fn a_machine_that_changes_networks_asks_the_resolvers_of_the_new_one() {
    let mut tasks = JoinSet::new();
    let (here, there) = (resolver(&mut tasks, [192, 0, 2, 1]).await, resolver(&mut tasks, [192, 0, 2, 2]).await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    std::fs::write(&path, format!("nameserver {here}\n")).unwrap();
    let running = running_with(Config { resolv_conf: Some(path.clone()), ..config(vec![]) }).await;
    assert_eq!(found(&running, "www.example.com").await, [IpAddr::from([192, 0, 2, 1])]);

    let next = async |text: String| {
        std::fs::write(dir.path().join("next"), text).unwrap();
        std::fs::rename(dir.path().join("next"), &path).unwrap();
        tokio::time::pause();
        tokio::time::advance(LOOKED_AT_EVERY).await;
        tokio::time::resume();
    };
    next(String::new()).await;
    assert!(found(&running, "www.example.com").await.is_empty(), "there is no network");
    let answer = by_udp(running.addr, &question("www.example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    next(format!("nameserver {}\nnameserver {there}\n", running.addr)).await;
    assert_eq!(found(&running, "www.example.com").await, [IpAddr::from([192, 0, 2, 2])], "it does not ask itself");
}

#[tokio::test]
async fn a_config_map_says_whom_to_ask_and_one_that_is_wrong_changes_nothing() {
    let mut tasks = JoinSet::new();
    let (host, all, corp) = (
        resolver(&mut tasks, [192, 0, 2, 1]).await,
        resolver(&mut tasks, [192, 0, 2, 2]).await,
        resolver(&mut tasks, [192, 0, 2, 3]).await,
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    std::fs::write(&path, format!("nameserver {host}\n")).unwrap();
    let running = running_with(Config { resolv_conf: Some(path), ..config(vec![]) }).await;
    becomes(&running, "www.example.com", [192, 0, 2, 1]).await;

    let stubs = json!({ "corp.example": [corp] }).to_string();
    put(&running, &json!({ "upstreamNameservers": json!([all]).to_string(), "stubDomains": stubs }));
    becomes(&running, "www.example.com", [192, 0, 2, 2]).await;
    becomes(&running, "www.corp.example", [192, 0, 2, 3]).await;

    let mut told = running.api.told.subscribe();
    put(&running, &json!({ "upstreamNameservers": "192.0.2.9" }));
    let told = told.wait_for(|told| !told.is_empty()).await.unwrap().clone();
    assert_eq!(
        told,
        [
            "upstreamNameservers is no JSON like [\"9.9.9.9\"]: invalid type: floating point `192.0`, expected a sequence at line 1 column 5; what was in force stays"
        ]
    );
    assert_eq!(found(&running, "www.example.com").await, [IpAddr::from([192, 0, 2, 2])]);

    running.api.delete(CONFIG_MAPS, "kube-dns");
    becomes(&running, "www.example.com", [192, 0, 2, 1]).await;
}

#[tokio::test]
async fn flags_win_over_a_config_map() {
    let mut tasks = JoinSet::new();
    let (flag, map) = (resolver(&mut tasks, [192, 0, 2, 1]).await, resolver(&mut tasks, [192, 0, 2, 2]).await);
    let running = running(vec![flag]).await;
    let stubs = json!({ "corp.example": [map] }).to_string();
    put(&running, &json!({ "upstreamNameservers": json!([map]).to_string(), "stubDomains": stubs }));
    becomes(&running, "www.corp.example", [192, 0, 2, 2]).await;
    assert_eq!(found(&running, "www.example.com").await, [IpAddr::from([192, 0, 2, 1])]);
}
