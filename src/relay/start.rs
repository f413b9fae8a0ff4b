//! Where a replica's stream begins: what it asks for, in which coordinates, and what the source must be asked for.

use crate::binlog::Vendor;
use crate::fault::{Code, Fault};
use crate::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use crate::pipeline::rules::RuleSet;
use crate::pipeline::{Numbering, Target, served_file_name, source_file_name};
use crate::replica::backend::{ReplicaRequest, ReplicaStart};
use crate::source::DumpStart;
use crate::telemetry::WholePlace;

use super::index::Mark;

/// How one stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) numbering: Numbering,
    /// What the source is asked for.
    pub(super) dump: DumpStart,
    /// The same, as the position from which the stream is followed.
    pub(super) from: FilePosition,
    /// Events before this place are rendered and not sent.
    pub(super) target: Option<Target>,
    /// What a receiver counts at `from`.
    pub(super) served: u64,
}

impl Start {
    /// A word that is the same for all streams in which the same places of the source have the same positions.
    pub(super) fn rendering(&self, rules: &RuleSet, vendor: Vendor) -> String {
        format!("{vendor} {} {}", matches!(self.numbering, Numbering::Served { .. }), fingerprint(rules))
    }

    /// Begins at a remembered boundary instead of the file's start.
    pub(super) fn begin_at(&mut self, mark: Mark) -> Result<(), Fault> {
        self.dump = file_position(&self.from.file, mark.source)?;
        self.from.position = mark.source;
        self.served = mark.served;
        Ok(())
    }

    /// Begins at the file's start again.
    pub(super) fn begin_at_start(&mut self) -> Result<(), Fault> {
        self.begin_at(Mark { source: FIRST_POSITION, served: FIRST_POSITION, event: 0 })
    }
}

/// `source` or `served`, and why, for status.
pub(super) fn coordinates(rules: &RuleSet, request: &ReplicaRequest) -> (&'static str, String) {
    match (&request.start, rules.growth_reason()) {
        (ReplicaStart::FilePosition(_), Some(reason)) => ("served", reason.to_owned()),
        (ReplicaStart::FilePosition(_), None) if rules.is_transparent() => {
            ("source", "the route is transparent".into())
        }
        (ReplicaStart::FilePosition(_), None) => {
            ("source", "no transaction can come out longer than it went in".into())
        }
        _ => ("source", "the replica goes by GTID".into()),
    }
}

/// The fingerprint in the names of served files.
pub(super) fn fingerprint(rules: &RuleSet) -> String {
    rules.fingerprint()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decides how the stream begins, before the first byte.
/// `departed` is where the replica was when its last stream ended, if this process served it; `is_looked_for`: it has to be seen whether the
/// place is one between two transactions.
pub(super) fn decide(
    rules: &RuleSet,
    request: &ReplicaRequest,
    departed: Option<&WholePlace>,
    is_looked_for: bool,
) -> Result<Start, Fault> {
    let start = match &request.start {
        ReplicaStart::MySqlGtid(set) => {
            let (numbering, from) = (Numbering::Source, FilePosition::default());
            return Ok(Start { numbering, dump: DumpStart::GtidSet(set.clone()), from, target: None, served: 0 });
        }
        ReplicaStart::MariaDbGtid(_) => {
            let (numbering, from) = (Numbering::Source, FilePosition::default());
            return Ok(Start { numbering, dump: DumpStart::MariaDbGtid, from, target: None, served: 0 });
        }
        ReplicaStart::FilePosition(start) => start,
    };
    let served = source_file_name(&start.file);
    // Places beyond 4 GiB are this process's own (a stream that is asked for again): they are looked for from the file's start.
    if rules.is_transparent() && start.position <= LARGEST_POSITION && !is_looked_for {
        let dump = file_position(&start.file, start.position)?;
        return Ok(Start {
            numbering: Numbering::Source,
            dump,
            from: start.clone(),
            target: None,
            served: start.position,
        });
    }
    let own = fingerprint(rules);
    let numbering = if rules.is_transparent() {
        Numbering::Source
    } else if rules.may_lengthen() {
        // Programs that read files (server id 0) end at the first ROTATE to another name than they asked for, with nothing
        // read and no error. They do not come back either, so they are served the name that `SHOW BINARY LOGS` gave them.
        let keeps_name = request.replica.server_id == 0 && served.is_none();
        Numbering::Served { fingerprint: (!keeps_name).then(|| own.clone()) }
    } else if request.replica.server_id == 0 {
        // They count nothing that pads or a ROTATE could correct, and `--raw` begins its file anew at each ROTATE.
        Numbering::Source
    } else if request.replica.vendor == Vendor::MySql {
        Numbering::SourcePadded { replica_server_id: request.replica.server_id }
    } else {
        Numbering::SourceSteppedBack
    };
    let (file, target) = match (served, &numbering) {
        (Some((file, theirs)), Numbering::Served { .. }) if theirs == own => {
            (file, (start.position > FIRST_POSITION).then_some(Target::Served(start.position)))
        }
        (Some((file, theirs)), _) => {
            let last =
                departed.filter(|place| place.served.0.as_bytes() == start.file && place.served.1 <= start.position);
            return Err(other_rules(start, &file, &theirs, (&numbering, &own), last));
        }
        (None, _) => (start.file.clone(), (start.position > FIRST_POSITION).then_some(Target::Source(start.position))),
    };
    if start.position < FIRST_POSITION {
        let message =
            format!("the replica asked for position {} of {start}; a file begins at {FIRST_POSITION}", start.position);
        return Err(Fault::new(Code::ReplicaPosition, message));
    }
    // What comes before the place must be seen too: the place can be inside a group, and only from a group's start is it
    // known what a row belongs to.
    let from = FilePosition { file: file.clone(), position: FIRST_POSITION };
    Ok(Start { numbering, dump: file_position(&file, FIRST_POSITION)?, from, target, served: FIRST_POSITION })
}

/// The largest position that COM_BINLOG_DUMP can carry.
pub(super) const LARGEST_POSITION: u64 = u32::MAX as u64;

/// A replica sends 32 bits of its position. In a file of more than 4 GiB (`file_size`) they may be those of another place, and there is
/// no telling: a replica that is served the wrong one applies a part of a transaction twice.
pub(super) fn refuse_ambiguous(at: &FilePosition, file_size: u64) -> Result<(), Fault> {
    let other = at.position + LARGEST_POSITION + 1;
    if at.position <= FIRST_POSITION || other > file_size {
        return Ok(());
    }
    let message = format!(
        "the source's file has {file_size} bytes, and a replica sends 32 bits of its position: {at} may also be {other}"
    );
    Err(Fault::new(Code::PositionTooLarge, message))
}

fn file_position(file: &[u8], position: u64) -> Result<DumpStart, Fault> {
    let position = u32::try_from(position).map_err(|_| {
        let message = format!("position {position} is above 4 GiB, which only GTID can reach");
        Fault::new(Code::PositionTooLarge, message)
    })?;
    Ok(DumpStart::FilePosition { file: file.to_vec(), position })
}

fn other_rules(
    start: &FilePosition,
    file: &[u8],
    theirs: &str,
    (numbering, own): (&Numbering, &str),
    last: Option<&WholePlace>,
) -> Fault {
    let file = String::from_utf8_lossy(file);
    let now = match numbering {
        Numbering::Served { .. } => {
            format!(
                "the rules have changed: this route now serves {:?}",
                String::from_utf8_lossy(&served_file_name(file.as_bytes(), own))
            )
        }
        _ => "with its present rules the route serves the source's own positions".to_owned(),
    };
    let message = match last {
        // It has been sent all up to there, so this is where its SQL thread ends when it has applied what it has.
        Some(WholePlace { source: (file, position), served, .. }) => format!(
            "the replica stands at {start}; its last whole transaction ends at {} there, which is {file}:{position} of the source; \
             point it there (MASTER_LOG_FILE='{file}', MASTER_LOG_POS={position}) when Exec_Master_Log_Pos is {}. The numbers are \
             those of rules {theirs}; {now}",
            served.1, served.1
        ),
        None => format!(
            "the replica stands at {start}, numbered under rules {theirs}; {now}. Stop its SQL thread at a transaction's end, take the \
             position of that transaction in {file} of the source, and point the replica there"
        ),
    };
    Fault::new(Code::ReplicaRulesChanged, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::tests::rules;
    use crate::replica::backend::ReplicaSession;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_position_that_may_be_another_one_is_refused() {
        let at = |position| FilePosition { file: b"bin.000007".to_vec(), position };
        for (position, size, refused) in [
            (1000, 4 * GIB - 1, false),
            (1000, 4 * GIB + 999, false),
            (1000, 4 * GIB + 1000, true),
            (4 * GIB - 1, 5 * GIB, false),
            (FIRST_POSITION, 5 * GIB, false),
        ] {
            let verdict = refuse_ambiguous(&at(position), size);
            assert_eq!(verdict.is_err(), refused, "{position} of {size}");
        }
        let fault = refuse_ambiguous(&at(1000), 5 * GIB).unwrap_err();
        assert!(fault.code == Code::PositionTooLarge && fault.message.contains("4294968296"), "{fault}");
        assert!(fault.to_string().contains("GTID"), "{fault}");
    }

    /// Which positions a replica gets, what the source is asked for, and what is looked for in it.
    #[test]
    fn numbering_and_the_place_to_begin_at_follow_from_the_rules_and_from_what_the_replica_names() {
        let transparent = RuleSet::transparent();
        let (shortens, grows) = (rules("db shop"), rules("db a as much_longer"));
        assert!(!shortens.may_lengthen() && grows.may_lengthen());
        let own = fingerprint(&grows);
        let served_name = |own: &str| served_file_name(b"bin.000007", own);
        let padded = || Numbering::SourcePadded { replica_server_id: 7 };
        let served = || Numbering::Served { fingerprint: Some(own.clone()) };
        let (mysql, mariadb) = (Vendor::MySql, Vendor::MariaDb);
        let name = b"bin.000007".to_vec();
        for (rules, vendor, server_id, file, position, is_looked_for, expected) in [
            (&transparent, mysql, 7, &name, 900, false, Ok((Numbering::Source, 900, None))),
            (&transparent, mysql, 7, &name, 900, true, Ok((Numbering::Source, 4, Some(Target::Source(900))))),
            (&transparent, mysql, 7, &name, 4, true, Ok((Numbering::Source, 4, None))),
            (
                &transparent,
                mariadb,
                7,
                &name,
                5 * GIB,
                false,
                Ok((Numbering::Source, 4, Some(Target::Source(5 * GIB)))),
            ),
            (&transparent, mysql, 7, &served_name(&own), 900, true, Err(Code::ReplicaRulesChanged)),
            (&shortens, mysql, 7, &name, 900, false, Ok((padded(), 4, Some(Target::Source(900))))),
            (&shortens, mysql, 7, &name, 4, false, Ok((padded(), 4, None))),
            (
                &shortens,
                mariadb,
                7,
                &name,
                900,
                false,
                Ok((Numbering::SourceSteppedBack, 4, Some(Target::Source(900)))),
            ),
            (&shortens, mysql, 7, &served_name(&own), 900, false, Err(Code::ReplicaRulesChanged)),
            // A name of the source's is a place of the source's, until the replica has been sent a served name.
            (&grows, mysql, 7, &name, 900, false, Ok((served(), 4, Some(Target::Source(900))))),
            (&grows, mariadb, 7, &served_name(&own), 900, false, Ok((served(), 4, Some(Target::Served(900))))),
            (&grows, mysql, 7, &served_name(&own), 4, false, Ok((served(), 4, None))),
            (&grows, mysql, 7, &served_name("00c0ffee"), 900, false, Err(Code::ReplicaRulesChanged)),
            (&grows, mysql, 7, &served_name("00c0ffee"), 4, false, Err(Code::ReplicaRulesChanged)),
            (&grows, mysql, 7, &name, 3, false, Err(Code::ReplicaPosition)),
            // Programs that read files keep the name that they asked for.
            (&grows, mysql, 0, &name, 4, false, Ok((Numbering::Served { fingerprint: None }, 4, None))),
            (&grows, mysql, 0, &served_name(&own), 4, false, Ok((served(), 4, None))),
            (&shortens, mysql, 0, &name, 4, false, Ok((Numbering::Source, 4, None))),
            (&shortens, mariadb, 0, &name, 900, false, Ok((Numbering::Source, 4, Some(Target::Source(900))))),
        ] {
            let at = FilePosition { file: file.clone(), position };
            let request = ReplicaRequest {
                replica: ReplicaSession { vendor, ..ReplicaSession::of_a_test(server_id) },
                start: ReplicaStart::FilePosition(at.clone()),
                receiver: at.clone(),
                flags: 0,
                non_blocking: false,
            };
            let start = decide(rules, &request, None, is_looked_for);
            let case = format!("{at} for {vendor} {server_id}");
            let found = match start {
                Ok(start) => {
                    let from = FilePosition { file: name.clone(), position: start.served };
                    assert_eq!(
                        (&start.from, &start.dump),
                        (&from, &file_position(&name, start.served).unwrap()),
                        "{case}"
                    );
                    Ok((start.numbering, start.served, start.target))
                }
                Err(fault) => Err(fault.code),
            };
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn a_replica_of_other_rules_hears_where_its_last_transaction_ended_if_that_is_its_file_and_not_beyond() {
        let rules = rules("db a as much_longer");
        let file = String::from_utf8(served_file_name(b"bin.000007", "00c0ffee")).unwrap();
        let at = FilePosition { file: file.clone().into(), position: 900 };
        let request = ReplicaRequest {
            replica: ReplicaSession::of_a_test(7),
            start: ReplicaStart::FilePosition(at.clone()),
            receiver: at,
            flags: 0,
            non_blocking: false,
        };
        for (served, is_told) in [
            ((file.clone(), 900), true),
            ((file.clone(), 800), true),
            ((file, 901), false),
            (("bin.000007".to_owned(), 800), false),
        ] {
            let place = WholePlace { server: "a:1".to_owned(), source: ("bin.000007".to_owned(), 777), served };
            let message = decide(&rules, &request, Some(&place), false).unwrap_err().message;
            assert_eq!(message.contains("MASTER_LOG_POS=777"), is_told, "{:?}: {message}", place.served);
        }
    }
}
