//! The apiregistration.k8s.io group: group versions served by this server or by another behind it.

pub mod api_service;
