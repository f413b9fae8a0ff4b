//! What a route does to a stream of events. Pure: bytes and values in, bytes and values out.

pub mod coordinates;
pub mod policy;
pub mod rules;
