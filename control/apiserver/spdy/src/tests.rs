//! Two ends in one process.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

fn pair() -> (Connection, Connection) {
    let (near, far) = duplex(8 * 1024);
    (Connection::new(near, Role::Client).unwrap(), Connection::new(far, Role::Server).unwrap())
}

fn kind(kind: &str) -> Headers {
    vec![("streamtype".to_owned(), kind.to_owned())]
}

async fn all(receiver: &mut Receiver) -> Vec<u8> {
    let mut got = Vec::new();
    while let Some(piece) = receiver.next().await {
        got.extend_from_slice(&piece);
    }
    got
}

#[tokio::test]
async fn streams_carry_their_own_bytes_and_end_half_by_half() {
    let (client, server) = pair();
    let serving = tokio::spawn(async move {
        while let Some(stream) = server.accept().await {
            let tag = stream.header("streamtype").unwrap().to_owned();
            let (mut sender, mut receiver) = stream.split();
            tokio::spawn(async move {
                let got = all(&mut receiver).await;
                assert_eq!(receiver.end(), End::Finished);
                sender.send(Bytes::from(format!("{tag}:"))).await.unwrap();
                sender.send(Bytes::from(got)).await.unwrap();
                sender.finish().await.unwrap();
            });
        }
    });
    let body: Vec<u8> = (0..500_000_u32).map(|n| (n ^ (n >> 9)) as u8).collect();
    let mut working = Vec::new();
    for name in ["a", "b", "c"] {
        let (mut sender, mut receiver) = client.open(kind(name)).await.unwrap().split();
        let body = body.clone();
        working.push(tokio::spawn(async move {
            sender.send(Bytes::from(body.clone())).await.unwrap();
            sender.finish().await.unwrap();
            assert_eq!(sender.send(Bytes::from_static(b"x")).await, Err(SpdyError::Finished));
            let got = all(&mut receiver).await;
            assert!(got == [name.as_bytes(), b":", &body].concat());
            assert_eq!(receiver.end(), End::Finished);
        }));
    }
    for work in working {
        work.await.unwrap();
    }
    client.close().await;
    serving.await.unwrap();
}

#[tokio::test]
async fn a_reset_ends_both_halves_after_what_was_sent() {
    let (client, server) = pair();
    let (mut near_out, mut near_in) = {
        let (opened, accepted) = tokio::join!(client.open(kind("x")), server.accept());
        let (mut far_out, _far_in) = accepted.unwrap().split();
        far_out.send(Bytes::from_static(b"last words")).await.unwrap();
        far_out.reset().await.unwrap();
        opened.unwrap().split()
    };
    assert_eq!(all(&mut near_in).await, b"last words");
    assert_eq!(near_in.end(), End::Reset);
    assert_eq!(near_out.send(Bytes::from_static(b"x")).await, Err(SpdyError::Reset));
    drop(server);
    client.closed().await;
    assert_eq!(client.open(kind("y")).await.err(), Some(SpdyError::Closed));
}

#[tokio::test]
async fn what_was_sent_before_a_close_is_still_read() {
    let (client, server) = pair();
    let (opened, accepted) = tokio::join!(client.open(kind("x")), server.accept());
    let (mut sender, mut receiver) = opened.unwrap().split();
    let (mut far, _unread) = accepted.unwrap().split();
    let serving = tokio::spawn(async move {
        far.send(Bytes::from(vec![7; 300_000])).await.unwrap();
        far.finish().await.unwrap();
        server.close().await;
    });
    // This end finds out by writing that the peer is gone, and reads on nevertheless.
    tokio::spawn(async move { while sender.send(Bytes::from(vec![1; 1000])).await.is_ok() {} });
    assert_eq!(all(&mut receiver).await.len(), 300_000);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_told_from_an_end() {
    let (client, server) = pair();
    let (opened, accepted) = tokio::join!(client.open(kind("x")), server.accept());
    let (_out, mut receiver) = opened.unwrap().split();
    drop((accepted, server));
    assert_eq!(all(&mut receiver).await, b"");
    assert_eq!(receiver.end(), End::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_the_writer() {
    let (client, server) = pair();
    let (opened, accepted) = tokio::join!(client.open(kind("x")), server.accept());
    let (mut sender, _keep) = opened.unwrap().split();
    let (_far, mut receiver) = accepted.unwrap().split();
    let mut sent = 0;
    let piece = Bytes::from(vec![1; 1024]);
    while tokio::time::timeout(Duration::from_secs(60), sender.send(piece.clone())).await.is_ok() {
        sent += piece.len();
        assert!(sent < 2 << 20, "what is under way is bounded");
    }
    let mut got = 0;
    while let Ok(Some(piece)) = tokio::time::timeout(Duration::from_secs(60), receiver.next()).await {
        got += piece.len();
    }
    assert!(got >= sent);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_stream_is_given_up() {
    let (near, mut far) = duplex(8 * 1024);
    let client = Connection::new(near, Role::Client).unwrap();
    assert_eq!(client.open(kind("x")).await.err(), Some(SpdyError::Timeout));
    // And one that speaks another version is no peer.
    far.write_all(&[0x80, 9, 0, 1, 0, 0, 0, 0]).await.unwrap();
    client.closed().await;
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.is_empty());
}

#[tokio::test]
async fn pings_come_back_and_clients_take_no_streams() {
    let (near, far) = duplex(8 * 1024);
    let client = Connection::new(near, Role::Client).unwrap();
    let (mut read, mut write) = tokio::io::split(far);
    client.ping(3);
    let mut encoder = codec::Encoder::new().unwrap();
    let mut out = bytes::BytesMut::new();
    for frame in [Frame::Ping(8), Frame::SynStream { stream: 2, fin: false, headers: kind("x") }] {
        encoder.encode(&frame, &mut out).unwrap();
    }
    write.write_all(&out).await.unwrap();
    let (mut decoder, mut bytes, mut got) = (codec::Decoder::default(), bytes::BytesMut::new(), Vec::new());
    while got.len() < 3 {
        read.read_buf(&mut bytes).await.unwrap();
        while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            got.push(frame);
        }
    }
    let refused = Frame::RstStream { stream: 2, status: RstStatus::RefusedStream };
    assert_eq!(got, [Frame::Ping(7), Frame::Ping(8), refused]);
}

#[tokio::test]
async fn windows_bind_once_the_peer_keeps_them() {
    let (near, far) = duplex(256 * 1024);
    let client = Connection::new(near, Role::Client).unwrap();
    let (mut read, mut write) = tokio::io::split(far);
    let mut encoder = codec::Encoder::new().unwrap();
    let mut say = async |frames: &[Frame]| {
        let mut out = bytes::BytesMut::new();
        frames.iter().for_each(|frame| encoder.encode(frame, &mut out).unwrap());
        write.write_all(&out).await.unwrap();
    };
    let (mut decoder, mut bytes) = (codec::Decoder::default(), bytes::BytesMut::new());
    let mut hear = async || loop {
        if let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            return frame;
        }
        assert!(read.read_buf(&mut bytes).await.unwrap() > 0);
    };
    let opening = tokio::spawn(async move { (client.open(kind("x")).await.unwrap().split(), client) });
    assert!(matches!(hear().await, Frame::SynStream { stream: 1, .. }));
    say(&[
        Frame::Settings(vec![(7, 1000)]),
        Frame::SynReply { stream: 1, fin: false, headers: Headers::new() },
    ])
    .await;
    let ((mut sender, mut receiver), _client) = opening.await.unwrap();
    let sending = tokio::spawn(async move { sender.send(Bytes::from(vec![1; 1500])).await });
    let length = |frame: Frame| match frame {
        Frame::Data { stream: 1, data, .. } => data.len(),
        other => panic!("{other:?}"),
    };
    let mut total = 0;
    while total < 1000 {
        total += length(hear().await);
    }
    assert_eq!(total, 1000);
    assert!(!sending.is_finished());
    say(&[Frame::WindowUpdate { stream: 1, delta: 500 }]).await;
    while total < 1500 {
        total += length(hear().await);
    }
    assert_eq!(total, 1500);
    sending.await.unwrap().unwrap();
    // What is consumed is told, half a window at a time.
    let data = Bytes::from(vec![2; 40_000]);
    say(&[Frame::Data { stream: 1, fin: false, data }]).await;
    let mut got = 0;
    while got < 40_000 {
        got += receiver.next().await.unwrap().len();
    }
    for stream in [0, 1] {
        let Frame::WindowUpdate { stream: told, delta } = hear().await else { panic!("no update") };
        assert!(told == stream && (32 * 1024..=40_000).contains(&delta), "{told}: {delta}");
    }
}
