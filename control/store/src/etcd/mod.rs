//! The etcd engine: the same model, kept by an etcd cluster (3.4 or later).
//!
//! Enters: the [`Store`] calls. Leaves: etcd transactions that compare `mod_revision`, ranges read page by page at one
//! revision, watches that survive reconnection. Chosen when one machine is not enough; several API servers may share
//! one cluster. Every request has a time limit; a connection that is lost comes back by itself.

mod convert;
mod upkeep;
mod watcher;

pub use upkeep::Member;

use crate::keys::{scope, scope_end};
use crate::{Entry, Expect, ListAt, MAX_VALUE_BYTES, Page, Revision, Store, StoreError, Watch};
use async_trait::async_trait;
use bytes::Bytes;
use convert::Refusal;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Error, GetOptions, GetResponse,
    Identity, KvClient, MaintenanceClient, TlsOptions, Txn, TxnOp, TxnOpResponse, TxnResponse, WatchClient,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Keys per page of a list; at 1.5 MiB each a page is at most 750 MiB, in practice a few.
const PAGE: i64 = 500;
/// How often a list starts over because compaction overtook its pages.
const LIST_RESTARTS: usize = 2;

/// The credentials of a TLS connection, in PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// The certificates of the authorities that may have signed the server's.
    pub ca: String,
    /// The client certificate and its key, for mutual TLS (etcd's `--client-cert-auth`).
    pub client: Option<(String, String)>,
    /// The name the server's certificate must have, if not the endpoint's host.
    pub server_name: Option<String>,
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.is_some();
        formatter
            .debug_struct("EtcdTls")
            .field("client", &client)
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// TLS; none only for a loopback etcd.
    pub tls: Option<EtcdTls>,
    /// How long one attempt to connect may take; 5 s by default.
    pub connect_timeout: Duration,
    /// How long one request may take; 10 s by default.
    pub request_timeout: Duration,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self { tls: None, connect_timeout: Duration::from_secs(5), request_timeout: Duration::from_secs(10) }
    }
}

/// A store in an etcd cluster.
pub struct Etcd {
    kv: KvClient,
    watch: WatchClient,
    maintenance: MaintenanceClient,
    timeout: Duration,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Etcd").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Connects to the cluster's endpoints (`https://host:2379`) and reads once to prove that it answers.
    ///
    /// [`StoreError::Configuration`] for an endpoint or certificate that cannot work, [`StoreError::Unavailable`] if no
    /// endpoint answers in time; the latter may be retried.
    pub async fn connect(endpoints: &[String], options: EtcdOptions) -> Result<Arc<Self>, StoreError> {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(options.connect_timeout)
            .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10))
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        if let Some(tls) = &options.tls {
            connect = connect.with_tls(tls_options(tls));
        }
        let client = Client::connect(endpoints, Some(connect)).await.map_err(|error| match error {
            Error::TransportError(error) => StoreError::Configuration(format!("etcd connection: {error}")),
            error => convert::refusal(&error).into_store(),
        })?;
        let store = Arc::new(Self {
            kv: client.kv_client().max_decoding_message_size(usize::MAX),
            watch: client.watch_client().max_decoding_message_size(usize::MAX),
            maintenance: client.maintenance_client(),
            timeout: options.request_timeout,
        });
        store.head().await?;
        Ok(store)
    }

    /// Runs one request within the time limit.
    async fn request<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Refusal> {
        match tokio::time::timeout(self.timeout, request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(convert::refusal(&error)),
            Err(_) => Err(Refusal::Unavailable(format!("etcd did not answer within {:?}", self.timeout))),
        }
    }

    async fn range(&self, key: &str, options: Option<GetOptions>) -> Result<GetResponse, Refusal> {
        let mut client = self.kv.clone();
        self.request(client.get(key, options)).await
    }

    /// One conditional write; a key that is not as expected is a `Conflict` with what is there.
    async fn transact(
        &self,
        key: &str,
        size: usize,
        compare: Vec<Compare>,
        operation: TxnOp,
    ) -> Result<TxnResponse, StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        let transaction = Txn::new().when(compare).and_then([operation]).or_else([TxnOp::get(key, None)]);
        let mut client = self.kv.clone();
        let response = self.request(client.txn(transaction)).await.map_err(|refusal| match refusal {
            Refusal::TooLarge => StoreError::TooLarge { key: key.to_owned(), size },
            refusal => refusal.into_store(),
        })?;
        if response.succeeded() {
            return Ok(response);
        }
        Err(StoreError::Conflict { key: key.to_owned(), current: found(&response)? })
    }

    /// Keys of `scope`, read in chunks at one revision: the wanted one or that of the first chunk.
    async fn chunks(&self, scope: &str, request: &ListAt) -> Result<Page, Refusal> {
        let end = scope_end(scope).unwrap_or_else(|| "\0".to_owned());
        let first = if scope.is_empty() { "\0" } else { scope };
        let mut start = match request.after.as_deref() {
            Some(after) if after >= scope => format!("{after}\0"),
            _ => first.to_owned(),
        };
        let mut entries: Vec<Entry> = Vec::new();
        let mut at = request.revision;
        loop {
            let left = if request.limit == 0 { usize::MAX } else { request.limit - entries.len() };
            let chunk = i64::try_from(left).unwrap_or(PAGE).min(PAGE);
            let mut options = GetOptions::new().with_range(end.as_str()).with_limit(chunk);
            if let Some(revision) = at {
                options = options.with_revision(convert::number(revision));
            }
            let mut answer = self.range(&start, Some(options)).await?;
            let unreadable = |error: StoreError| Refusal::Unavailable(error.to_string());
            let revision = match at {
                Some(revision) => revision,
                None => convert::head(answer.header()).map_err(unreadable)?,
            };
            let (found, before) = (convert::revision(answer.count()), entries.len());
            for pair in answer.take_kvs() {
                entries.push(convert::entry(pair).map_err(unreadable)?);
            }
            let remaining = found.saturating_sub((entries.len() - before) as u64);
            let full = request.limit > 0 && entries.len() >= request.limit;
            match entries.last() {
                Some(last) if answer.more() && !full => start = format!("{}\0", last.key),
                _ => return Ok(Page { entries, revision, remaining }),
            }
            at = Some(revision);
        }
    }
}

fn tls_options(tls: &EtcdTls) -> TlsOptions {
    let mut options = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
    if let Some((certificate, key)) = &tls.client {
        options = options.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    options
}

/// The comparison that makes etcd check what is expected; etcd counts an absent key as revision 0.
fn comparison(key: &str, expect: Expect) -> Vec<Compare> {
    match expect {
        Expect::Any => Vec::new(),
        Expect::Absent => vec![Compare::mod_revision(key, CompareOp::Equal, 0)],
        Expect::Revision(revision) => {
            vec![Compare::mod_revision(key, CompareOp::Equal, convert::number(revision))]
        }
    }
}

/// The entry a refused transaction read.
fn found(response: &TxnResponse) -> Result<Option<Entry>, StoreError> {
    for operation in response.op_responses() {
        if let TxnOpResponse::Get(mut read) = operation {
            return read.take_kvs().pop().map(convert::entry).transpose();
        }
    }
    Ok(None)
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        if key.is_empty() {
            return Ok((None, self.head().await?));
        }
        let mut response = self.range(key, None).await.map_err(Refusal::into_store)?;
        let head = convert::head(response.header())?;
        Ok((response.take_kvs().pop().map(convert::entry).transpose()?, head))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let page = self.list_at(prefix, ListAt::default()).await?;
        Ok((page.entries, page.revision))
    }

    async fn list_at(&self, prefix: &str, page: ListAt) -> Result<Page, StoreError> {
        let scope = scope(prefix);
        // Where the caller named no revision, one that is compacted meanwhile is replaced by a newer one.
        let mut restarts = if page.revision.is_some() { 0 } else { LIST_RESTARTS };
        loop {
            match self.chunks(&scope, &page).await {
                Ok(page) => return Ok(page),
                Err(Refusal::Compacted) if restarts > 0 => {
                    tracing::debug!(prefix, "compaction overtook a list; it starts over");
                    restarts -= 1;
                }
                Err(Refusal::Compacted) => {
                    let oldest = watcher::compacted_revision(self.watch.clone()).await?;
                    return Err(StoreError::Compacted { oldest });
                }
                Err(Refusal::Future) => {
                    let (requested, head) = (page.revision.unwrap_or_default(), self.head().await?);
                    return Err(StoreError::FutureRevision { requested, head });
                }
                Err(refusal) => return Err(refusal.into_store()),
            }
        }
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        let size = value.len();
        if size > MAX_VALUE_BYTES {
            return Err(StoreError::TooLarge { key: key.to_owned(), size });
        }
        let put = TxnOp::put(key, value, None);
        let response = self.transact(key, size, comparison(key, expect), put).await?;
        convert::head(response.header())
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<(Revision, Entry), StoreError> {
        let mut compare = comparison(key, expect);
        // Only an existing key can be deleted, so that a missing one is a conflict and makes no revision.
        compare.push(Compare::mod_revision(key, CompareOp::Greater, 0));
        let delete = TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key()));
        let response = self.transact(key, 0, compare, delete).await?;
        let revision = convert::head(response.header())?;
        for operation in response.op_responses() {
            if let TxnOpResponse::Delete(mut deleted) = operation
                && let Some(pair) = deleted.take_prev_kvs().pop()
            {
                return Ok((revision, convert::entry(pair)?));
            }
        }
        Err(StoreError::Corrupt(format!("etcd deleted {key} without its value")))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        // A read at that revision is refused exactly when a watch after it would not be whole.
        let options = GetOptions::new().with_count_only().with_revision(convert::number(after.max(1)));
        match self.range("/", Some(options)).await {
            Ok(_) => Ok(watcher::start(self.watch.clone(), scope(prefix), after)),
            Err(Refusal::Compacted) => {
                let oldest = watcher::compacted_revision(self.watch.clone()).await?;
                Err(StoreError::Compacted { oldest })
            }
            Err(Refusal::Future) => {
                Err(StoreError::FutureRevision { requested: after, head: self.head().await? })
            }
            Err(refusal) => Err(refusal.into_store()),
        }
    }

    async fn head(&self) -> Result<Revision, StoreError> {
        let options = GetOptions::new().with_count_only();
        let response = self.range("/", Some(options)).await.map_err(Refusal::into_store)?;
        convert::head(response.header())
    }

    async fn compact(&self, up_to: Revision) -> Result<(), StoreError> {
        let mut client = self.kv.clone();
        match self.request(client.compact(convert::number(up_to), None)).await {
            Ok(_) | Err(Refusal::Compacted) => Ok(()),
            Err(Refusal::Future) => {
                Err(StoreError::FutureRevision { requested: up_to, head: self.head().await? })
            }
            Err(refusal) => Err(refusal.into_store()),
        }
    }
}
