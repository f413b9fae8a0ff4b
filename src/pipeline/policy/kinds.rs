//! The statement kinds that `allow` and `deny` can name.

/// Kinds on the supported list that `deny` can take away. DML is not here: a row event does not say which statement made it.
pub const SUPPORTED_DDL: &[&str] = &[
    "alter_table",
    "alter_view",
    "create_function",
    "create_index",
    "create_procedure",
    "create_table",
    "create_view",
    "drop_index",
    "drop_table",
    "rename_table",
    "truncate",
];

/// DML on the supported list. It always goes out where its tables are selected.
pub const SUPPORTED_DML: &[&str] =
    &["insert", "insert_select", "replace", "replace_select", "update", "update_multi", "delete", "delete_multi"];

/// Other names under which users know a kind, first the user's and then the server's.
const ALIASES: &[(&str, &str)] = &[
    ("truncate_table", "truncate"),
    ("create_database", "create_db"),
    ("alter_database", "alter_db"),
    ("drop_database", "drop_db"),
    ("create_schema", "create_db"),
    ("alter_schema", "alter_db"),
    ("drop_schema", "drop_db"),
    ("analyze_table", "analyze"),
    ("optimize_table", "optimize"),
    ("repair_table", "repair"),
];

/// The server's own name for a kind that a user may know under another one.
pub fn canonical_kind(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, kind)| kind)
}

/// Every name that `allow` and `deny` take for a kind other than the server's.
pub fn kind_aliases() -> impl Iterator<Item = &'static str> {
    ALIASES.iter().map(|(alias, _)| *alias)
}

/// Whether a kind is DML: the keys of `ddl` that speak of the supported list do not speak of it.
pub fn is_dml(kind: &str) -> bool {
    SUPPORTED_DML.contains(&kind) || kind == "load"
}

/// Kinds outside the supported list that can stand in a binlog, which `allow` can add. `load` is DML; to allow it lets files
/// out before their statement is judged.
pub const UNSUPPORTED: &[&str] = &[
    "alter_db",
    "alter_db_upgrade",
    "alter_event",
    "alter_function",
    "alter_instance",
    "alter_library",
    "alter_procedure",
    "alter_resource_group",
    "alter_sequence",
    "alter_server",
    "alter_tablespace",
    "alter_user",
    "alter_user_default_role",
    "analyze",
    "assign_to_keycache",
    "call_procedure",
    "check",
    "checksum",
    "compound_sql",
    "create_db",
    "create_event",
    "create_library",
    "create_masking_policy",
    "create_package",
    "create_package_body",
    "create_resource_group",
    "create_role",
    "create_sequence",
    "create_server",
    "create_spatial_reference_system",
    "create_trigger",
    "create_udf",
    "create_user",
    "do",
    "drop_db",
    "drop_event",
    "drop_function",
    "drop_library",
    "drop_masking_policy",
    "drop_package",
    "drop_package_body",
    "drop_procedure",
    "drop_resource_group",
    "drop_role",
    "drop_sequence",
    "drop_server",
    "drop_spatial_reference_system",
    "drop_trigger",
    "drop_user",
    "drop_view",
    "empty_query",
    "execute_immediate",
    "flush",
    "grant",
    "grant_role",
    "grant_roles",
    "import",
    "install_component",
    "install_plugin",
    "load",
    "lock_tables",
    "optimize",
    "preload_keys",
    "rename_user",
    "repair",
    "revoke",
    "revoke_all",
    "revoke_role",
    "revoke_roles",
    "select",
    "set_default_role",
    "set_option",
    "set_password",
    "set_resource_group",
    "set_role",
    "uninstall_component",
    "uninstall_plugin",
    "unlock_tables",
];
