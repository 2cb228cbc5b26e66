//! The in-memory client: kube-rs over the server's own service, without a socket.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use tower::ServiceExt;
use xebec_identity::User;

use crate::ApiServer;
use crate::serve::auth::LocalUser;

impl ApiServer {
    /// A client that acts as `user`; it passes the same authorization, admission and limits as any other.
    ///
    /// Upgrades (exec, port-forward) need a connection and do not work through it.
    #[must_use]
    pub fn local_client(self: &Arc<Self>, user: User) -> kube::Client {
        let router = crate::serve::router(Arc::clone(self));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let router = router.clone();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(LocalUser(user.clone()));
            async move {
                let response: Result<Response<Body>, Infallible> = router.oneshot(request).await;
                response
            }
        });
        kube::Client::new(service, "default")
    }
}
