//! What can end the kubelet.

/// Why the kubelet stopped or did not start.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The runtime did not answer in time at the start; is it running, is the socket right?
    #[error("the container runtime does not answer: {0}")]
    Runtime(#[from] xebec_cri::CriError),
    /// The machine cannot be read or set up.
    #[error("the machine cannot serve as a node: {0}")]
    Machine(String),
}
