//! Bytes on the wire: checked cursors and the packet framing of the client/server protocol.

mod cursor;
mod packet;
mod semi_sync;

pub use cursor::{Cursor, Truncated};
pub use packet::{
    FramingError, MAX_PACKET_PAYLOAD, MAX_PAYLOAD, PACKET_HEADER_LENGTH, PacketReader, packet_header, packet_ranges,
    write_packet,
};
pub use semi_sync::{
    ACKNOWLEDGEMENT_LIMIT, Acknowledgement, NEEDS_ACKNOWLEDGEMENT, SEMI_SYNC_MAGIC, SEQUENCE_AFTER_ACKNOWLEDGEMENT,
};
