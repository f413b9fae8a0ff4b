//! What a route does to a stream of events. Pure: bytes and values in, bytes and values out.

pub mod coordinates;
mod group;
pub mod history;
mod memory;
mod numbering;
pub mod policy;
mod prelude;
pub mod rules;
mod seek;
mod statement;
mod stream;
mod xa;

pub use group::MAX_LENGTH_BUFFER;
pub use memory::SharedName;
pub use numbering::{Numbering, restamped_pad, served_file_name, source_file_name};
pub use prelude::MAX_LOAD_BYTES;
pub use seek::{Seek, Target};
pub use stream::{MAX_HELD_BYTES, Note, Step, Stop, Stream, StreamOptions};
pub use xa::XaMemory;
