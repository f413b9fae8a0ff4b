//! Bytes on the wire: checked cursors and the packet framing of the client/server protocol.

mod cursor;

pub use cursor::{Cursor, Truncated};

/// The largest payload of one physical packet. A payload of this length is followed by another packet.
pub const MAX_PACKET_PAYLOAD: usize = 0xff_ff_ff;
