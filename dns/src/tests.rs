//! The server's face: questions over UDP and TCP on the loopback address, and look-ups in process.

mod directions;
mod mutated;
mod pods;

use std::net::Ipv6Addr;

use coracle_api::meet::{NameServer, PodNames};
use coracle_api::outside::{ANNOTATION_ALLOWED_HOSTS, Outside};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;

use super::*;
use crate::fake_api::{FakeApi, SERVICES, SLICES};
use crate::server::datagrams::answer_all;

/// What names mean to a pod in a namespace.
fn of(namespace: &str) -> PodNames {
    PodNames::of_namespace(namespace, "cluster.local")
}

/// A server that runs, and a resolver outside for it.
struct Running {
    api: FakeApi,
    addr: SocketAddr,
    resolver: Arc<dyn Resolver>,
    tasks: JoinSet<()>,
    shutdown: DropGuard,
}

fn config(upstreams: Vec<SocketAddr>) -> Config {
    Config { port: 0, upstreams, ..Config::default() }
}

async fn running(upstreams: Vec<SocketAddr>) -> Running {
    running_with(config(upstreams)).await
}

async fn running_with(config: Config) -> Running {
    let api = FakeApi::new();
    let ports = json!([{ "name": "https", "port": 443 }]);
    api.put(SERVICES, "web", json!({ "spec": { "clusterIP": "127.43.0.2", "ports": ports } }));
    api.put(SERVICES, "outside", json!({ "spec": { "type": "ExternalName", "externalName": "www.example.com" } }));
    let dns = Dns::build(api.client(), config).await.unwrap();
    let (addr, resolver, shutdown) = (dns.addr(), dns.resolver(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(dns.run(shutdown.clone()));
    assert_eq!(
        resolver.lookup("web", &of("default")).await,
        [Ipv4Addr::new(127, 43, 0, 2)],
        "the zone is whole by now"
    );
    Running { api, addr, resolver, tasks, shutdown: shutdown.drop_guard() }
}

/// A resolver of the world outside that knows `www.example.com` and remembers what it was asked.
async fn outside(tasks: &mut JoinSet<()>, asked: tokio::sync::mpsc::Sender<String>) -> SocketAddr {
    answering(tasks, move |question| {
        let query = question.queries[0].clone();
        asked.try_send(format!("{} {}", query.name(), query.query_type())).unwrap();
        let mut forged = Message::response(question.metadata.id.wrapping_add(1), OpCode::Query);
        forged.add_query(query.clone());
        let mut about_other = Message::response(question.metadata.id, OpCode::Query);
        about_other.add_query(Query::query(Name::from_ascii("other.example.").unwrap(), query.query_type()));
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(query.clone());
        match (query.name().to_string().as_str(), query.query_type()) {
            ("www.example.com.", RecordType::A) => {
                let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 7)));
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
            }
            ("www.example.com.", _) => {}
            _ => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        vec![forged.to_vec().unwrap(), about_other.to_vec().unwrap(), answer.to_vec().unwrap()]
    })
    .await
}

/// A resolver that says these datagrams to a question.
async fn answering(
    tasks: &mut JoinSet<()>,
    mut say: impl FnMut(Message) -> Vec<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tasks.spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            for datagram in say(Message::from_vec(&buffer[..length]).unwrap()) {
                socket.send_to(&datagram, client).await.unwrap();
            }
        }
    });
    addr
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn wildcard_of(addr: SocketAddr) -> IpAddr {
    if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

async fn by_udp(addr: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind((wildcard_of(addr), 0)).await.unwrap();
    // Connected: an answer that comes from elsewhere is not heard.
    socket.connect(addr).await.unwrap();
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    answer
}

async fn by_tcp(addr: SocketAddr, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn answers(message: &Message) -> Vec<String> {
    message.answers.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_service_is_found_over_udp_and_tcp() {
    let running = running(vec![]).await;
    let question = question("Web.default.svc.cluster.local.", RecordType::A);
    for answer in [by_udp(running.addr, &question).await, by_tcp(running.addr, &question).await] {
        assert_eq!(answers(&answer), ["Web.default.svc.cluster.local. 5 IN A 127.43.0.2"]);
        let Metadata { authoritative, recursion_available, response_code, .. } = answer.metadata;
        assert_eq!((authoritative, recursion_available, response_code), (true, false, ResponseCode::NoError));
        assert_eq!(answer.queries[0].name().to_ascii(), "Web.default.svc.cluster.local.");
    }
}

#[tokio::test]
async fn what_is_missing_is_denied_by_the_zone() {
    let running = running(vec![]).await;
    for (name, kind, code) in [
        ("web.default.svc.cluster.local.", RecordType::AAAA, ResponseCode::NoError),
        ("gone.default.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain),
    ] {
        let answer = by_udp(running.addr, &question(name, kind)).await;
        assert_eq!(answer.metadata.response_code, code, "{name}");
        assert!(answer.answers.is_empty());
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
    }
}

#[tokio::test]
async fn a_change_is_answered_for_without_a_restart() {
    let running = running(vec![]).await;
    running.api.put(SERVICES, "late", json!({ "spec": { "clusterIP": "127.43.0.9" } }));
    while running.resolver.lookup("late", &of("default")).await.is_empty() {
        tokio::task::yield_now().await;
    }
    running.api.delete(SERVICES, "late");
    while !running.resolver.lookup("late", &of("default")).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn of_many_changes_at_once_none_is_missed() {
    let api = FakeApi::new();
    for n in 0..600 {
        let ip = format!("10.0.{}.{}", n / 250, n % 250);
        api.put(SERVICES, &format!("s-{n}"), json!({ "spec": { "clusterIP": ip } }));
    }
    let dns = Dns::build(api.client(), config(vec![])).await.unwrap();
    let (resolver, shutdown, mut tasks) = (dns.resolver(), CancellationToken::new(), JoinSet::new());
    tasks.spawn(dns.run(shutdown.clone()));
    for n in 0..600 {
        assert_eq!(resolver.lookup(&format!("s-{n}"), &of("default")).await.len(), 1, "s-{n}");
    }
}

#[tokio::test]
async fn many_endpoints_are_cut_for_udp_and_whole_for_tcp_and_take_turns() {
    let running = running(vec![]).await;
    let endpoints: Vec<Value> = (2..102).map(|n| json!({ "addresses": [format!("10.1.0.{n}")] })).collect();
    let slice = json!({
        "metadata": { "labels": { "kubernetes.io/service-name": "many" } },
        "addressType": "IPv4", "ports": [], "endpoints": endpoints,
    });
    running.api.put(SLICES, "many", slice);
    running.api.put(SERVICES, "many", json!({ "spec": { "clusterIP": "None" } }));
    while running.resolver.lookup("many", &of("default")).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let mut question = question("many.default.svc.cluster.local.", RecordType::A);
    let cut = by_udp(running.addr, &question).await;
    assert!(cut.metadata.truncation);
    let whole = by_tcp(running.addr, &question).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));
    assert_ne!(whole.answers[0], by_tcp(running.addr, &question).await.answers[0]);

    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    question.set_edns(edns);
    let wider = by_udp(running.addr, &question).await;
    assert!(wider.answers.len() > cut.answers.len(), "EDNS makes room");
}

#[tokio::test]
async fn questions_that_are_not_for_us_are_refused() {
    let running = running(vec![]).await;
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(by_udp(running.addr, &chaos).await.metadata.response_code, ResponseCode::Refused);

    let outside = question("www.example.com.", RecordType::A);
    assert_eq!(by_udp(running.addr, &outside).await.metadata.response_code, ResponseCode::Refused);

    let mut notify = question("cluster.local.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(by_udp(running.addr, &notify).await.metadata.response_code, ResponseCode::NotImp);
}

#[tokio::test]
async fn names_outside_are_asked_outside_and_names_of_the_cluster_are_not() {
    let mut tasks = JoinSet::new();
    let (sender, mut asked) = tokio::sync::mpsc::channel(64);
    let upstream = outside(&mut tasks, sender).await;
    let running = running(vec![upstream]).await;
    let address = ["www.example.com. 60 IN A 192.0.2.7"];

    let answer = by_udp(running.addr, &question("www.example.com.", RecordType::A)).await;
    assert_eq!(answers(&answer), address);
    assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
    let answer = by_udp(running.addr, &question("outside.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(answers(&answer), ["outside.default.svc.cluster.local. 5 IN CNAME www.example.com.", address[0]]);
    let answer = by_tcp(running.addr, &question("gone.example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);

    let found: IpAddr = Ipv4Addr::new(192, 0, 2, 7).into();
    assert_eq!(running.resolver.lookup("www.example.com", &of("default")).await, [found]);
    assert_eq!(running.resolver.lookup("outside", &of("default")).await, [found]);
    for name in ["gone", "gone.default", "gone.default.svc", "gone.default.svc.cluster.local", "www.cluster.local."] {
        assert!(running.resolver.lookup(name, &of("default")).await.is_empty(), "{name}");
    }
    for name in ["www.example.com.default.svc.cluster.local.", "7.0.43.127.in-addr.arpa."] {
        let answer = by_udp(running.addr, &question(name, RecordType::ANY)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    asked.close();
    let mut names: Vec<String> = Vec::new();
    while let Some(name) = asked.recv().await {
        names.push(name);
    }
    names.sort();
    names.dedup();
    assert_eq!(
        names,
        ["gone.default. A", "gone.default. AAAA", "gone.example.com. A", "www.example.com. A", "www.example.com. AAAA"]
    );
}

#[tokio::test]
async fn a_search_path_finds_services_of_other_namespaces() {
    let running = running(vec![]).await;
    let ip: IpAddr = Ipv4Addr::new(127, 43, 0, 2).into();
    for name in ["web.default", "web.default.svc", "web.default.svc.cluster.local", "web.default.svc.cluster.local."] {
        assert_eq!(running.resolver.lookup(name, &of("other")).await, [ip], "{name}");
    }
    assert!(running.resolver.lookup("web", &of("other")).await.is_empty());
    assert_eq!(running.resolver.lookup("192.0.2.1", &of("other")).await, [IpAddr::from([192, 0, 2, 1])]);
    assert!(running.resolver.lookup("localhost", &of("other")).await.contains(&IpAddr::from([127, 0, 0, 1])));
    assert!(running.resolver.lookup("not a name..", &of("other")).await.is_empty());
}

#[tokio::test]
async fn a_resolver_that_is_silent_is_passed_over() {
    let mut tasks = JoinSet::new();
    let (sender, _asked) = tokio::sync::mpsc::channel(64);
    let upstream = outside(&mut tasks, sender).await;
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = running(vec![closed, upstream]).await;
    let answer = by_udp(running.addr, &question("www.example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
}

#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked() {
    let mut tasks = JoinSet::new();
    let (sender, _asked) = tokio::sync::mpsc::channel(64);
    let upstream = outside(&mut tasks, sender).await;
    let everywhere = |bind_address| Config { bind_address, ..config(vec![upstream]) };
    let (v4, v6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
    for (bound, asked) in [(v4, "127.0.0.2"), (v4, "127.0.0.3"), (v6, "127.0.0.2"), (v6, "::1")] {
        let running = running_with(everywhere(bound)).await;
        let addr = SocketAddr::new(asked.parse().unwrap(), running.addr.port());
        for name in ["web.default.svc.cluster.local.", "www.example.com."] {
            let answer = by_udp(addr, &question(name, RecordType::A)).await;
            assert_eq!(answer.answers.len(), 1, "{name} at {addr} of {bound}");
        }
    }
}

#[tokio::test]
async fn before_the_lists_are_there_nothing_is_denied() {
    let api = FakeApi::new();
    let dns = Dns::build(api.client(), config(vec![])).await.unwrap();
    let handler =
        Arc::new(Handler { zones: dns.zones, forwarder: dns.forwarder, turn: AtomicUsize::new(0), counts: dns.counts });
    let mut tasks = JoinSet::new();
    tasks.spawn(answer_all(UdpSocket::from_std(dns.udp).unwrap(), handler));
    let answer = by_udp(dns.addr, &question("web.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn what_was_heard_outside_is_kept_and_the_same_question_is_asked_once() {
    let mut tasks = JoinSet::new();
    let (sender, mut asked) = tokio::sync::mpsc::channel(64);
    let upstream = outside(&mut tasks, sender).await;
    let running = running(vec![upstream]).await;
    let questions = (0..20).map(|n| {
        let name = if n % 2 == 0 { "www.example.com." } else { "WWW.Example.COM." };
        by_udp_owned(running.addr, question(name, RecordType::A))
    });
    for answer in futures::future::join_all(questions).await {
        assert_eq!(answer.answers.len(), 1, "{answer}");
    }
    asked.close();
    let mut times = 0;
    while asked.recv().await.is_some() {
        times += 1;
    }
    assert_eq!(times, 1);
}

async fn by_udp_owned(addr: SocketAddr, message: Message) -> Message {
    by_udp(addr, &message).await
}

#[tokio::test]
async fn a_stub_domain_has_resolvers_of_its_own() {
    let mut tasks = JoinSet::new();
    let (sender, _asked) = tokio::sync::mpsc::channel(64);
    let upstream = outside(&mut tasks, sender).await;
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stub_domains = BTreeMap::from([("com".to_owned(), vec![closed]), ("Example.com".to_owned(), vec![upstream])]);
    let running = running_with(Config { stub_domains, ..config(vec![]) }).await;
    let answer = by_udp(running.addr, &question("www.example.com.", RecordType::A)).await;
    assert_eq!(answers(&answer), ["www.example.com. 60 IN A 192.0.2.7"]);
    let other = by_udp(running.addr, &question("www.example.org.", RecordType::A)).await;
    assert_eq!(other.metadata.response_code, ResponseCode::Refused, "nobody is to be asked about other names");
    let down = by_udp(running.addr, &question("other.com.", RecordType::A)).await;
    assert_eq!(down.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_resolver_that_asks_us_back_ends_with_itself_and_others_are_answered_meanwhile() {
    let mut tasks = JoinSet::new();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (looping, heard) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let running = running(vec![looping]).await;
    let (us, count) = (running.addr, Arc::clone(&heard));
    tasks.spawn(async move {
        let mut buffer = [0; 2048];
        // What we are asked is asked of who asked; what that answers reaches nobody.
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if from != us {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                socket.send_to(&buffer[..length], us).await.unwrap();
            }
        }
    });
    let (slow, prompt) = tokio::join!(
        by_udp_owned(running.addr, question("loop.example.", RecordType::A)),
        by_udp_owned(running.addr, question("web.default.svc.cluster.local.", RecordType::A)),
    );
    assert_eq!(slow.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(answers(&prompt), ["web.default.svc.cluster.local. 5 IN A 127.43.0.2"]);
    assert_eq!(heard.load(std::sync::atomic::Ordering::Relaxed), 1, "it was asked once");
}

#[tokio::test]
async fn a_resolver_that_fails_or_says_nothing_to_the_point_is_passed_over() {
    let mut tasks = JoinSet::new();
    let failing = answering(&mut tasks, |question| {
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(question.queries[0].clone());
        answer.metadata.response_code = ResponseCode::ServFail;
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let lying = answering(&mut tasks, |question| {
        let mut other = question.clone();
        other.metadata.message_type = MessageType::Response;
        other.queries[0].set_query_type(RecordType::MX);
        vec![b"not a message".to_vec(), other.to_vec().unwrap()]
    })
    .await;
    let (sender, _asked) = tokio::sync::mpsc::channel(64);
    let upstream = outside(&mut tasks, sender).await;
    let running = running(vec![failing, lying, upstream]).await;
    let answer = by_udp(running.addr, &question("www.example.com.", RecordType::A)).await;
    assert_eq!(answers(&answer), ["www.example.com. 60 IN A 192.0.2.7"]);
}

#[tokio::test]
async fn nobody_is_given_the_whole_zone() {
    let running = running(vec![]).await;
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        let question = question("cluster.local.", kind);
        for answer in [by_udp(running.addr, &question).await, by_tcp(running.addr, &question).await] {
            assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::Refused, 0));
        }
    }
}

#[tokio::test]
async fn shutdown_ends_it_and_frees_the_port() {
    let mut running = running(vec![]).await;
    let _idle = TcpStream::connect(running.addr).await.unwrap();
    drop(running.shutdown);
    running.tasks.join_next().await.unwrap().unwrap();
    let again = Config { port: running.addr.port(), ..config(vec![]) };
    let dns = Dns::build(running.api.client(), again.clone()).await.unwrap();
    let taken = Dns::build(running.api.client(), again).await.map(|_| ()).unwrap_err();
    assert_eq!(
        taken.to_string(),
        format!("the DNS server cannot listen on {}: choose another port, or 0 for any free one", dns.addr())
    );
}

#[tokio::test]
async fn a_domain_that_is_none_is_refused() {
    for text in ["", ".", "a..b"] {
        let config = Config { cluster_domain: text.to_owned(), ..config(vec![]) };
        let refused = Dns::build(FakeApi::new().client(), config).await.map(|_| ());
        assert!(refused.unwrap_err().to_string().ends_with("is not a domain name: write one like cluster.local"));
    }
}
