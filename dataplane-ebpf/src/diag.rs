//! The programs' own diagnostics, by aya-log. The loader sets AYA_LOG_LEVEL to 0 unless asked otherwise, and the
//! verifier then drops the code: off costs nothing.

/// One line at debug level: what happened, and the address and port it happened to (host order).
macro_rules! note {
    ($call:expr, $what:literal, $index:expr, $port:expr) => {
        aya_log_ebpf::debug!($call.ctx, $what, $index, $port)
    };
}
pub(crate) use note;
