//! The service dataplane.
