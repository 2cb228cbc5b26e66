//! The authorization.k8s.io group: questions about access. Answered on the spot, never stored.

pub mod access_review;
