//! Being a source for somebody: the door, the command phase and the dump session.

pub mod backend;
