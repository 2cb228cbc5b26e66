//! Every name of the specification, asked of a small world.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use xebec_dns::answer::{Answer, answer};
use xebec_dns::world::{EndpointEntry, PortEntry, ServiceEntry, Shared, SliceEntry, World};
use xebec_dns::{Options, Server};

fn key(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

fn port(name: &str, protocol: &str, port: u16) -> PortEntry {
    PortEntry { name: name.to_owned(), protocol: protocol.to_owned(), port }
}

fn world() -> World {
    let mut world = World::default();
    world.namespaces.extend(["default".to_owned(), "empty".to_owned()]);
    let web = ServiceEntry {
        cluster_ips: vec!["10.96.0.20".parse().unwrap(), "fd00::20".parse().unwrap()],
        ports: vec![port("http", "tcp", 80), port("quic", "udp", 443)],
        ..ServiceEntry::default()
    };
    let headless =
        ServiceEntry { headless: true, ports: vec![port("db", "tcp", 5432)], ..ServiceEntry::default() };
    let endpoint = |address: &str, hostname: Option<&str>, ready| EndpointEntry {
        address: address.parse().unwrap(),
        hostname: hostname.map(str::to_owned),
        ready,
    };
    let slice = SliceEntry {
        endpoints: vec![
            endpoint("10.244.0.5", Some("db-0"), true),
            endpoint("10.244.0.6", None, true),
            endpoint("10.244.0.7", Some("db-2"), false),
        ],
        ports: vec![port("db", "tcp", 5432)],
    };
    world.slices.entry(key("default", "db")).or_default().insert("db-x".to_owned(), slice.clone());
    world.slices.entry(key("default", "all")).or_default().insert("all-x".to_owned(), slice);
    world.services.insert(key("default", "web"), web);
    world.services.insert(key("default", "db"), headless.clone());
    world
        .services
        .insert(key("default", "all"), ServiceEntry { publish_not_ready: true, ..headless.clone() });
    world.services.insert(key("default", "none"), headless);
    let external = ServiceEntry { external_name: Some("example.org".to_owned()), ..ServiceEntry::default() };
    world.services.insert(key("default", "ext"), external);
    world
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn ask(question: &str, kind: RecordType) -> Option<Answer> {
    answer(&world(), &name("cluster.local"), &name(question), kind, 1)
}

fn data(answer: &Answer) -> Vec<String> {
    let mut data: Vec<_> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    data.sort_unstable();
    data
}

#[test]
fn records_of_every_kind_of_name() {
    use RecordType::{A, AAAA, CNAME, PTR, SRV, TXT};
    let table: &[(&str, RecordType, &[&str])] = &[
        ("web.default.svc.cluster.local", A, &["10.96.0.20"]),
        ("WEB.Default.SVC.cluster.LOCAL", A, &["10.96.0.20"]),
        ("web.default.svc.cluster.local", AAAA, &["fd00::20"]),
        ("_http._tcp.web.default.svc.cluster.local", SRV, &["0 100 80 web.default.svc.cluster.local."]),
        (
            "web.default.svc.cluster.local",
            SRV,
            &["0 100 443 web.default.svc.cluster.local.", "0 100 80 web.default.svc.cluster.local."],
        ),
        ("db.default.svc.cluster.local", A, &["10.244.0.5", "10.244.0.6"]),
        ("all.default.svc.cluster.local", A, &["10.244.0.5", "10.244.0.6", "10.244.0.7"]),
        ("db-0.db.default.svc.cluster.local", A, &["10.244.0.5"]),
        ("10-244-0-6.db.default.svc.cluster.local", A, &["10.244.0.6"]),
        (
            "_db._tcp.db.default.svc.cluster.local",
            SRV,
            &[
                "0 100 5432 10-244-0-6.db.default.svc.cluster.local.",
                "0 100 5432 db-0.db.default.svc.cluster.local.",
            ],
        ),
        ("ext.default.svc.cluster.local", A, &["example.org."]),
        ("ext.default.svc.cluster.local", CNAME, &["example.org."]),
        ("10-244-0-99.default.pod.cluster.local", A, &["10.244.0.99"]),
        ("20.0.96.10.in-addr.arpa", PTR, &["web.default.svc.cluster.local."]),
        ("dns-version.cluster.local", TXT, &["1.1.0"]),
    ];
    for (question, kind, expected) in table {
        let found = ask(question, *kind).unwrap();
        assert_eq!(found.code, ResponseCode::NoError, "{question} {kind}");
        assert_eq!(data(&found), *expected, "{question} {kind}");
        assert!(found.authorities.is_empty(), "{question}: a positive answer has no SOA");
    }
}

#[test]
fn headless_endpoints_have_reverse_names() {
    let found = ask("5.0.244.10.in-addr.arpa", RecordType::PTR).unwrap();
    assert_eq!(data(&found), ["db-0.all.default.svc.cluster.local.", "db-0.db.default.svc.cluster.local."]);
}

#[test]
fn srv_answers_bring_the_addresses_of_their_targets() {
    let found = ask("_http._tcp.web.default.svc.cluster.local", RecordType::SRV).unwrap();
    let ips: Vec<_> = found.additionals.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(ips, ["10.96.0.20", "fd00::20"]);
}

#[test]
fn existing_names_without_the_type_are_nodata() {
    let table = [
        ("cluster.local", RecordType::A),
        ("svc.cluster.local", RecordType::A),
        ("default.svc.cluster.local", RecordType::A),
        ("empty.svc.cluster.local", RecordType::A),
        ("web.default.svc.cluster.local", RecordType::MX),
        ("db.default.svc.cluster.local", RecordType::AAAA),
        ("none.default.svc.cluster.local", RecordType::A),
        ("_http._tcp.web.default.svc.cluster.local", RecordType::A),
        ("_tcp.web.default.svc.cluster.local", RecordType::A),
        ("20.0.96.10.in-addr.arpa", RecordType::A),
    ];
    for (question, kind) in table {
        let found = ask(question, kind).unwrap();
        assert_eq!((found.code, found.answers.len()), (ResponseCode::NoError, 0), "{question} {kind}");
        assert!(matches!(found.authorities[0].data, RData::SOA(_)), "{question}: NODATA needs the SOA");
    }
}

#[test]
fn names_that_do_not_exist_are_nxdomain() {
    for question in [
        "nope.default.svc.cluster.local",
        "web.nope.svc.cluster.local",
        "nope.svc.cluster.local",
        "x.web.default.svc.cluster.local",
        "db-2.db.default.svc.cluster.local",
        "_nope._tcp.web.default.svc.cluster.local",
        "_http._udp.web.default.svc.cluster.local",
        "not-an-address.default.pod.cluster.local",
        "10-1-1-1.nope.pod.cluster.local",
        "nope.cluster.local",
        "web.default.svc.svc.cluster.local",
    ] {
        let found = ask(question, RecordType::A).unwrap();
        assert_eq!(found.code, ResponseCode::NXDomain, "{question}");
        assert!(matches!(found.authorities[0].data, RData::SOA(_)), "{question}");
    }
}

#[test]
fn other_names_are_not_ours() {
    for question in [
        "example.org",
        "local",
        "notcluster.local",
        "web.default.svc.cluster.local.example.org",
        "9.9.9.9.in-addr.arpa",
    ] {
        assert_eq!(ask(question, RecordType::A), None, "{question}");
    }
}

/// A resolver that answers every A question with one address, and truncates by UDP when the name says so.
async fn fake_upstream() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
            udp.send_to(&upstream_answer(&buffer[..length], false), peer).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await.unwrap();
            let answer = upstream_answer(&query, true);
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

fn upstream_answer(bytes: &[u8], tcp: bool) -> Vec<u8> {
    let query = Message::from_vec(bytes).unwrap();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.add_queries(query.queries.iter().cloned());
    if query.queries[0].name.to_ascii().starts_with("big") && !tcp {
        reply.metadata.truncation = true;
    } else {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let IpAddr::V4(v4) = address else { unreachable!() };
        let data = RData::A(hickory_proto::rr::rdata::A(v4));
        reply.add_answer(hickory_proto::rr::Record::from_rdata(query.queries[0].name.clone(), 60, data));
    }
    reply.to_vec().unwrap()
}

async fn start(upstreams: Vec<SocketAddr>, shared: Shared) -> (SocketAddr, SocketAddr) {
    let options = Options {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        domain: "cluster.local".to_owned(),
        upstreams,
        timeout: Duration::from_millis(300),
    };
    let server = Server::bind(&options, shared).await.unwrap();
    let addresses = (server.udp_addresses().unwrap()[0], server.tcp_addresses().unwrap()[0]);
    tokio::spawn(server.serve());
    addresses
}

fn query(question: &str) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(question), RecordType::A));
    message
}

async fn udp(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(Duration::from_secs(5), socket.recv_from(&mut buffer)).await.unwrap();
    let reply = Message::from_vec(&buffer[..received.unwrap().0]).unwrap();
    assert_eq!(reply.metadata.id, message.metadata.id, "the client's own id comes back");
    reply
}

async fn tcp(server: SocketAddr, message: &Message) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn synced() -> Shared {
    let shared = Shared::default();
    shared.change(|to| *to = world());
    shared.set_synced();
    shared
}

#[tokio::test]
async fn own_names_are_authoritative_and_others_are_passed_on() {
    // The first resolver is dead: the second is asked after the timeout.
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (by_udp, by_tcp) = start(vec![dead.local_addr().unwrap(), fake_upstream().await], synced()).await;
    let own = udp(by_udp, &query("web.default.svc.cluster.local")).await;
    assert!(own.metadata.authoritative && own.metadata.recursion_available);
    assert_eq!(own.answers[0].data.to_string(), "10.96.0.20");
    let other = udp(by_udp, &query("example.org")).await;
    assert!(!other.metadata.authoritative);
    assert_eq!(other.answers[0].data.to_string(), "192.0.2.7");
    assert!(udp(by_udp, &query("big.example.org")).await.metadata.truncation);
    assert_eq!(tcp(by_tcp, &query("big.example.org")).await.answers.len(), 1);
    assert_eq!(
        tcp(by_tcp, &query("nope.default.svc.cluster.local")).await.metadata.response_code,
        ResponseCode::NXDomain
    );
}

#[tokio::test]
async fn aliases_are_followed_inside_and_outside_the_domain() {
    let shared = synced();
    let alias =
        |target: &str| ServiceEntry { external_name: Some(target.to_owned()), ..ServiceEntry::default() };
    shared.change(|world| {
        world.services.insert(key("default", "inner"), alias("web.default.svc.cluster.local"));
        world.services.insert(key("default", "loop"), alias("loop.default.svc.cluster.local"));
    });
    let (server, _) = start(vec![fake_upstream().await], shared).await;
    let told = async |question: &str| {
        let reply = udp(server, &query(question)).await;
        reply.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        told("inner.default.svc.cluster.local").await,
        ["web.default.svc.cluster.local.", "10.96.0.20"]
    );
    assert_eq!(told("ext.default.svc.cluster.local").await, ["example.org.", "192.0.2.7"]);
    assert!(told("loop.default.svc.cluster.local").await.len() <= 9, "a loop ends");
}

#[tokio::test]
async fn without_a_resolver_that_answers_it_says_so() {
    let (none, _) = start(Vec::new(), synced()).await;
    assert_eq!(udp(none, &query("example.org")).await.metadata.response_code, ResponseCode::Refused);
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (failing, _) = start(vec![dead.local_addr().unwrap()], synced()).await;
    assert_eq!(udp(failing, &query("example.org")).await.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn before_the_first_listing_absence_is_not_claimed() {
    let shared = Shared::default();
    shared.change(|to| *to = world());
    let (server, _) = start(Vec::new(), shared).await;
    let absent = udp(server, &query("nope.default.svc.cluster.local")).await;
    assert_eq!(absent.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(udp(server, &query("web.default.svc.cluster.local")).await.answers.len(), 1);
}

#[tokio::test]
async fn large_answers_are_truncated_by_udp_and_whole_by_tcp() {
    let shared = synced();
    shared.change(|world| {
        let slice = world.slices.get_mut(&key("default", "db")).unwrap().get_mut("db-x").unwrap();
        slice.endpoints = (0..100)
            .map(|n| EndpointEntry { address: IpAddr::from([10, 244, 1, n]), hostname: None, ready: true })
            .collect();
    });
    let (by_udp, by_tcp) = start(Vec::new(), shared).await;
    let question = query("db.default.svc.cluster.local");
    let short = udp(by_udp, &question).await;
    assert!(short.metadata.truncation);
    assert_eq!(tcp(by_tcp, &question).await.answers.len(), 100);
    let mut with_edns = question.clone();
    with_edns.set_edns(Edns::new());
    assert!(udp(by_udp, &with_edns).await.edns.is_some(), "EDNS is answered with EDNS (RFC 6891)");
}

#[tokio::test]
async fn malformed_queries_get_formerr_and_answers_get_nothing() {
    let (server, _) = start(Vec::new(), synced()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut response = query("web.default.svc.cluster.local");
    response.metadata.message_type = MessageType::Response;
    socket.send_to(&response.to_vec().unwrap(), server).await.unwrap();
    socket.send_to(&[1, 2, 3], server).await.unwrap();
    // A header that announces a question which is not there.
    socket.send_to(&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], server).await.unwrap();
    let mut buffer = [0; 512];
    let (length, _) =
        tokio::time::timeout(Duration::from_secs(5), socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    let reply = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::FormErr));
}
