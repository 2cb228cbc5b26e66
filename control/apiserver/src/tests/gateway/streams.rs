//! exec, attach and port-forward of every client generation.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

use super::client::{WebSocket, head, tls, websocket};
use super::{PODS, cluster_with_pod};
use crate::tests::harness::Cluster;
use crate::tests::kubectl::Kubectl;

const V5: &str = "v5.channel.k8s.io";

async fn exec(cluster: &Cluster, query: &str) -> WebSocket {
    let path = format!("{PODS}/p/exec?container=c&{query}");
    let opened = websocket(cluster, &path, "v5.channel.k8s.io,v4.channel.k8s.io").await.unwrap();
    assert_eq!(opened.response.headers()["sec-websocket-protocol"], V5);
    opened
}

fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v5_is_translated_to_spdy() {
    let cluster = cluster_with_pod().await;
    let heard = exec(&cluster, "command=say&command=3").await.listen().await;
    assert_eq!(heard.first.as_deref(), Some(&[1][..]), "the first message says that the connection is there");
    assert_eq!(
        String::from_utf8_lossy(&heard.channels[1]),
        "POST /exec/default/p/c?output=1&error=1&command=say&command=3\n"
    );
    assert_eq!(heard.channels[2], b"complaint\n");
    let status = heard.status();
    assert_eq!((&status["status"], &status["reason"]), (&json!("Failure"), &json!("NonZeroExitCode")));
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
    assert_eq!(heard.close, Some(1000));
    // A refusal of the kubelet comes on the error channel, since the client is upgraded already.
    let refused = exec(&cluster, "command=refused").await.listen().await.status();
    let words = "Internal error occurred: unable to upgrade connection: container not found (\"c\")";
    assert_eq!((&refused["code"], &refused["message"]), (&json!(500), &json!(words)));
    let died = exec(&cluster, "command=die").await.listen().await.status();
    let words = "Internal error occurred: error reading from error stream: the kubelet's connection ended";
    assert_eq!(died["message"], words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v5_closes_input_alone_and_carries_a_terminal() {
    let cluster = cluster_with_pod().await;
    let mut cat = exec(&cluster, "command=cat&stdin=true").await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 10)) as u8).collect();
    for piece in body.chunks(700_000) {
        cat.send(&[&[0], piece].concat()).await;
    }
    cat.send(&[9, 1, 2]).await;
    cat.send(&[255, 0]).await;
    let heard = cat.listen().await;
    assert!(heard.channels[1] == body, "{} of {} bytes came back", heard.channels[1].len(), body.len());
    assert_eq!((heard.status(), heard.close), (success(), Some(1000)));
    let mut terminal = exec(&cluster, "command=size&tty=true&stdin=true").await;
    terminal.send(b"\x04{\"Width\":80,\"Height\":24}\n").await;
    let heard = terminal.listen().await;
    assert_eq!(heard.channels[1], b"{\"Width\":80,\"Height\":24}\n");
    assert_eq!(heard.status(), success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_the_process_and_one_that_leaves_ends_it() {
    let cluster = cluster_with_pod().await;
    let mut slow = exec(&cluster, "command=flood&command=16384").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let heard = slow.listen().await;
    assert_eq!((heard.channels[1].len(), heard.status()), (16 << 20, success()));
    let mut hanging = exec(&cluster, "command=hang").await;
    hanging.stream.close(None).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), hanging.listen()).await.unwrap();
    assert!(ended.channels[3].is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_protocols_are_the_kubelets_own() {
    let cluster = cluster_with_pod().await;
    let path = format!("{PODS}/p/exec?container=c&command=say");
    let Err(Error::Http(refused)) = websocket(&cluster, &path, "v4.channel.k8s.io").await else {
        panic!("the kubelet takes no WebSocket, and says so itself")
    };
    let body = String::from_utf8(refused.body().clone().unwrap_or_default()).unwrap();
    assert_eq!((refused.status().as_u16(), body.contains("speaks SPDY only")), (403, true), "{body}");
    let mut stream = tls(&cluster).await;
    let request = format!(
        "POST {PODS}/p/attach?container=c&stdin=true HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\
         X-Stream-Protocol-Version: v3.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: spdy/3.1"), "{answer}");
    assert!(answer.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{answer}");
    let spdy = xebec_spdy::Connection::new(stream, xebec_spdy::Role::Client).unwrap();
    let open =
        async |kind: &str| spdy.open(vec![("streamtype".to_owned(), kind.to_owned())]).await.unwrap().split();
    let (_, mut error) = open("error").await;
    let _stdin = open("stdin").await;
    let (_, mut stdout) = open("stdout").await;
    let _stderr = open("stderr").await;
    let line = stdout.next().await.unwrap();
    assert_eq!(line, "POST /attach/default/p/c?input=1&output=1&error=1\n");
    assert_eq!(serde_json::from_slice::<Value>(&error.next().await.unwrap()).unwrap(), success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_forward_is_tunnelled_through_a_websocket() {
    let cluster = cluster_with_pod().await;
    let path = format!("{PODS}/p/portforward");
    let Err(Error::Http(refused)) = websocket(&cluster, &path, "SPDY/3.1+other.k8s.io").await else {
        panic!("the kubelet has no such protocol")
    };
    assert_eq!(refused.status(), 403);
    let protocol = "SPDY/3.1+portforward.k8s.io";
    let opened = websocket(&cluster, &path, protocol).await.unwrap();
    assert_eq!(opened.response.headers()["sec-websocket-protocol"], protocol);
    let spdy = xebec_spdy::Connection::new(carried(opened), xebec_spdy::Role::Client).unwrap();
    for (id, port) in [("0", "80"), ("1", "1")] {
        let headers = |kind: &str| {
            [("streamtype", kind), ("port", port), ("requestid", id)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec()
        };
        let (_, mut error) = spdy.open(headers("error")).await.unwrap().split();
        let (mut send, mut receive) = spdy.open(headers("data")).await.unwrap().split();
        let sent = "forwarded ".repeat(20_000);
        let copy = sent.clone();
        tokio::spawn(async move {
            send.send(copy.into()).await.unwrap();
            send.finish().await.unwrap();
        });
        let mut got = Vec::new();
        while let Some(data) = receive.next().await {
            got.extend_from_slice(&data);
        }
        assert!(got == sent.to_uppercase().as_bytes());
        let told = error.next().await.map(|data| data.to_vec());
        assert_eq!(told.as_deref(), (port == "1").then_some(&b"connection refused"[..]));
    }
}

/// A WebSocket as the byte stream it carries.
fn carried(socket: WebSocket) -> tokio::io::DuplexStream {
    use futures::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut read, mut write) = tokio::io::split(far);
    let (mut sink, mut source) = socket.stream.split();
    tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Binary(bytes) = message {
                write.write_all(&bytes).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        let mut buffer = [0; 10_000];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if sink.send(Message::Binary(buffer[..count].to_vec().into())).await.is_err() {
                return;
            }
        }
    });
    near
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_runs_commands_and_forwards_ports() {
    let cluster = cluster_with_pod().await;
    let Some(kubectl) = Kubectl::find(&cluster) else {
        println!("skipped: XEBEC_KUBECTL names no kubectl");
        return;
    };
    let kubectl = tokio::task::spawn_blocking(move || {
        let said = kubectl.run("exec p -c c -- say", "");
        assert_eq!(said, "POST /exec/default/p/c?output=1&error=1&command=say\n");
        let failed = kubectl.fails("exec p -c c -- say 7", "");
        assert!(failed.contains("complaint") && failed.contains("exit code 7"), "{failed}");
        let copied = kubectl.piped("exec -i p -c c -- cat", &"input ".repeat(200_000));
        assert!(copied == "input ".repeat(200_000), "{} bytes", copied.len());
        assert_eq!(kubectl.run("logs p -c c --tail=3", ""), "GET /containerLogs/default/p/c?tailLines=3");
        kubectl
    });
    let kubectl = kubectl.await.unwrap();
    // It ends when nobody takes what it prints.
    let (mut child, _output, line) =
        tokio::task::spawn_blocking(move || kubectl.forward("p", ":80")).await.unwrap();
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        stream.write_all(b"through kubectl").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "THROUGH KUBECTL");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
