use super::*;

/// Rules from short text: `db shop_* as cn_*`, `table crm.a as crm.b`, `not shop.audit_*`; one a line.
fn objects(text: &str) -> Vec<ObjectRule> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (what, rest) = line.split_once(' ').unwrap();
            let (from, to) = match rest.split_once(" as ") {
                Some((from, to)) => (from, Some(to)),
                None => (rest, None),
            };
            let mut from = parse_patterns(from).unwrap();
            let mut to = to.map(|to| {
                let parts = parse_patterns(to).unwrap();
                parts.into_iter().map(|part| Template::new(part, to).unwrap()).collect::<Vec<_>>()
            });
            match (what, from.len()) {
                ("db", 1) => ObjectRule::Database { pattern: from.remove(0), rename: to.map(|mut to| to.remove(0)) },
                ("table", 2) => ObjectRule::Table {
                    database: from.remove(0),
                    table: from.remove(0),
                    rename: to.as_mut().map(|to| (to.remove(0), to.remove(0))),
                },
                ("not", 1) => ObjectRule::ExcludeDatabase(from.remove(0)),
                ("not", 2) => ObjectRule::ExcludeTable { database: from.remove(0), table: from.remove(0) },
                other => panic!("{other:?} in {line}"),
            }
        })
        .collect()
}

pub(crate) fn rules(text: &str) -> RuleSet {
    RuleSet::build(objects(text), None, Vec::new()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub(crate) fn with_policy(text: &str, policy: Policy) -> RuleSet {
    RuleSet::build(objects(text), Some(policy), Vec::new()).unwrap()
}

/// `new_db.new_table by rule`.
fn table(rules: &RuleSet, database: &str, name: &str) -> String {
    show(&rules.decide_table(database, name))
}

fn show(decision: &Decision) -> String {
    match &decision.selection {
        Selection::Selected { database, name } => format!("{database}.{name} by {}", decision.by),
        Selection::NotSelected => decision.by.to_string(),
    }
}

#[test]
fn without_objects_everything_passes_unchanged() {
    let rules = RuleSet::transparent();
    assert!(rules.is_transparent() && !rules.may_lengthen());
    assert_eq!(table(&rules, "mysql", "user"), "mysql.user by everything");
    assert_eq!(rules.default_database("x"), "x");
    let judged = RuleSet::build(Vec::new(), Some(Policy::default()), Vec::new()).unwrap();
    assert!(!judged.is_transparent() && judged.selects_everything());
    let without_origin =
        RuleSet::build(Vec::new(), None, vec![ExcludedOrigin::ServerId(7), ExcludedOrigin::ServerId(7)]).unwrap();
    assert!(!without_origin.is_transparent());
    assert_eq!(without_origin.exclude_origins().len(), 1);
}

#[test]
fn the_example_of_the_contract() {
    let rules = rules("db shop as shop_cn\ntable crm.customers as crm_cn.clients\nnot shop.audit_*");
    assert_eq!(table(&rules, "shop", "orders"), "shop_cn.orders by objects[0]");
    assert_eq!(table(&rules, "shop", "audit_1"), "exclude objects[2]");
    assert_eq!(table(&rules, "crm", "customers"), "crm_cn.clients by objects[1]");
    assert_eq!(table(&rules, "crm", "Customers"), "not selected");
    assert_eq!(table(&rules, "crm", "other"), "not selected");
    assert_eq!(table(&rules, "Shop", "orders"), "not selected");
    assert_eq!(rules.database("shop").as_deref(), Some("shop_cn"));
    assert_eq!(rules.database("crm"), None);
    assert!(rules.database_touched("crm") && rules.database_touched("shop") && !rules.database_touched("hr"));
    assert_eq!(rules.default_database("shop"), "shop_cn");
    assert_eq!(rules.default_database("crm"), "crm_cn");
    assert_eq!(rules.default_database("hr"), "hr");
    assert_eq!(rules.default_database(""), "");
}

#[test]
fn the_more_specific_rule_wins_wherever_it_stands() {
    let rules = rules("db s* as a*\ndb shop as b\ntable shop.t* as c.t*\ntable shop.t1 as d.t1\ntable *.t2 as e_*.t2");
    assert_eq!(table(&rules, "shop", "t1"), "d.t1 by objects[3]");
    assert_eq!(table(&rules, "shop", "t2"), "c.t2 by objects[2]");
    assert_eq!(table(&rules, "shop", "x"), "b.x by objects[1]");
    assert_eq!(table(&rules, "sun", "x"), "aun.x by objects[0]");
    assert_eq!(table(&rules, "hr", "t2"), "e_hr.t2 by objects[4]");
}

#[test]
fn stars_of_rename_take_their_text_in_order() {
    let rules = rules("table shop_*.cust_* as s*.c_*\ntable a*.b* as *x.y*");
    assert_eq!(table(&rules, "shop_eu", "cust_1"), "seu.c_1 by objects[0]");
    assert_eq!(table(&rules, "a1", "b2"), "1x.y2 by objects[1]");
}

/// Rows ask by the name alone: no statement need have been seen.
#[test]
fn what_a_tool_copies_of_an_excluded_table_is_excluded() {
    let rules =
        rules("db shop as cn\ntable crm.* as c.*\nnot shop.audit_log\nnot crm.card_*\ntable shop._audit_log_old");
    for name in ["_audit_log_new", "__audit_log_new", "_audit_log_gho", "_audit_log_20260131235959_del"] {
        assert_eq!(table(&rules, "shop", name), "exclude objects[2]", "{name}");
    }
    assert_eq!(table(&rules, "shop", "_audit_log_old"), "shop._audit_log_old by objects[4]");
    assert_eq!(table(&rules, "shop", "_Audit_log_new"), "cn._Audit_log_new by objects[0]");
    assert_eq!(table(&rules.for_lower_case_table_names(2), "shop", "_Audit_LOG_new"), "exclude objects[2]");
    assert_eq!(table(&rules, "crm", "_card_1_gho"), "exclude objects[3]");
    assert_eq!(table(&rules, "crm", "_audit_log_gho"), "c._audit_log_gho by objects[1]");
    assert_eq!(
        show(&rules.decide_object(ObjectType::Procedure, "shop", "_audit_log_new")),
        "cn._audit_log_new by objects[0]"
    );
}

#[test]
fn globs_never_match_system_schemas() {
    let globs = rules("db *\ntable *.user");
    for schema in SYSTEM_SCHEMAS {
        assert_eq!(table(&globs, schema, "user"), "not selected");
        assert!(!globs.database_touched(schema));
    }
    assert_eq!(table(&rules("db mysql"), "mysql", "user"), "mysql.user by objects[0]");
    assert_eq!(table(&rules("table mysql.time_*"), "mysql", "time_zone"), "mysql.time_zone by objects[0]");
}

#[test]
fn names_fold_where_the_source_folds_them() {
    let exact = rules("db Shop as shop_cn\ntable crm.Orders as crm.sold\ntable crm.log_* as crm.l_*\nnot shop.Secret");
    let folded = exact.for_lower_case_table_names(1);
    assert_eq!(table(&exact, "shop", "a"), "not selected");
    assert_eq!(table(&folded, "SHOP", "A"), "shop_cn.A by objects[0]");
    assert_eq!(table(&folded, "CRM", "ORDERS"), "crm.sold by objects[1]");
    assert_eq!(table(&folded, "crm", "LOG_Á"), "crm.l_Á by objects[2]");
    assert_eq!(table(&folded, "shop", "SECRET"), "exclude objects[3]");
    assert_eq!(folded.for_lower_case_table_names(0), exact);
    assert_ne!(folded.fingerprint(), exact.fingerprint());
}

#[test]
fn routines_follow_their_database_and_compare_without_case() {
    let rules = rules("db shop as cn\ntable crm.p_* as c.p_*\ntable crm.Exact as c.other\nnot shop.old_*");
    let object = |object_type, database, name| show(&rules.decide_object(object_type, database, name));
    assert_eq!(object(ObjectType::Procedure, "shop", "Do"), "cn.Do by objects[0]");
    assert_eq!(object(ObjectType::Function, "shop", "OLD_f"), "exclude objects[3]");
    assert_eq!(object(ObjectType::Event, "crm", "P_x"), "c.p_x by objects[1]");
    assert_eq!(object(ObjectType::Procedure, "crm", "EXACT"), "c.other by objects[2]");
    assert_eq!(object(ObjectType::Procedure, "crm", "q"), "not selected");
    assert_eq!(object(ObjectType::View, "crm", "P_x"), "not selected");
    assert_eq!(object(ObjectType::Database, "shop", ""), "cn. by objects[0]");
}

#[test]
fn a_table_rule_for_all_tables_selects_the_database() {
    let all = rules("table crm.* as c.*\nnot crm.x");
    assert_eq!(all.database("crm").as_deref(), Some("c"));
    assert_eq!(all.default_database("crm"), "c");
    assert_eq!(rules("table crm.* as c.t_*").database("crm"), None);
    assert_eq!(rules("table crm.*\nnot crm.*").database("crm"), None);
}

#[test]
fn a_database_is_torn_where_its_new_name_holds_other_tables() {
    let torn = |text: &str, database: &str| rules(text).torn_database(database).unwrap_or_default();
    for (text, expected) in [
        ("db shop as cn\ntable crm.a as cn.b", "objects[1] leads tables of other databases to cn, too"),
        ("db shop as cn\ntable cn.a", "objects[1] leads tables of other databases to cn, too"),
        ("db shop as cn\ntable *.log as cn.*", "objects[1] leads tables of other databases to cn, too"),
        ("db shop as Cn\ntable crm.a as cn.b", "objects[1] leads tables of other databases to Cn, too"),
        ("db *\ndb shop as cn", "objects[0] leads tables of other databases to cn, too"),
        ("db shop as cn\ntable *.a as x_*.a", "objects[1] leads tables of shop elsewhere than to cn"),
        ("db shop as cn\ntable shop.orders as arch.ord", "objects[1] leads tables of shop elsewhere than to cn"),
        ("db shop as cn\ntable shop.x_* as *.x", "objects[1] leads tables of shop elsewhere than to cn"),
        ("db shop as cn\ntable shop.orders", "objects[1] leads tables of shop elsewhere than to cn"),
    ] {
        assert_eq!(torn(text, "shop"), expected, "{text}");
    }
    for text in [
        "db shop",
        "db *",
        "db shop\ndb *",
        "db sh* as cn*\ndb c* as x*",
        "db shop as cn\ntable shop.a as cn.b\ntable crm.a as crm_cn.b",
        "db shop as cn\ntable crm.a as cn.b\nnot crm.a",
        "db shop as cn\ndb *\nnot cn",
        "table shop.* as cn.*\ntable *.log as x_*.log",
        "table crm.a",
    ] {
        assert_eq!(torn(text, "shop"), "", "{text}");
    }
}

#[test]
fn a_default_database_maps_where_all_its_tables_agree() {
    let agreed = rules("table crm.a as c.a\ntable crm.b as c.b2");
    assert_eq!(agreed.default_database("crm"), "c");
    let torn = rules("table crm.a as c.a\ntable crm.b as d.b");
    assert_eq!(torn.default_database("crm"), "crm");
    let from_the_table = rules("table crm.x_* as *.x");
    assert_eq!(from_the_table.default_database("crm"), "crm");
    let excluded = rules("db crm as c\nnot crm");
    assert_eq!(excluded.default_database("crm"), "crm");
    assert!(!excluded.database_touched("crm"));
}

#[test]
fn growth_is_seen_before_the_first_byte() {
    let grows = |text: &str| rules(text).growth_reason().map(str::to_owned);
    for text in [
        "db shop",
        "db shop as cn",
        "db shop_* as cn_*",
        "db *",
        "table crm.customers as crm.clients",
        "table crm.customers as hr.clients",
        "table crm.customers as hr.clients\ntable crm.b as hr.a",
        "table crmm_*.a as cr_*.a",
        "table crm.* as hr.*",
        "db `my-shop` as `my-shup`",
        "db shop as `s-`",
    ] {
        assert_eq!(grows(text), None, "{text}");
    }
    for (text, cause) in [
        ("db shop as shop_cn", "database name shop_cn can be longer than shop"),
        ("table crm.a as hr.a2", "table name a2 can be longer"),
        ("table crm.aaaaaaaa as crm1.a", "database name crm1 can be longer"),
        ("db sho as `a-b`", "can need backquotes"),
        ("db shopp as order", "can need backquotes"),
        ("db x_* as x-*", "can need backquotes"),
        ("db xx* as *_", "can need backquotes"),
        ("db x_* as o*", "can need backquotes"),
        ("db abcd as 数", "can need backquotes"),
        ("db abc as _a", "can need backquotes"),
        ("table crm_*.a as cr_*.a", "can need backquotes"),
        ("db abc as 数", "can be longer"),
        ("table crm.a as c.a\ntable crm.b as d.b", "SQL text then names the database"),
        ("db crm as crn\ntable crm.a", "SQL text then names the database"),
        ("table *.a as *.b\ntable x.c as y.c", "objects[0]: tables of one database can go to different"),
    ] {
        let found = grows(text).unwrap_or_else(|| "nothing".to_owned());
        assert!(found.contains(cause), "{text}: {found}");
    }
    let forward = Policy { reference: Choice::Forward, ..Policy::default() };
    assert!(with_policy("table crm.a as hr.a", forward.clone()).may_lengthen());
    assert!(!with_policy("db crm as hr", forward).may_lengthen());
}

#[test]
fn mistakes_are_found_all_at_once() {
    let check = |text: &str| {
        let problems = RuleSet::build(objects(text), None, Vec::new()).expect_err(text);
        problems.into_iter().map(|problem| format!("{:?} {}", problem.rule, problem.message)).collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("db a_? as b_*", "Some(0) rename has 1 `*` and the pattern has 0"),
        ("db a_? as b", "Some(0) a pattern with `?` cannot be renamed"),
        ("db a_* as b", "Some(0) the pattern has 1 `*` and rename has 0"),
        ("db a\ndb a as b", "Some(1) names the same as objects[0]"),
        ("db a as c\ndb b as c", "Some(1) leads b.* to c.*, where objects[0] already leads a.*"),
        ("db a as c\ndb c", "Some(1) leads c.* to c.*, where objects[0] already leads a.*"),
        ("table a.* as c.*\ndb c", "Some(1) leads c.* to c.*"),
        ("table a.x as c.z\ntable b.y as c.z", "Some(1) leads b.y to c.z, where objects[0] already leads a.x"),
        ("not a", "None all objects are exclusions"),
        ("table s_*.* as all.*_*", "Some(0) two `*` of rename have \"_\" between them"),
        ("table s_*.* as all.**", "Some(0) two `*` of rename have \"\" between them"),
        ("db a_*_* as **", "Some(0) two `*` of rename have \"\" between them"),
        ("db a_*__*_* as b*_*_*", "Some(0) two `*` of rename have \"_\" between them"),
        ("table *.a_*_* as *_*.b_*", "Some(0) two `*` of rename have \"_\" between them"),
        ("db eu_* as *\ndb one", "Some(1) leads one.* to one.*, where objects[0] leads eu_one.*"),
        ("db one\ndb eu_* as *", "Some(0) leads one.* to one.*, where objects[1] leads eu_one.*"),
        ("db eu_* as *\ndb two as one", "Some(1) leads two.* to one.*, where objects[0] leads eu_one.*"),
        ("table eu_*.* as x_*.*\ntable x_one.*", "Some(1) leads x_one.* to x_one.*, where objects[0] leads eu_one.*"),
    ] {
        let found = check(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
    assert_eq!(check("db a as *\ndb b as *\nnot x\nnot x").len(), 3);
    // A table renamed inside its database, a move into another selected one, and a swap are no mistakes.
    rules("db shop as cn\ntable shop.a as cn.b");
    rules("db shop as cn\ntable crm.a as cn.a");
    rules("table s.a as s.b\ntable s.b as s.a");
    rules("db a as c\ndb c\nnot c");
    // Where the text of a star ends can be told if the new name keeps what stands behind it, or keeps them apart.
    for text in [
        "db a_*_* as b_*_*",
        "db a_*_* as b_*__*",
        "db a_*_* as b*-_*",
        "table *.a_*_* as *.b_*_*",
        "table s_*.* as *.all_*",
    ] {
        rules(text);
    }
    rules("table x.*_* as *.*");
    // Nobody says that the other database is there.
    rules("db *\ndb shop as shop_cn");
    rules("db shop_* as shop_*\ndb shop as shop_cn");
    rules("db eu_* as *\ndb one\nnot eu_one");
    rules("db eu_* as x_*\ndb x_one\ndb eu_one as two");
}

#[test]
fn the_fingerprint_changes_with_outcomes_only() {
    let print = |text: &str| rules(text).fingerprint();
    assert_eq!(print("db a\ndb b as c"), print("db b as c\ndb a"));
    assert_eq!(print("db a as a"), print("db a"));
    assert_eq!(print("db a_* as a_*\nnot x\nnot y"), print("db a_*\nnot y\nnot x"));
    assert_ne!(print("db a_* as b_*\ndb a*"), print("db a*\ndb a_* as b_*"));
    assert_ne!(print("db a"), print("db a as b"));
    assert_ne!(print("db a"), print("db a\nnot a.b"));
    assert_ne!(print("db `a*`"), print("db a*"));
    assert_ne!(print("table a.b"), print("db a"));
    let forward = Policy { unsupported: Choice::Forward, ..Policy::default() };
    assert_ne!(with_policy("db a", forward).fingerprint(), print("db a"));
    assert_eq!(with_policy("db a", Policy::default()).fingerprint(), print("db a"));
    let origin = RuleSet::build(objects("db a"), None, vec![ExcludedOrigin::ServerId(1)]).unwrap();
    assert_ne!(origin.fingerprint(), print("db a"));
    // The exact value is part of file names that replicas remember: it may only change with the version of its form.
    let pinned = print("db shop as shop_cn");
    assert_eq!(pinned.map(|byte| format!("{byte:02x}")).concat(), "1e8b7820efd95731");
}

#[test]
fn many_rules_cost_no_scan() {
    let text: String = (0..2000).map(|number| format!("table db{number}.t as n{number}.t\n")).collect();
    let many = rules(&text);
    assert_eq!(table(&many, "db1999", "t"), "n1999.t by objects[1999]");
    assert_eq!(table(&many, "db1999", "u"), "not selected");
    assert_eq!(many.default_database("db7"), "n7");
}

#[test]
fn a_database_has_one_destination_where_no_table_of_it_goes_elsewhere() {
    for (text, expected) in [
        ("db shop as cn", Some("cn")),
        ("db shop", Some("shop")),
        ("db shop as cn\ntable shop.a as cn.b", Some("cn")),
        ("db shop as cn\ntable shop.a as arch.a", None),
        ("table shop.a as x.a\ntable shop.b as x.b", Some("x")),
        ("table shop.a as x.a\ntable shop.b as y.b", None),
        ("table shop.*_* as *.*", None),
    ] {
        assert_eq!(rules(text).only_destination("shop").as_deref(), expected, "{text}");
    }
}

#[test]
fn a_name_that_no_table_can_have_is_no_shadow_however_long_it_is() {
    let hostile = format!("{}t_new", "_".repeat(1 << 20));
    let rules =
        with_policy("db shop\nnot shop.t\ntable crm.t", Policy { online_ddl: Choice::Forward, ..Policy::default() });
    assert!(rules.decide_table("shop", &hostile).is_selected());
    assert!(!rules.decide_table("crm", &hostile).is_selected());
    assert!(!rules.decide_table("shop", "___t_new").is_selected(), "the excluded table's");
    assert!(rules.decide_table("crm", "___t_new").is_selected(), "the selected table's");
}
