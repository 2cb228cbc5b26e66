//! exec and attach of WebSocket clients that speak v5, for kubelets that speak SPDY only.
//!
//! Enters: a WebSocket of `v5.channel.k8s.io` (the first byte of a message is its channel, `[255, channel]` closes
//! one). Leaves: SPDY/3.1 streams to the kubelet. What the kubelet says on its error stream, or why there is none, goes
//! to the client as a Status on channel 3. Called by `gateway::stream`.
//!
//! Nothing waits but in the queues of both connections and one message per channel here: a process that does not read
//! stops its client, a client that does not read stops the process.
//!
//! Authority: k8s.io/apiserver/pkg/util/proxy/streamtranslator.go, KEP-4006.

mod remote;
mod status;

use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;
use xebec_api::status::ApiError;
use xebec_spdy::{End, Receiver, Sender};

use super::connect::Streams;
use super::websocket::{Handshake, Socket, protocols};
pub use remote::Kubelet;
use remote::Process;

/// The protocol that is translated; older ones the kubelet speaks itself.
const PROTOCOL: &str = "v5.channel.k8s.io";
/// How long a client may take for the last messages and its own close.
const LINGER: Duration = Duration::from_secs(10);
/// How often the kubelet is pinged, as upstream.
const PING: Duration = Duration::from_secs(5);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Whether the client offers v5.
pub fn wanted(headers: &HeaderMap) -> bool {
    protocols(headers).iter().any(|name| name == PROTOCOL)
}

/// Upgrades the client at once and the kubelet after it: from then on errors travel on channel 3.
pub fn open(kubelet: Kubelet, streams: Streams, mut request: Request) -> Result<Response, ApiError> {
    let (response, opening) = Handshake::begin(&mut request)?.accept(Some(PROTOCOL))?;
    tokio::spawn(async move {
        match opening.socket().await {
            Ok(socket) => serve(socket, kubelet, streams).await,
            Err(error) => debug!(%error, "an upgrade did not complete"),
        }
    });
    Ok(response)
}

/// The client is gone; nobody is left to tell anything.
struct Gone;

async fn serve(socket: Socket, kubelet: Kubelet, streams: Streams) {
    let (sink, source) = socket.split();
    let (out, outgoing) = mpsc::channel(4);
    let (stdin, input) = mpsc::channel(1);
    let (resize, sizes) = mpsc::channel(1);
    let inbound = inbound(source, streams.stdin.then_some(stdin), streams.tty.then_some(resize));
    tokio::pin!(inbound);
    let work = async {
        // Tells the client that the connection is there.
        out.send(message(STDOUT, &[])).await.map_err(|_| Gone)?;
        let outcome = match kubelet.start(streams).await {
            Ok(process) => run(process, input, sizes, &out).await?,
            Err(error) => Err(error),
        };
        let status = status::of(outcome).to_string();
        out.send(message(ERROR, status.as_bytes())).await.map_err(|_| Gone)?;
        drop(out);
        Ok(())
    };
    let done = tokio::select! {
        () = &mut inbound => Err(Gone),
        done = async { tokio::try_join!(work, outbound(sink, outgoing)) } => done,
    };
    if done.is_err() {
        return debug!("the client of a process is gone");
    }
    // The client's own close is waited for: a connection closed with unread data takes what was sent last with it.
    let _ = tokio::time::timeout(LINGER, inbound).await;
}

/// Takes the client's messages apart until it closes.
async fn inbound(
    mut source: SplitStream<Socket>,
    mut stdin: Option<mpsc::Sender<Bytes>>,
    mut resize: Option<mpsc::Sender<Bytes>>,
) {
    while let Some(message) = source.next().await {
        let mut bytes = match message {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(text)) => Bytes::from(text.as_bytes().to_vec()),
            Ok(Message::Close(_)) => return,
            Ok(_) => continue,
            Err(error) => return debug!(%error, "a client's WebSocket broke"),
        };
        if bytes.is_empty() {
            continue;
        }
        let data = bytes.split_off(1);
        let queue = match (bytes[0], data.as_ref()) {
            (CLOSE, [STDIN]) => {
                stdin = None;
                continue;
            }
            (CLOSE, [RESIZE]) => {
                resize = None;
                continue;
            }
            (STDIN, _) => &stdin,
            (RESIZE, _) => &resize,
            (channel, _) => {
                debug!(channel, "a message for a channel that takes none");
                continue;
            }
        };
        if let Some(queue) = queue {
            // Once the process is over nobody takes input, and it goes nowhere.
            let _ = queue.send(data).await;
        }
    }
}

/// Sends what there is, then closes in good order.
async fn outbound(
    mut sink: SplitSink<Socket, Message>,
    mut outgoing: mpsc::Receiver<Message>,
) -> Result<(), Gone> {
    while let Some(message) = outgoing.recv().await {
        sink.send(message).await.map_err(|_| Gone)?;
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let closed = tokio::time::timeout(LINGER, sink.send(Message::Close(Some(close)))).await;
    closed.map_err(|_| Gone)?.map_err(|_| Gone)
}

/// Carries the streams until output and error are over.
async fn run(
    process: Process,
    input: mpsc::Receiver<Bytes>,
    sizes: mpsc::Receiver<Bytes>,
    out: &mpsc::Sender<Message>,
) -> Result<Result<(), ApiError>, Gone> {
    let Process { connection, stdin, stdout, stderr, resize, error, version } = process;
    let forward = async {
        // Input and sizes end when they end; the process may go on for long.
        tokio::join!(feed(stdin, input), feed(resize, sizes));
        std::future::pending().await
    };
    let ping = async {
        let mut pings = tokio::time::interval(PING);
        for number in 0.. {
            pings.tick().await;
            connection.ping(number);
        }
    };
    let output = async {
        tokio::try_join!(pump(stdout, STDOUT, out), pump(stderr, STDERR, out))?;
        Ok(status::read(error, version).await)
    };
    let outcome = tokio::select! {
        outcome = output => outcome,
        () = forward => Err(Gone),
        () = ping => Err(Gone),
    };
    // The client hears the end first.
    tokio::spawn(connection.close());
    outcome
}

async fn feed(sender: Option<Sender>, mut queue: mpsc::Receiver<Bytes>) {
    let Some(mut sender) = sender else { return };
    while let Some(data) = queue.recv().await {
        if sender.send(data).await.is_err() {
            // The process closed its input; what the client still sends is taken and dropped.
            while queue.recv().await.is_some() {}
            return;
        }
    }
    // A connection that is gone needs no end.
    let _ = sender.finish().await;
}

async fn pump(receiver: Option<Receiver>, channel: u8, out: &mpsc::Sender<Message>) -> Result<(), Gone> {
    let Some(mut receiver) = receiver else { return Ok(()) };
    while let Some(data) = receiver.next().await {
        out.send(message(channel, &data)).await.map_err(|_| Gone)?;
    }
    if receiver.end() == End::Lost {
        debug!(channel, "the kubelet's connection ended before the stream");
    }
    Ok(())
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(data.len() + 1);
    bytes.put_u8(channel);
    bytes.put_slice(data);
    Message::Binary(bytes.freeze())
}
