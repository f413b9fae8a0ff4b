//! Spans are in range, sorted and hold the names; what is unknown has a reason; the replica's own reading is one of them.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the crate's own module, of which a target uses a part")]
#[path = "../../../src/ddl/mod.rs"]
mod ddl;
mod input;

use ddl::{Class, Kind, Reader, Statement};

fn check(sql: &[u8], statement: &Statement) {
    let mut last = 0;
    for object in &statement.objects {
        assert!(last <= object.span.start && object.span.start <= object.span.end && object.span.end <= sql.len());
        last = object.span.start;
        if let Some(database) = &object.database_span {
            assert!(database.start < database.end && database.end <= object.span.end);
        }
        assert!(object.inherits.is_none_or(|owner| owner < statement.objects.len()));
    }
    for item in &statement.items {
        assert!(item.span.start < item.span.end && item.span.end <= sql.len());
        assert!(item.objects.iter().all(|&index| index < statement.objects.len()));
    }
    for name in &statement.derived {
        assert!(name.span.end <= sql.len() && name.table < statement.objects.len());
    }
    assert_eq!(statement.kind == Kind::UNKNOWN, statement.class == Class::Unknown);
    assert!(statement.class != Class::Unknown || statement.doubt.is_some());
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((context, reader, sql)) = input::session(data) else { return };
    let statement = ddl::analyze(sql, &context);
    check(sql, &statement);
    assert_eq!(statement, ddl::analyze(sql, &context));
    let itself = Reader { mariadb: context.mariadb, version: Some(context.version) };
    assert_eq!(statement, ddl::analyze_for(sql, &context, itself));
    check(sql, &ddl::analyze_for(sql, &context, reader));
});
