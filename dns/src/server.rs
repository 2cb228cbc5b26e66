//! Sockets. Enters: datagrams and TCP streams. Leaves: answers; the decision what to say is `answer`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use rand::seq::SliceRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::answer::{Answer, answer};
use crate::forward::Forwarder;
use crate::world::Shared;
use crate::{DnsError, Options};

/// Queries under way at once; more wait in the socket's buffer, so a flood does not become memory.
const MAX_CONCURRENT: usize = 4096;
/// An idle TCP client is dropped after this (RFC 7766, 6.2.3).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// How long a query waits for the first listing after a start.
const SYNC_PATIENCE: Duration = Duration::from_secs(2);
/// Aliases followed for one answer.
const MAX_ALIASES: usize = 8;
/// A datagram without EDNS (RFC 1035, 4.2.1).
const PLAIN_UDP: u16 = 512;
/// The largest datagram we promise: no fragments on common links (DNS flag day 2020).
const EDNS_UDP: u16 = 1232;

struct State {
    zone: Name,
    world: Shared,
    forwarder: Forwarder,
    permits: Arc<Semaphore>,
}

/// Bound sockets, ready to serve.
pub struct Server {
    udp: Vec<Arc<UdpSocket>>,
    tcp: Vec<TcpListener>,
    state: Arc<State>,
}

impl Server {
    /// Binds every address, UDP and TCP.
    ///
    /// # Errors
    /// [`DnsError`] naming the address that is taken, or the domain that is none.
    pub async fn bind(options: &Options, world: Shared) -> Result<Self, DnsError> {
        let mut zone = Name::from_utf8(&options.domain).map_err(|error| DnsError::Domain {
            domain: options.domain.clone(),
            reason: error.to_string(),
        })?;
        zone.set_fqdn(true);
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for address in &options.listen {
            let failed = |protocol| move |source| DnsError::Listen { address: *address, protocol, source };
            udp.push(Arc::new(UdpSocket::bind(address).await.map_err(failed("udp"))?));
            tcp.push(TcpListener::bind(address).await.map_err(failed("tcp"))?);
        }
        let forwarder = Forwarder { upstreams: options.upstreams.clone(), timeout: options.timeout };
        let state = State { zone, world, forwarder, permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) };
        Ok(Self { udp, tcp, state: Arc::new(state) })
    }

    /// The UDP addresses in use, in the order given; a port of 0 has become a real one.
    ///
    /// # Errors
    /// The system's, when a socket has none.
    pub fn udp_addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.udp.iter().map(|socket| socket.local_addr()).collect()
    }

    /// The TCP addresses in use, in the order given.
    ///
    /// # Errors
    /// The system's, when a socket has none.
    pub fn tcp_addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(TcpListener::local_addr).collect()
    }

    /// Serves for ever.
    pub async fn serve(self) {
        let mut tasks = tokio::task::JoinSet::new();
        for socket in self.udp {
            tasks.spawn(serve_udp(socket, self.state.clone()));
        }
        for listener in self.tcp {
            tasks.spawn(serve_tcp(listener, self.state.clone()));
        }
        tasks.join_all().await;
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, state: Arc<State>) {
    let mut buffer = vec![0; 65535];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier answer shows up here; the socket itself is fine.
                tracing::debug!(%error, "UDP receive");
                continue;
            }
        };
        let Ok(permit) = state.permits.clone().acquire_owned().await else { return };
        let (query, socket, state) = (buffer[..length].to_vec(), socket.clone(), state.clone());
        tokio::spawn(async move {
            let _permit = permit;
            if let Some(answer) = respond(&state, &query, false).await
                && let Err(error) = socket.send_to(&answer, peer).await
            {
                tracing::debug!(%error, %peer, "UDP send");
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok(permit) = state.permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = converse(stream, &state).await {
                        tracing::debug!(%error, %peer, "TCP client");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a DNS client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Queries of one TCP client, one after the other (RFC 7766).
async fn converse(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    loop {
        let Ok(length) = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await else { return Ok(()) };
        let length = match length {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = respond(state, &query, true).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
    }
}

/// The answer's bytes; `None` when a message deserves none (an answer, or less than a header).
async fn respond(state: &State, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
    if bytes.len() < 12 || bytes[2] & 0x80 != 0 {
        return None;
    }
    let query = match Message::from_vec(bytes) {
        Ok(query) => query,
        Err(error) => {
            tracing::debug!(%error, "malformed query");
            let id = u16::from_be_bytes([bytes[0], bytes[1]]);
            return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
        }
    };
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = !state.forwarder.upstreams.is_empty();
    reply.add_queries(query.queries.iter().cloned());
    let question = match query.queries.as_slice() {
        _ if query.metadata.op_code != OpCode::Query => Err(ResponseCode::NotImp),
        [question] if question.query_class != DNSClass::IN => Err(ResponseCode::Refused),
        [question] => Ok(question),
        _ => Err(ResponseCode::FormErr),
    };
    match question {
        Err(code) => reply.metadata.response_code = code,
        Ok(question) => {
            let mut local = None;
            let synced = state.world.synced_within(SYNC_PATIENCE).await;
            match answer(&state.world.read(), &state.zone, &question.name, question.query_type, serial()) {
                // Before the first listing an absent name proves nothing.
                Some(found) if found.answers.is_empty() && !synced => {
                    reply.metadata.response_code = ResponseCode::ServFail;
                }
                Some(found) => local = Some(found),
                None if state.forwarder.upstreams.is_empty() => {
                    reply.metadata.response_code = ResponseCode::Refused
                }
                None => reply.metadata.response_code = ResponseCode::ServFail,
            }
            if let Some(mut found) = local {
                follow_alias(state, question, &mut found, tcp).await;
                fill(&mut reply, found);
            }
            let ours = reply.metadata.authoritative || state.zone.zone_of(&question.name);
            if !ours && let Some(bytes) = state.forwarder.ask(bytes, tcp).await {
                return Some(bytes);
            }
        }
    }
    encode(reply, query.edns.as_ref(), tcp)
}

/// Adds what an ExternalName's target is: stub resolvers in pods do not ask again for an alias (RFC 1034, 5.3.1).
/// The chain ends after [`MAX_ALIASES`] or when a target cannot be resolved; the alias itself is told in any case.
async fn follow_alias(state: &State, question: &Query, found: &mut Answer, tcp: bool) {
    for _ in 0..MAX_ALIASES {
        let target = match found.answers.last().map(|record| &record.data) {
            Some(RData::CNAME(target)) if question.query_type != RecordType::CNAME => target.0.clone(),
            _ => return,
        };
        let own = answer(&state.world.read(), &state.zone, &target, question.query_type, serial());
        match own {
            Some(next) => {
                found.answers.extend(next.answers);
                found.additionals.extend(next.additionals);
            }
            None => {
                let mut query = Message::query();
                query.metadata.recursion_desired = true;
                query.add_query(Query::query(target, question.query_type));
                let Ok(bytes) = query.to_vec() else { return };
                let reply = state.forwarder.ask(&bytes, tcp).await;
                let reply = reply.and_then(|bytes| Message::from_vec(&bytes).ok());
                return found.answers.extend(reply.into_iter().flat_map(|message| message.answers));
            }
        }
    }
}

fn fill(reply: &mut Message, mut found: Answer) {
    // Clients mostly take the first address: shuffling spreads them over a headless Service. A chain of aliases keeps
    // its order, since some clients read it from the front.
    if !found.answers.iter().any(|record| matches!(record.data, RData::CNAME(_))) {
        found.answers.shuffle(&mut rand::rng());
    }
    reply.metadata.authoritative = true;
    reply.metadata.response_code = found.code;
    reply.add_answers(found.answers);
    reply.add_authorities(found.authorities);
    reply.add_additionals(found.additionals);
}

fn encode(mut reply: Message, edns: Option<&Edns>, tcp: bool) -> Option<Vec<u8>> {
    let mut limit = PLAIN_UDP;
    if let Some(asked) = edns {
        let mut own = Edns::new();
        own.set_max_payload(EDNS_UDP);
        reply.set_edns(own);
        limit = asked.max_payload().clamp(PLAIN_UDP, EDNS_UDP);
    }
    let bytes = reply.to_vec().ok()?;
    if tcp || bytes.len() <= usize::from(limit) {
        return Some(bytes);
    }
    // Additional records are a courtesy: leave them out before telling the client to come again by TCP.
    reply.additionals.clear();
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= usize::from(limit) { Some(bytes) } else { reply.truncate().to_vec().ok() }
}

fn serial() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // RFC 1982 serial numbers wrap.
    (seconds & u64::from(u32::MAX)) as u32
}
