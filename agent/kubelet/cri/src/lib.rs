//! The CRI v1 client.
