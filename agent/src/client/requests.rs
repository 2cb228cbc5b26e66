//! Requests to the API server, counted as client-go's `rest_client_` metrics. Enters: each request on its way. Leaves:
//! the same, and text when it is asked for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Method, Request, Response};
use parking_lot::Mutex;
use tower::{Layer, Service};
use xebec_dataplane::metrics::{Histogram, Text};

/// What client-go has in place of a code when there was no answer.
const NO_ANSWER: &str = "<error>";
/// Upstream's bounds of a request's duration, seconds.
const BOUNDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

#[derive(Default)]
struct Counts {
    requests: BTreeMap<(String, String), u64>,
    durations: BTreeMap<String, Histogram>,
}

/// The counts, and the layer that counts.
#[derive(Clone)]
pub(super) struct Requests {
    host: Arc<str>,
    counts: Arc<Mutex<Counts>>,
}

impl Requests {
    /// Of requests to one server.
    pub(super) fn new(host: String) -> Self {
        Self { host: host.into(), counts: Arc::default() }
    }

    fn note(&self, method: &Method, code: &str, seconds: f64) {
        let mut counts = self.counts.lock();
        *counts.requests.entry((code.to_owned(), method.to_string())).or_default() += 1;
        let histogram = counts.durations.entry(method.to_string()).or_insert_with(|| Histogram::new(BOUNDS));
        histogram.observe(seconds);
    }

    /// Adds the metrics.
    pub(super) fn write(&self, text: &mut Text) {
        let counts = self.counts.lock();
        let name = "rest_client_requests_total";
        text.family(
            name,
            "counter",
            "Number of HTTP requests, partitioned by status code, method, and host.",
        );
        for ((code, method), count) in &counts.requests {
            let labels = [("code", code.as_str()), ("host", &*self.host), ("method", method.as_str())];
            text.sample(name, &labels, *count as f64);
        }
        let name = "rest_client_request_duration_seconds";
        text.family(name, "histogram", "Request latency in seconds. Broken down by verb, and host.");
        for (verb, histogram) in &counts.durations {
            text.histogram(name, &[("host", &*self.host), ("verb", verb)], histogram);
        }
    }
}

impl<S> Layer<S> for Requests {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, requests: self.clone() }
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
pub(super) struct Counting<S> {
    inner: S,
    requests: Requests,
}

impl<S, A, B> Service<Request<A>> for Counting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (requests, method, start) = (self.requests.clone(), request.method().clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map(|answer| answer.status().as_str().to_owned());
            requests.note(&method, code.as_deref().unwrap_or(NO_ANSWER), start.elapsed().as_secs_f64());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_is_counted_by_its_answer() {
        let requests = Requests::new("10.0.0.1:6443".to_owned());
        let inner = tower::service_fn(|request: Request<&'static str>| async move {
            match *request.body() {
                "broken" => Err("no answer"),
                _ => Ok(Response::builder().status(201).body(()).unwrap()),
            }
        });
        let mut service = requests.layer(inner);
        for body in ["a", "b", "broken"] {
            let request = Request::builder().method("POST").body(body).unwrap();
            assert_eq!(service.call(request).await.is_ok(), body != "broken");
        }
        let mut text = Text::default();
        requests.write(&mut text);
        let text = text.finish();
        for line in [
            "rest_client_requests_total{code=\"201\",host=\"10.0.0.1:6443\",method=\"POST\"} 2",
            "rest_client_requests_total{code=\"<error>\",host=\"10.0.0.1:6443\",method=\"POST\"} 1",
            "rest_client_request_duration_seconds_count{host=\"10.0.0.1:6443\",verb=\"POST\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
