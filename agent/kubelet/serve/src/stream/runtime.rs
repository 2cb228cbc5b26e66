//! [`Streaming`] by the CRI. Enters: what the handlers want. Leaves: calls of [`xebec_cri::Runtime`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use xebec_cri::messages::{AttachRequest, ExecRequest};
use xebec_cri::{CriError, Runtime};

use super::{Streaming, StreamingError, Streams};

/// Streams of a container runtime.
#[derive(Clone)]
pub struct RuntimeStreaming(pub Arc<dyn Runtime>);

impl From<CriError> for StreamingError {
    fn from(error: CriError) -> Self {
        let words = error.to_string();
        match error {
            CriError::NotFound(_) => StreamingError::NotFound(words),
            CriError::Failed { code: "ResourceExhausted", .. } => StreamingError::Exhausted(words),
            _ => StreamingError::Failed(words),
        }
    }
}

#[async_trait]
impl Streaming for RuntimeStreaming {
    async fn exec(
        &self,
        container_id: &str,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<String, StreamingError> {
        let Streams { stdin, stdout, stderr, tty } = streams;
        let container_id = container_id.to_owned();
        Ok(self.0.exec(ExecRequest { container_id, cmd: command, tty, stdin, stdout, stderr }).await?)
    }

    async fn attach(&self, container_id: &str, streams: Streams) -> Result<String, StreamingError> {
        let Streams { stdin, stdout, stderr, tty } = streams;
        let container_id = container_id.to_owned();
        Ok(self.0.attach(AttachRequest { container_id, stdin, tty, stdout, stderr }).await?)
    }

    async fn port_forward(&self, sandbox_id: &str, ports: Vec<u16>) -> Result<String, StreamingError> {
        Ok(self.0.port_forward(sandbox_id, ports.into_iter().map(i32::from).collect()).await?)
    }

    async fn run(&self, container_id: &str, command: Vec<String>) -> Result<Vec<u8>, StreamingError> {
        let shown = command.join(" ");
        let answer = self.0.exec_sync(container_id, command, Duration::ZERO).await?;
        let mut output = answer.stdout;
        output.extend_from_slice(&answer.stderr);
        if answer.exit_code == 0 {
            return Ok(output);
        }
        let output = String::from_utf8_lossy(&output);
        Err(StreamingError::Failed(format!("command '{shown}' exited with {}: {output}", answer.exit_code)))
    }
}
