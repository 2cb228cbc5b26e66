//! libraries
