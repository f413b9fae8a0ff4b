//! Bytes on the wire: checked cursors and the packet framing of the client/server protocol.

mod cursor;
mod packet;

pub use cursor::{Cursor, Truncated};
pub use packet::{
    FramingError, MAX_PACKET_PAYLOAD, MAX_PAYLOAD, PACKET_HEADER_LENGTH, PacketReader, packet_header, packet_ranges,
    write_packet,
};
