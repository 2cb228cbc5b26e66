//! The least of an API server: one list of each kind, the Node `node-a` among them, and a watch of slices that a test
//! can write to. ServiceCIDRs it does not know.

use std::io;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

async fn answer(
    mut stream: BufReader<TcpStream>,
    lists: [Value; 3],
    mut events: broadcast::Receiver<EndpointSlice>,
) -> io::Result<()> {
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let mut header = String::new();
    while stream.read_line(&mut header).await? > 2 {
        header.clear();
    }
    let slices = request.contains("endpointslices");
    let mut stream = stream.into_inner();
    if request.contains("servicecidrs") {
        let absent = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(absent.as_bytes()).await;
    }
    if !request.contains("watch=true") {
        let body = lists[if slices { 1 } else { usize::from(request.contains("/nodes")) * 2 }].to_string();
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
        return stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await;
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
        .await?;
    while let Ok(mut slice) = events.recv().await {
        slice.metadata.resource_version = Some("11".to_owned());
        let mut object = serde_json::to_value(&slice)?;
        object["kind"] = "EndpointSlice".into();
        object["apiVersion"] = "discovery.k8s.io/v1".into();
        if slices {
            stream
                .write_all(format!("{}\n", json!({"type": "MODIFIED", "object": object})).as_bytes())
                .await?;
        }
    }
    Ok(())
}

/// A client of it, and where the watch's events come from.
pub async fn serve(
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
) -> (kube::Client, broadcast::Sender<EndpointSlice>) {
    let list = |kind: &str, version: &str, items: Value| json!({"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "10"}, "items": items});
    let lists = [
        list("ServiceList", "v1", serde_json::to_value(services).unwrap()),
        list("EndpointSliceList", "discovery.k8s.io/v1", serde_json::to_value(slices).unwrap()),
        list("NodeList", "v1", json!([{"metadata": {"name": "node-a"}}])),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (events, _) = broadcast::channel(8);
    let sender = events.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(BufReader::new(stream), lists.clone(), events.subscribe()));
        }
    });
    let config = kube::Config::new(url.parse().unwrap());
    (kube::Client::try_from(config).unwrap(), sender)
}
