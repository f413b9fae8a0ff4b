//! Tests against real servers.

mod direct;
