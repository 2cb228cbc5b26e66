//! The node's machine: cgroups, volumes, logs.
