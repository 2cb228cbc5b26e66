//! The kubelet's own HTTPS server.
