use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
        user: "u".to_owned(),
        password: crate::secret::Secret::new(String::new()),
        tls: crate::source::TlsMode::Disabled,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        connect_timeout: Duration::from_secs(1),
    }
}

fn server(identity: &str) -> Known {
    Known { identity: identity.to_owned(), residence: None }
}

fn servers() -> Servers {
    Servers::new("primary".to_owned(), vec![endpoint(1), endpoint(2), endpoint(3)])
}

fn at(file: &str, position: u64) -> FilePosition {
    FilePosition { file: file.into(), position }
}

fn stretch(since: Instant, created: u32) -> Stretch {
    Stretch { server: server(A), from: at("bin.000006", 500), to: at("bin.000007", 900), created, since }
}

#[test]
fn a_replica_that_went_by_gtid_meanwhile_has_its_positions_from_elsewhere() {
    let (servers, start) = (servers(), Instant::now());
    let (replica, place) = (ReplicaSession::of_a_test(7), at("bin.000007", 900));
    servers.left(&replica, stretch(start, 33));
    assert_eq!(servers.file_of(&replica, &place), Some(33));
    assert!(servers.admit(0, "a:1", &server(B), &replica, &place).is_err());
    servers.goes_by_gtid(&replica, server(B));
    for _ in 0..2 {
        assert_eq!(servers.file_of(&replica, &place), None);
        assert!(servers.admit(0, "a:1", &server(B), &replica, &place).is_ok());
        // The former stream ends late.
        servers.left(&replica, stretch(start, 33));
    }
    servers.left(&replica, stretch(Instant::now(), 44));
    assert_eq!(servers.file_of(&replica, &place), Some(44));
}

#[test]
fn the_file_of_a_stretch_is_known_and_an_older_stream_that_ends_late_does_not_hide_it() {
    let (servers, start) = (servers(), Instant::now());
    servers.left(&ReplicaSession::of_a_test(7), stretch(start + Duration::from_secs(1), 33));
    servers.left(&ReplicaSession::of_a_test(7), stretch(start, 22));
    let file_of = |id, place| servers.file_of(&ReplicaSession::of_a_test(id), &place);
    assert_eq!(file_of(7, at("bin.000007", 900)), Some(33));
    for (id, place) in [(8, at("bin.000007", 900)), (7, at("bin.000007", 4)), (7, at("bin.000007", 901))] {
        assert_eq!(file_of(id, place), None);
    }
    servers.left(&ReplicaSession::of_a_test(7), stretch(start + Duration::from_secs(2), 0));
    assert_eq!(file_of(7, at("bin.000007", 900)), None, "the last stream did not get to know its file");
}

#[test]
fn a_position_is_taken_by_host_and_by_the_server_that_host_was() {
    let (servers, place) = (servers(), at("bin.000007", 900));
    let admit =
        |index, identity| servers.admit(index, "127.0.0.1:2", &server(identity), &ReplicaSession::of_a_test(7), &place);
    assert_eq!(admit(1, A).unwrap_err().code, Code::ServerChanged, "nobody knows yet whose positions these are");
    assert_eq!(admit(0, A), Ok(()));
    assert_eq!(admit(1, A), Ok(()), "the same server at another address");
    assert_eq!(admit(2, B).unwrap_err().code, Code::ServerChanged);
}

#[test]
fn a_replica_that_comes_back_into_what_it_was_sent_wants_the_same_server() {
    let servers = servers();
    servers.left(&ReplicaSession::of_a_test(7), stretch(Instant::now(), 3));
    let admit = |id, identity, place| {
        servers.admit(0, "127.0.0.1:1", &server(identity), &ReplicaSession::of_a_test(id), &place)
    };
    for place in [at("bin.000007", 900), at("bin.000007", 4), at("bin.000007", 899)] {
        assert_eq!(admit(7, B, place.clone()).unwrap_err().code, Code::ServerChanged, "{place}");
        assert_eq!(admit(7, A, place.clone()), Ok(()));
        assert_eq!(admit(8, B, place), Ok(()), "another replica's");
    }
    // An operator has pointed the replica at another place.
    for place in [at("bin.000007", 901), at("bin.000001", 4), at("bin.000006", 400)] {
        assert_eq!(admit(7, B, place), Ok(()));
    }
}

#[test]
fn a_stretch_grows_only_from_a_place_in_it_and_at_the_same_server() {
    let (from, to) = (at("bin.000007", 100), at("bin.000007", 200));
    for (before, gone_on, is_of_it) in [
        (stretch(Instant::now(), 3), server(A), true),
        // From its start on, for the place at which it begins is in no stretch.
        (Stretch { from: at("bin.000007", 500), ..stretch(Instant::now(), 3) }, server(A), false),
        (stretch(Instant::now(), 3), server(B), false),
    ] {
        let (servers, replica) = (servers(), ReplicaSession::of_a_test(7));
        servers.left(&replica, before);
        let second = Stretch { server: gone_on, from: from.clone(), to: to.clone(), ..stretch(Instant::now(), 4) };
        servers.left(&replica, second);
        let holds = |position| servers.file_of(&replica, &at("bin.000007", position)).is_some();
        assert!(holds(150) && !holds(201));
        assert_eq!(holds(50), is_of_it, "{:?}", servers.state().stretches);
    }
}

#[test]
fn a_stream_goes_on_behind_a_replicas_back_only_at_a_server_of_its_kind() {
    let facts = |version: &str, names: &str| {
        let version = crate::binlog::ServerVersion::parse(version).expect("a version");
        let variables = [("lower_case_table_names".to_owned(), names.to_owned())];
        SourceFacts::of(version, variables.into_iter().collect())
    };
    let before = facts("5.7.29-log", "0");
    for (now, may) in [
        (facts("5.7.44", "0"), true),
        (facts("5.7.29-log", "1"), false),
        (facts("5.6.51", "0"), false),
        (facts("8.0.36", "0"), false),
        (facts("5.7.29-MariaDB", "0"), false),
    ] {
        assert_eq!(Servers::may_go_on(&before, &now), may, "{}", now.version.text);
        assert_eq!(Servers::may_go_on(&now, &before), may, "{}", now.version.text);
    }
}

#[test]
fn so_many_replicas_are_remembered_and_the_newest_are_among_them() {
    let servers = servers();
    let all = MAX_STRETCHES as u32 + 9;
    for id in 1..=all {
        servers.left(&ReplicaSession::of_a_test(id), stretch(Instant::now(), 3));
        // It comes again, and is not counted twice.
        servers.left(&ReplicaSession::of_a_test(id), stretch(Instant::now(), 3));
    }
    let knows = |id| servers.file_of(&ReplicaSession::of_a_test(id), &at("bin.000007", 900)).is_some();
    assert_eq!((1..=all).filter(|id| knows(*id)).count(), MAX_STRETCHES);
    assert!(!knows(9) && knows(10));
    let state = servers.state();
    assert_eq!((state.stretches.len(), state.order.len()), (MAX_STRETCHES, MAX_STRETCHES));
}

#[test]
fn a_place_up_to_which_nothing_was_sent_is_anybodys() {
    let (servers, start, end) = (servers(), at("bin.000001", 157), at("bin.000001", 900));
    let admit =
        |place: &FilePosition| servers.admit(0, "127.0.0.1:1", &server(B), &ReplicaSession::of_a_test(7), place);
    servers.left(
        &ReplicaSession::of_a_test(7),
        Stretch { from: start.clone(), to: start.clone(), ..stretch(Instant::now(), 3) },
    );
    assert_eq!(admit(&start), Ok(()), "a new server, on which nothing has happened either");
    servers.left(
        &ReplicaSession::of_a_test(7),
        Stretch { from: start.clone(), to: end.clone(), ..stretch(Instant::now(), 3) },
    );
    servers.left(
        &ReplicaSession::of_a_test(7),
        Stretch { from: end.clone(), to: end.clone(), ..stretch(Instant::now(), 3) },
    );
    assert_eq!(admit(&end).unwrap_err().code, Code::ServerChanged, "it was sent something before it came back");
    assert_eq!(admit(&start), Ok(()));
}

#[test]
fn servers_of_one_cluster_that_share_an_id_have_positions_of_their_own() {
    let node =
        |host: &str| Known { identity: "server id 1".to_owned(), residence: Some(format!("{host}:3306 /data/")) };
    let (servers, place) = (servers(), at("bin.000007", 900));
    let admit = |index, server: &Known| {
        servers.admit(index, "127.0.0.1:2", server, &ReplicaSession::of_a_test(7), &place).map_err(|fault| fault.code)
    };
    let changed = Err(Code::ServerChanged);
    assert_eq!(admit(0, &node("a")), Ok(()));
    assert_eq!(admit(1, &node("b")), changed, "`host` is away for a moment");
    assert_eq!(admit(1, &node("a")), Ok(()), "`host` at another address");
    let other_id = Known { identity: "server id 9".to_owned(), ..node("a") };
    assert_eq!(admit(1, &other_id), Ok(()), "SET GLOBAL server_id");
    assert_eq!(admit(1, &server("server id 1")), Ok(()), "it does not say where it lives");
    servers.left(&ReplicaSession::of_a_test(7), Stretch { server: node("a"), ..stretch(Instant::now(), 3) });
    assert_eq!((admit(1, &node("b")), admit(1, &node("a"))), (changed, Ok(())));
    assert!(!node("a").is_surely(&node("b")) && node("a").word() != node("b").word());
    assert!(!server(A).is_surely(&server(B)) && server(A).is_surely(&server(A)));
}

#[test]
fn a_server_without_uuid_is_the_same_under_another_id_and_another_one_elsewhere() {
    let facts = |id: &str, host: &str, uid: &str, uuid: &str| {
        let variables = [
            ("server_id", id),
            ("hostname", host),
            ("port", "3306"),
            ("datadir", "/data/"),
            ("server_uid", uid),
            ("server_uuid", uuid),
        ];
        let there = variables.into_iter().filter(|(_, value)| !value.is_empty());
        let version = crate::binlog::ServerVersion::parse("10.11.8-MariaDB").expect("a version");
        SourceFacts::of(version, there.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    let servers = servers();
    let come_back = |before: &SourceFacts, now: &SourceFacts| {
        servers
            .left(&ReplicaSession::of_a_test(7), Stretch { server: Known::of(before), ..stretch(Instant::now(), 3) });
        servers
            .admit(0, "127.0.0.1:1", &Known::of(now), &ReplicaSession::of_a_test(7), &at("bin.000007", 900))
            .map_err(|fault| fault.code)
    };
    let changed = Err(Code::ServerChanged);
    let before = facts("1", "db", "x", "");
    assert_eq!(come_back(&before, &facts("10", "db", "x", "")), Ok(()), "SET GLOBAL server_id");
    assert_eq!(come_back(&before, &facts("1", "moved", "y", "")), Ok(()), "the id says who it is");
    assert_eq!(come_back(&before, &facts("10", "db2", "x", "")), changed);
    assert_eq!(come_back(&before, &facts("10", "db", "y", "")), changed);
    let nameless = facts("1", "localhost.localdomain", "", "");
    assert_eq!(come_back(&nameless, &facts("10", "localhost.localdomain", "", "")), changed, "a name of many");
    assert_eq!(come_back(&facts("1", "db", "", A), &facts("1", "db", "", B)), changed, "a uuid is for good");
}

#[test]
fn replicas_by_position_wait_for_host_before_they_are_refused() {
    let servers = servers();
    let refusals = || {
        let changed = servers
            .admit(1, "127.0.0.1:2", &server(B), &ReplicaSession::of_a_test(7), &at("bin.000007", 4))
            .unwrap_err();
        vec![(1, changed), (0, Fault::new(Code::SourceUnreachable, "127.0.0.1:1 is away"))]
    };
    let first = servers.refuse(refusals());
    assert_eq!(first.code, Code::SourceUnreachable, "it may be a restart: {first}");
    assert!(first.message.starts_with("127.0.0.1:1 is away; the replica goes by file and position"), "{first}");
    let long_ago = Instant::now().checked_sub(HOST_MAY_BE_AWAY).expect("the clock is older than a minute");
    servers.state().absence = Some(Absence { since: long_ago, seen: Instant::now() });
    assert_eq!(servers.refuse(refusals()).code, Code::ServerChanged);
}

#[test]
fn the_server_in_use_is_asked_first_and_positions_are_asked_of_host_first() {
    let servers = servers();
    servers.use_server(2, false, &[]);
    servers.use_server(1, true, &[]);
    assert_eq!((servers.order(false), servers.order(true)), (vec![2, 0, 1], vec![0, 1, 2]));
}

#[test]
fn what_a_server_lacks_is_named_and_the_replicas_own_transactions_do_not_count() {
    let set = |text: &str| text.parse::<GtidSet>().expect(text).encode();
    let own = Uuid::parse_str(B).expect("a uuid");
    let (asked, had) = (set(&format!("{A}:1-9,{B}:1-3")), format!("{A}:1-5:8-20"));
    assert_eq!(missing_of_mysql(&asked, &had, Some(own)), Some(format!("{A}:6-7")));
    assert_eq!(missing_of_mysql(&asked, &format!("{A}:1-20"), Some(own)), None);
    assert_eq!(missing_of_mysql(&asked, &format!("{A}:1-20"), None), Some(format!("{B}:1-3")));
    assert_eq!(missing_of_mariadb("0-1-20,1-1-5", "0-2-19,1-1-5"), Some("0-1-20".to_owned()));
    assert_eq!(missing_of_mariadb("0-1-20,7-1-5", "0-2-20"), None);
}
