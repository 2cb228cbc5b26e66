#![no_std]
//! Layouts shared by the eBPF programs and the agent.
