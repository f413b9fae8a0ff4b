//! The door, the command phase and the dump, driven by a scripted client and a scripted feed.

mod client;
mod commands;
mod door;
mod dump;
mod scripted;
mod semi_sync;
mod serve;
