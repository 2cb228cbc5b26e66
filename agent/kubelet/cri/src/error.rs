//! What a call to the runtime can fail with. Enters: a gRPC status. Leaves: [`CriError`], matched by pod workers.

use tonic::{Code, Status};

/// Why a call to the runtime failed; `Display` reads as upstream's clients print it, since it ends up in Events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CriError {
    /// The sandbox, container or image does not exist. Removing it can be taken as done.
    #[error("rpc error: code = NotFound desc = {0}")]
    NotFound(String),
    /// The object's name is taken; `id` is the holder where the runtime names it: adopt or remove that one.
    #[error("rpc error: code = {code} desc = {message}")]
    NameReserved {
        /// The id that holds the name, empty if the runtime does not say.
        id: String,
        /// The gRPC code's name.
        code: &'static str,
        /// The runtime's own words.
        message: String,
    },
    /// The call took too long. It may still have happened: LIST before trying again.
    #[error("rpc error: code = DeadlineExceeded desc = {0}")]
    DeadlineExceeded(String),
    /// The runtime cannot be reached now; retry later.
    #[error("rpc error: code = Unavailable desc = {0}")]
    Unavailable(String),
    /// This runtime does not know the call; do not retry.
    #[error("rpc error: code = Unimplemented desc = {0}")]
    Unimplemented(String),
    /// Anything else, in the runtime's own words.
    #[error("rpc error: code = {code} desc = {message}")]
    Failed {
        /// The gRPC code's name.
        code: &'static str,
        /// The runtime's own words.
        message: String,
    },
}

impl CriError {
    /// True if the object of the call does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, CriError::NotFound(_))
    }

    /// The runtime's own words, without the code.
    pub fn message(&self) -> &str {
        match self {
            CriError::NotFound(message)
            | CriError::DeadlineExceeded(message)
            | CriError::Unavailable(message)
            | CriError::Unimplemented(message)
            | CriError::NameReserved { message, .. }
            | CriError::Failed { message, .. } => message,
        }
    }
}

impl From<Status> for CriError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        if let Some(id) = reserved_for(&message) {
            return CriError::NameReserved { id, code: code_name(status.code()), message };
        }
        match status.code() {
            Code::NotFound => CriError::NotFound(message),
            Code::AlreadyExists => {
                CriError::NameReserved { id: String::new(), code: code_name(Code::AlreadyExists), message }
            }
            Code::DeadlineExceeded => CriError::DeadlineExceeded(message),
            // tonic reports a failed connect as Unavailable or, when the channel's own error comes first, Unknown
            Code::Unavailable => CriError::Unavailable(message),
            Code::Unknown if message == "transport error" => CriError::Unavailable(message),
            Code::Cancelled if message == "Timeout expired" => CriError::DeadlineExceeded(message),
            Code::Unimplemented => CriError::Unimplemented(message),
            code => CriError::Failed { code: code_name(code), message },
        }
    }
}

/// The id in containerd's `name "..." is reserved for "<id>"`, or in CRI-O's `... is reserved`-less variants none.
fn reserved_for(message: &str) -> Option<String> {
    let rest = message.split_once("is reserved for ")?.1;
    Some(rest.trim_start_matches(['"', '\\']).chars().take_while(|c| c.is_ascii_alphanumeric()).collect())
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_name_yields_its_holder() {
        let status = Status::unknown(
            r#"failed to reserve sandbox name "web_default_u1_0": name "web_default_u1_0" is reserved for "3f9a01""#,
        );
        let CriError::NameReserved { id, .. } = CriError::from(status) else { panic!("not NameReserved") };
        assert_eq!(id, "3f9a01");
    }

    #[test]
    fn codes_become_variants_and_read_as_upstream() {
        let error = CriError::from(Status::not_found("container \"x\": not found"));
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "rpc error: code = NotFound desc = container \"x\": not found");
        assert!(matches!(CriError::from(Status::deadline_exceeded("slow")), CriError::DeadlineExceeded(_)));
        assert!(matches!(CriError::from(Status::unimplemented("no")), CriError::Unimplemented(_)));
        let other = CriError::from(Status::internal("runc create failed"));
        assert_eq!(other.to_string(), "rpc error: code = Internal desc = runc create failed");
    }
}
