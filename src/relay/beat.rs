//! What a source says with a heartbeat.

/// Whether it says that there is nothing more. `beat` is the place that it tells, where it tells one in the file at hand; `told` how far the
/// events and heartbeats before it have told already.
///
/// MySQL leaves out what a replica by GTID has, and tells by a heartbeat how far that goes: at the end of its log, and also just before the
/// next event, of which there may be hours. A stream that took that for the end would become the live tail far behind the source.
pub(super) fn says_no_more(beat: Option<u64>, told: u64) -> bool {
    beat.is_none_or(|beat| beat <= told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_that_tells_how_far_goes_what_was_left_out_does_not_say_that_there_is_no_more() {
        // The head of the file is 158 bytes; 1000 are left out; the source waits; an event comes, up to 1200; the source waits.
        let told_and_beats = [(158, 1158, false), (1158, 1158, true), (1200, 1200, true)];
        for (told, beat, no_more) in told_and_beats {
            assert_eq!(says_no_more(Some(beat), told), no_more, "{beat} after {told}");
        }
        assert!(says_no_more(None, 158), "by file and position nothing is left out");
    }
}
