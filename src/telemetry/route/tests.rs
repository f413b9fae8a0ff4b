//! Which faults stand until when, which replicas are remembered, and which statements are counted.

use super::*;
use crate::fault::Code;

fn replica(server_id: u32) -> SessionIdentity {
    SessionIdentity { peer: ([127, 0, 0, 1], 1).into(), server_id, uuid: None, version: None }
}

fn answer() -> SourceContact {
    SourceContact {
        at: SystemTime::now(),
        server: "db1:3306".to_owned(),
        version: "8.0.36".to_owned(),
        server_id: 1,
        server_uuid: None,
        semi_sync: None,
    }
}

#[test]
fn a_stopped_replica_keeps_the_route_unhealthy_until_that_replica_gets_a_transaction() {
    let route = RouteTelemetry::new("shop");
    let session = route.attach(replica(7));
    session.failed(&Fault::new(Code::StatementStopped, "CREATE TRIGGER"));
    drop(session);
    assert!(!route.picture().healthy);

    let other = route.attach(replica(8));
    other.sent(1, 100, 1, 0, Some("binlog.000001"), 120);
    assert!(!route.picture().healthy, "another replica's progress cures nothing");

    let again = route.attach(replica(7));
    assert!(!route.picture().healthy, "being attached again is not progress");
    again.sent(3, 300, 1, 0, Some("binlog.000001"), 420);
    let picture = route.picture();
    assert!(picture.healthy);
    assert_eq!(picture.last_error.map(|(_, fault)| fault.code), Some(Code::StatementStopped));
    assert_eq!((picture.sent, picture.transactions, picture.sessions.len()), ((4, 400), 2, 2));
}

#[test]
fn a_fault_of_the_running_session_is_not_cured_by_what_it_sent_before() {
    let route = RouteTelemetry::new("shop");
    let session = route.attach(replica(7));
    session.sent(3, 300, 1, 0, None, 420);
    session.failed(&Fault::new(Code::StatementStopped, "CREATE TRIGGER"));
    drop(session);
    assert!(!route.picture().healthy);
}

#[test]
fn a_replica_that_left_is_remembered_with_its_place_until_it_is_back() {
    let route = RouteTelemetry::new("shop");
    let session = route.attach(replica(7));
    session.stands_at("db1:3306", (b"bin.000001", 700), (b"bin.rp5f3c9a12.000001", 900));
    drop(session);
    let place = WholePlace {
        server: "db1:3306".to_owned(),
        source: ("bin.000001".to_owned(), 700),
        served: ("bin.rp5f3c9a12.000001".to_owned(), 900),
    };
    assert_eq!(route.departed(7, None).map(|departed| departed.place), Some(place.clone()));
    assert!(route.departed(7, Some("a")).is_none() && route.departed(8, None).is_none());
    assert_eq!(route.picture().departed.len(), 1);
    let refused = route.attach(replica(7));
    assert!(route.picture().departed.is_empty(), "it is here");
    drop(refused);
    assert_eq!(route.departed(7, None).map(|departed| departed.place), Some(place), "it was sent nothing since");
    for server_id in 100..100 + 2 * KEPT_DEPARTED as u32 {
        route.attach(replica(server_id)).stands_at("db1:3306", (b"b", 4), (b"b", 4));
    }
    assert_eq!(route.picture().departed.len(), KEPT_DEPARTED);
}

#[test]
fn a_server_that_was_built_anew_cures_the_fault_of_what_it_was() {
    let route = RouteTelemetry::new("shop");
    let with = |server_id, uuid: &str| SessionIdentity { uuid: Some(uuid.to_owned()), ..replica(server_id) };
    route.attach(with(7, "a")).failed(&Fault::new(Code::ReplicaPosition, "beyond the end"));
    route.attach(with(8, "b")).sent(1, 100, 1, 0, None, 120);
    assert!(!route.picture().healthy, "another server");
    route.attach(with(7, "c")).sent(1, 100, 1, 0, None, 120);
    assert!(route.picture().healthy, "the same server id");
    route.attach(with(7, "a")).failed(&Fault::new(Code::ReplicaPosition, "beyond the end"));
    route.attach(with(9, "a")).sent(1, 100, 1, 0, None, 120);
    assert!(route.picture().healthy, "the same uuid");
}

#[test]
fn a_stranger_at_the_door_does_not_make_the_route_unhealthy() {
    let route = RouteTelemetry::new("shop");
    route.failed(&Fault::new(Code::ReplicaRefusedLogin, "user \"root\""));
    let picture = route.picture();
    assert!(picture.healthy);
    assert!(picture.last_error.is_some());
}

#[test]
fn a_source_that_answers_again_cures_its_route() {
    let route = RouteTelemetry::new("shop");
    route.failed(&Fault::new(Code::SourceUnreachable, "db1:3306"));
    assert!(!route.picture().healthy);
    route.source_seen(answer());
    assert!(route.picture().healthy);
}

#[test]
fn why_a_source_does_not_answer_is_known_from_the_first_time_until_it_does() {
    let route = RouteTelemetry::new("shop");
    let refused = Fault::new(Code::SourceRefusedLogin, "db1:3306");
    route.source_failed(&refused);
    let first = route.picture().source_trouble.expect("it failed");
    route.source_failed(&refused);
    let again = route.picture().source_trouble.expect("it failed again");
    assert_eq!((again.since, &again.fault), (first.since, &refused));
    assert!(again.at >= first.at && route.picture().source.is_none());
    route.source_seen(answer());
    assert_eq!(route.picture().source_trouble, None);
}

#[test]
fn faults_that_stand_are_told_with_their_replicas_and_since_when() {
    let route = RouteTelemetry::new("shop");
    let stopped = Fault::new(Code::StatementStopped, "CREATE TRIGGER");
    route.attach(replica(7)).failed(&stopped);
    let first = route.picture().standing;
    route.attach(replica(7)).failed(&stopped);
    route.attach(replica(8)).failed(&Fault::new(Code::SourceLost, "gone"));
    let standing = route.picture().standing;
    let seen: Vec<_> = standing.iter().map(|fault| (fault.replica.clone(), fault.fault.code)).collect();
    assert_eq!(seen, [(Some((7, None)), Code::StatementStopped), (Some((8, None)), Code::SourceLost)]);
    assert_eq!(standing[0].since, first[0].since);
}

#[test]
fn only_the_newest_policed_statements_are_kept_and_all_are_counted() {
    let route = RouteTelemetry::new("shop");
    // Two replicas are served the same hundred statements.
    for position in 0..200 {
        route.policed(PolicedStatement {
            action: StatementAction::Skip,
            rule: "ddl.unsupported".to_owned(),
            reason: "unsupported".to_owned(),
            kind: "create_trigger".to_owned(),
            server: "a".to_owned(),
            file: "binlog.000001".to_owned(),
            created: 9,
            position: position % 100,
        });
    }
    let picture = route.picture();
    assert_eq!(
        picture.statements,
        [(StatementAction::Skip, "unsupported".to_owned(), "ddl.unsupported".to_owned(), 100)]
    );
    assert_eq!(picture.last_statements.len(), KEPT_STATEMENTS);
    assert_eq!(picture.last_statements.last().map(|(_, last)| last.position), Some(99));
}
