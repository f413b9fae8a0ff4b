//! A stream without the transactions of a set: what `mysqlbinlog --exclude-gtids` asks for besides a file and a position.

use crate::binlog::{Event, EventType};
use crate::fault::{Code, Fault};
use crate::gtid::{GtidSet, mysql_gtid};
use crate::pipeline::coordinates::FilePosition;

use super::backend::{BoxFuture, Feed, FeedState, Standing};

/// Leaves out what begins with a GTID of the set, up to the next GTID, as a source does (`Binlog_sender::skip_event`).
pub(super) struct Excluding {
    feed: Box<dyn Feed>,
    set: GtidSet,
    /// The transaction at hand is left out.
    leaves_out: bool,
    /// What came and was not looked at yet.
    came: Vec<Event>,
}

impl Excluding {
    pub(super) fn new(feed: Box<dyn Feed>, set: GtidSet) -> Self {
        Self { feed, set, leaves_out: false, came: Vec::new() }
    }

    fn passes(&mut self, event: &Event) -> bool {
        match event.event_type() {
            EventType::GTID | EventType::GTID_TAGGED => {
                self.leaves_out = mysql_gtid(event).is_some_and(|(sid, number)| self.set.contains(&sid, number));
            }
            EventType::ANONYMOUS_GTID => self.leaves_out = false,
            // What belongs to a file and to no transaction.
            EventType::ROTATE | EventType::FORMAT_DESCRIPTION | EventType::PREVIOUS_GTIDS | EventType::STOP => {
                return true;
            }
            _ => {}
        }
        !self.leaves_out
    }
}

impl Feed for Excluding {
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
        Box::pin(async move {
            let state = self.feed.next(&mut self.came).await;
            for event in std::mem::take(&mut self.came) {
                if self.passes(&event) {
                    out.push(event);
                }
            }
            match state {
                Ok(FeedState::Shared(_)) => {
                    let message = "events of a live tail came where some are to be left out";
                    Err(Fault::new(Code::Internal, message))
                }
                state => state,
            }
        })
    }

    fn at_boundary(&self) -> bool {
        self.feed.at_boundary()
    }

    fn heartbeat_position(&self) -> Option<FilePosition> {
        None
    }

    fn standing(&self) -> Option<Standing<'_>> {
        self.feed.standing()
    }

    fn is_caught_up(&self) -> bool {
        self.feed.is_caught_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{ChecksumAlgorithm, Header};

    /// One event a call.
    struct OneByOne(std::vec::IntoIter<Event>);

    impl Feed for OneByOne {
        fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
            out.extend(self.0.next());
            Box::pin(async { Ok(FeedState::More) })
        }

        fn at_boundary(&self) -> bool {
            true
        }

        fn heartbeat_position(&self) -> Option<FilePosition> {
            None
        }
    }

    #[tokio::test]
    async fn transactions_of_the_set_are_left_out_and_nothing_else() {
        const SID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let event = |event_type, body: &[&[u8]]| {
            let header = Header { timestamp: 1, event_type, server_id: 7, event_length: 0, log_pos: 9, flags: 0 };
            Event::build(header, body, ChecksumAlgorithm::None)
        };
        let sid = uuid::Uuid::parse_str(SID).expect("a uuid");
        let gtid = |number: u64| event(EventType::GTID, &[&[0], sid.as_bytes(), &number.to_le_bytes(), &[2], &[0; 16]]);
        let plain = |event_type| event(event_type, &[&[0; 40]]);
        let (xid, rotate) = (plain(EventType::XID), plain(EventType::ROTATE));
        let (previous, anonymous) = (plain(EventType::PREVIOUS_GTIDS), plain(EventType::ANONYMOUS_GTID));
        let came = [
            (gtid(4), true),
            (xid.clone(), true),
            (gtid(5), false),
            (xid.clone(), false),
            (rotate, true),
            (previous, true),
            (gtid(6), false),
            (xid.clone(), false),
            (gtid(7), true),
            (xid.clone(), true),
            (gtid(5), false),
            (anonymous, true),
            (xid, true),
        ];
        let events: Vec<Event> = came.iter().map(|(event, _)| event.clone()).collect();
        let wanted: Vec<_> = came.iter().filter(|(_, passes)| *passes).map(|(event, _)| event.raw().clone()).collect();
        let set = format!("{SID}:5-6").parse().expect("a set");
        let mut feed = Excluding::new(Box::new(OneByOne(events.into_iter())), set);
        let mut out = Vec::new();
        for _ in 0..came.len() {
            assert!(matches!(feed.next(&mut out).await, Ok(FeedState::More)));
        }
        assert_eq!(out.iter().map(|event| event.raw().clone()).collect::<Vec<_>>(), wanted);
    }
}
