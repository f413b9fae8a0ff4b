//! Going on in the middle: what was sent before is rendered again and left out.
//!
//! The same rules over the same source files give the same bytes, so a replica that comes back goes on at the very byte. A place
//! inside a group means something only to who has seen the group's start.

use crate::binlog::{Event, EventType, Rotate, Vendor, for_mid_file};

use super::coordinates::{FIRST_POSITION, FilePosition, ReceiverPosition};
use super::numbering::Numbering;

/// The place in a file from which on a replica wants the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A position of the source, which is the end of a group; or, on a replica whose own count is the source's at the end of
    /// every group, the count that it had reached inside of one.
    Source(u64),
    /// A position in what is served.
    Served(u64),
}

/// Looks for the place in the file where the replica goes on.
#[derive(Debug)]
pub struct Seek {
    target: Target,
    is_served: bool,
    receiver: ReceiverPosition,
    file: Vec<u8>,
    format: Option<Event>,
    server_id: u32,
}

impl Seek {
    /// Looks for `target` in what comes out of the source's `file` (empty: its first one). `receiver` is what a receiver counts
    /// where the stream begins.
    pub fn new(target: Target, numbering: &Numbering, replica: Vendor, receiver: FilePosition, file: Vec<u8>) -> Self {
        let is_served = matches!(numbering, Numbering::Served { .. });
        let receiver = ReceiverPosition::new(replica, receiver);
        Self { target, is_served, receiver, file, format: None, server_id: 0 }
    }

    /// Whether the source's stream has left the file.
    pub fn is_past(&self, source: &FilePosition) -> bool {
        !self.file.is_empty() && source.file != self.file
    }

    /// Takes what came out of one event of the source. At the place it puts out how a stream begins in the middle of a file,
    /// and what comes after the place, and says where a receiver then stands.
    pub fn pass(
        &mut self,
        rendered: Vec<Event>,
        boundary: bool,
        source: &FilePosition,
        out: &mut Vec<Event>,
    ) -> Option<FilePosition> {
        let mut rendered = rendered.into_iter();
        for event in rendered.by_ref() {
            if event.event_type() == EventType::FORMAT_DESCRIPTION {
                self.server_id = event.header().server_id;
                self.format = Some(event.clone());
            }
            let began = event.event_type() == EventType::ROTATE && self.format.is_none();
            let counted = self.receiver.at().position;
            self.receiver.receive(&event);
            if began {
                let file = self.receiver.at().file.clone();
                self.receiver.set(FilePosition { file, position: counted });
            }
            let at = self.receiver.at().position;
            let reached = match self.target {
                Target::Served(position) | Target::Source(position) => at == position && at > FIRST_POSITION,
            };
            // A position of the source means nothing in served coordinates, but for the end of a group below.
            let comparable = !self.is_served || matches!(self.target, Target::Served(_));
            if reached && comparable && self.format.is_some() {
                return self.begin(at, rendered, out);
            }
        }
        match self.target {
            Target::Source(position) if boundary && source.position == position => {
                // In the source's coordinates what was left out is made up for: the replica counts from where it says it is.
                let at = if self.is_served { self.receiver.at().position } else { position };
                self.begin(at, rendered, out)
            }
            _ => None,
        }
    }

    fn begin(&self, position: u64, rest: impl Iterator<Item = Event>, out: &mut Vec<Event>) -> Option<FilePosition> {
        let format = self.format.as_ref()?;
        let file = self.receiver.at().file.clone();
        out.push(Rotate { position, file: &file }.artificial(self.server_id, format.checksum()));
        out.push(for_mid_file(format, false));
        let mut receiver = self.receiver.clone();
        receiver.set(FilePosition { file, position });
        for event in rest {
            receiver.receive(&event);
            out.push(event);
        }
        Some(receiver.at().clone())
    }

    /// Why the place was not found, in words.
    pub fn missed(&self, source: &FilePosition) -> String {
        let (position, whose) = match self.target {
            Target::Source(position) => (position, "the source's file"),
            Target::Served(position) => (position, "what this route serves of the source's file"),
        };
        let file = String::from_utf8_lossy(&self.file);
        let counted = self.receiver.at().position;
        format!(
            "position {position} in {whose} {file} is no place between two events (the file was read up to {source}, which is \
             {counted} as this route serves it)"
        )
    }
}
