//! The vocabulary every part of Xebec speaks.
