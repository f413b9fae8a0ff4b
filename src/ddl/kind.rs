//! From a statement's first words to its kind, as the servers' own instrumentation names it.
//!
//! The names are those of `EVENT_NAME` under `statement/sql/`, taken from the vendors' `com_status_vars`; they differ
//! a little between servers, and the context's server decides.

use super::keyword::Keyword as K;
use super::lexer::TokenKind;
use super::objects::Parser;
use super::{Class, Control, Kind, ObjectType, Role};

/// The class of a kind by the contract's list of supported statements.
pub(super) fn class_of(kind: Kind) -> Class {
    match kind.0 {
        "insert" | "insert_select" | "update" | "update_multi" | "delete" | "delete_multi" | "replace"
        | "replace_select" | "load" | "alter_table" | "create_view" | "create_function" | "create_index"
        | "create_procedure" | "create_table" | "drop_index" | "drop_table" | "rename_table" | "truncate" => {
            Class::Supported
        }
        "begin"
        | "commit"
        | "rollback"
        | "savepoint"
        | "rollback_to_savepoint"
        | "release_savepoint"
        | "xa_start"
        | "xa_end"
        | "xa_prepare"
        | "xa_commit"
        | "xa_rollback" => Class::Transaction,
        "unknown" => Class::Unknown,
        _ => Class::Unsupported,
    }
}

impl Parser<'_> {
    /// Reads one statement from its first word.
    pub(super) fn statement(&mut self) {
        let first = self.peek();
        match first.kind {
            TokenKind::Symbol(b';') if self.peek_at(1).kind == TokenKind::End => {
                self.kind = Kind("empty_query");
                return;
            }
            TokenKind::End => {
                // Comments only, or nothing: a server runs it as an empty query and no data changes.
                self.kind = Kind("empty_query");
                return;
            }
            TokenKind::Symbol(b'(') => {
                self.kind = Kind("select");
                return self.plain();
            }
            TokenKind::Word => {}
            _ => return self.doubt("it does not begin with a word"),
        }
        match first.keyword {
            K::INSERT => {
                self.take();
                self.insert(Kind("insert"), Kind("insert_select"));
            }
            K::REPLACE => {
                self.take();
                self.insert(Kind("replace"), Kind("replace_select"));
            }
            K::UPDATE => {
                self.take();
                self.update(None);
            }
            K::DELETE => {
                self.take();
                self.delete(None);
            }
            K::WITH => {
                self.kind = Kind("select");
                self.with_statement();
            }
            K::SELECT | K::VALUES | K::TABLE => {
                self.kind = Kind("select");
                self.plain();
            }
            K::CREATE | K::ALTER | K::DROP | K::RENAME => self.definition(),
            K::TRUNCATE => {
                self.take();
                self.kind = Kind("truncate");
                self.truncate();
            }
            K::LOAD if matches!(self.word_at(1), K::DATA | K::XML) => {
                self.take();
                self.load();
            }
            K::BEGIN if self.context.mariadb && self.word_at(1) == K::NOT => self.compound(),
            // Oracle's blocks need no procedure around them.
            K::BEGIN if self.is_oracle() && !self.is_begin_alone() => self.compound(),
            K::DECLARE if self.is_oracle() => self.compound(),
            K::IF | K::CASE | K::WHILE | K::LOOP | K::REPEAT | K::FOR if self.context.mariadb => self.compound(),
            _ => self.other_statement(),
        }
    }

    fn transaction(&mut self, kind: &'static str, control: Control) {
        self.kind = Kind(kind);
        self.control = Some(control);
    }

    fn plain_kind(&mut self, kind: &'static str) {
        self.kind = Kind(kind);
        self.rest();
    }

    /// Statements that are no DML and no definitions.
    fn other_statement(&mut self) {
        let first = self.take();
        match first.keyword {
            K::BEGIN => {
                self.accept(K::WORK);
                self.transaction("begin", Control::Begin);
                if !self.at_end() {
                    self.doubt("a compound statement outside a routine");
                }
            }
            K::START => match self.take().keyword {
                K::TRANSACTION => {
                    self.transaction("begin", Control::Begin);
                    self.rest();
                }
                K::ALL => self.plain_kind("start_all_slaves"),
                K::SLAVE | K::REPLICA => self.replica_command("start"),
                K::GROUP_REPLICATION => self.plain_kind("group_replication_start"),
                _ => self.doubt("START is not understood"),
            },
            K::STOP => match self.take().keyword {
                K::ALL => self.plain_kind("stop_all_slaves"),
                K::SLAVE | K::REPLICA => self.replica_command("stop"),
                K::GROUP_REPLICATION => self.plain_kind("group_replication_stop"),
                _ => self.doubt("STOP is not understood"),
            },
            K::COMMIT => {
                self.transaction("commit", Control::Commit);
                self.completion();
            }
            K::ROLLBACK => {
                self.accept(K::WORK);
                if self.accept(K::TO) {
                    self.transaction("rollback_to_savepoint", Control::Savepoint);
                    self.accept(K::SAVEPOINT);
                    self.name();
                    self.only_end();
                } else {
                    self.transaction("rollback", Control::Rollback);
                    self.completion();
                }
            }
            K::SAVEPOINT => {
                self.transaction("savepoint", Control::Savepoint);
                self.name();
                self.only_end();
            }
            K::RELEASE if self.accept(K::SAVEPOINT) => {
                self.transaction("release_savepoint", Control::Savepoint);
                self.name();
                self.only_end();
            }
            K::XA => self.xa(),
            K::SET => self.set(),
            K::GRANT => self.grant(),
            K::REVOKE => self.revoke(),
            K::CALL => {
                self.kind = Kind("call_procedure");
                self.called_procedure();
                self.plain();
            }
            K::DO => {
                self.kind = Kind("do");
                self.plain();
            }
            K::ANALYZE | K::OPTIMIZE | K::REPAIR | K::CHECK | K::CHECKSUM => self.maintenance(first.keyword),
            K::FLUSH => self.plain_kind("flush"),
            K::RESET => self.plain_kind("reset"),
            K::PURGE => {
                let before = self.word_at(2) == K::BEFORE;
                self.plain_kind(if before { "purge_before_date" } else { "purge" });
            }
            K::USE => self.plain_kind("change_db"),
            K::LOCK | K::UNLOCK => self.lock(first.keyword),
            K::CACHE => self.plain_kind("assign_to_keycache"),
            K::LOAD => self.plain_kind("preload_keys"),
            K::INSTALL | K::UNINSTALL => {
                let component = self.word() == K::COMPONENT;
                self.plain_kind(match (first.keyword, component) {
                    (K::INSTALL, true) => "install_component",
                    (K::INSTALL, false) => "install_plugin",
                    (_, true) => "uninstall_component",
                    _ => "uninstall_plugin",
                });
            }
            K::PREPARE => self.plain_kind("prepare_sql"),
            K::EXECUTE => {
                let immediate = self.context.mariadb && self.word() == K::IMMEDIATE;
                self.plain_kind(if immediate { "execute_immediate" } else { "execute_sql" });
            }
            K::DEALLOCATE => self.plain_kind("dealloc_sql"),
            K::HANDLER => self.handler(),
            K::HELP => self.plain_kind("help"),
            K::KILL => self.plain_kind("kill"),
            K::SIGNAL => self.plain_kind("signal"),
            K::RESIGNAL => self.plain_kind("resignal"),
            K::GET => self.plain_kind("get_diagnostics"),
            K::CHANGE => {
                let filter = self.word() == K::REPLICATION && self.word_at(1) == K::FILTER;
                let modern = !self.context.mariadb && self.context.version >= 80_400;
                self.plain_kind(match (filter, modern) {
                    (true, _) => "change_repl_filter",
                    (false, true) => "change_replication_source",
                    (false, false) => "change_master",
                });
            }
            K::BINLOG => self.plain_kind("binlog"),
            K::SHUTDOWN => self.plain_kind("shutdown"),
            K::RESTART => self.plain_kind("restart"),
            K::CLONE => self.plain_kind("clone"),
            K::IMPORT => self.plain_kind("import"),
            K::BACKUP if self.context.mariadb => {
                let lock = matches!(self.word(), K::LOCK | K::UNLOCK);
                self.plain_kind(if lock { "backup_lock" } else { "backup" });
            }
            // Oracle's words for RESIGNAL, SIGNAL and SET.
            K::RAISE if self.is_oracle() => {
                let again = self.at_end();
                self.plain_kind(if again { "resignal" } else { "signal" });
            }
            _ if self.is_oracle() && self.assigns() => self.plain_kind("set_option"),
            K::SHOW => self.show(),
            K::EXPLAIN | K::DESC | K::DESCRIBE => self.explain(),
            _ => self.doubt("its first word begins no statement that the proxy knows"),
        }
    }

    /// Whether BEGIN stands alone, as `BEGIN WORK` does.
    fn is_begin_alone(&mut self) -> bool {
        let after = usize::from(self.word_at(1) == K::WORK) + 1;
        let token = self.peek_at(after);
        token.kind == TokenKind::End || (token.is_symbol(b';') && self.peek_at(after + 1).kind == TokenKind::End)
    }

    /// Whether `:=` follows the variable that was taken, or a field of it.
    fn assigns(&mut self) -> bool {
        let field = if self.peek().is_symbol(b'.') { 2 } else { 0 };
        self.peek_at(field).is_symbol(b':') && self.peek_at(field + 1).is_symbol(b'=')
    }

    fn compound(&mut self) {
        self.kind = Kind("compound_sql");
        self.body(None);
    }

    fn replica_command(&mut self, verb: &'static str) {
        let modern = !self.context.mariadb && self.context.version >= 80_022;
        self.plain_kind(match (verb, self.context.mariadb, modern) {
            ("start", true, _) => "start_slave",
            (_, true, _) => "stop_slave",
            ("start", _, true) => "replica_start",
            (_, _, true) => "replica_stop",
            ("start", ..) => "slave_start",
            _ => "slave_stop",
        });
    }

    /// `[WORK] [AND [NO] CHAIN] [[NO] RELEASE]`.
    fn completion(&mut self) {
        self.accept(K::WORK);
        let next = self.peek();
        if self.is_text(next, "AND") {
            self.take();
            self.accept(K::NO);
            self.accept(K::CHAIN);
        }
        self.accept(K::NO);
        self.accept(K::RELEASE);
        self.only_end();
    }

    fn xa(&mut self) {
        match self.take().keyword {
            K::START | K::BEGIN => self.transaction("xa_start", Control::XaStart),
            K::END => self.transaction("xa_end", Control::XaEnd),
            K::PREPARE => self.transaction("xa_prepare", Control::XaPrepare),
            K::COMMIT => self.transaction("xa_commit", Control::XaCommit),
            K::ROLLBACK => self.transaction("xa_rollback", Control::XaRollback),
            K::RECOVER => self.kind = Kind("xa_recover"),
            _ => return self.doubt("XA is not understood"),
        }
        self.rest();
    }

    fn set(&mut self) {
        let mysql = |version| !self.context.mariadb && self.context.version >= version;
        let (roles, passwords) = (mysql(80_000), mysql(80_000));
        let kind = match (self.word(), self.word_at(1)) {
            (K::ROLE, _) if roles && !self.peek_at(1).is_symbol(b'=') => "set_role",
            (K::DEFAULT, K::ROLE) if roles => "alter_user_default_role",
            (K::PASSWORD, _) if passwords => "set_password",
            (K::RESOURCE, K::GROUP) => "set_resource_group",
            (K::STATEMENT, _) if self.context.mariadb => return self.set_statement(),
            _ => "set_option",
        };
        self.kind = Kind(kind);
        self.plain();
    }

    /// MariaDB's `SET STATEMENT variable = value, … FOR statement`, which may be another of its kind.
    fn set_statement(&mut self) {
        loop {
            self.take();
            while !self.at_end() && self.word() != K::FOR {
                self.take();
            }
            if !self.accept(K::FOR) {
                return self.doubt("SET STATEMENT lacks FOR");
            }
            match (self.word(), self.word_at(1)) {
                (K::SET, K::STATEMENT) => {
                    self.take();
                }
                (K::EXPLAIN | K::DESC | K::DESCRIBE, _) => {
                    self.take();
                    return self.explain();
                }
                (K::ANALYZE, _) => {
                    self.take();
                    return self.maintenance(K::ANALYZE);
                }
                _ => return self.statement_after_prefix(),
            }
        }
    }

    /// The statement that a prefix such as EXPLAIN or SET STATEMENT carries; prefixes do not nest.
    fn statement_after_prefix(&mut self) {
        if matches!(self.word(), K::SET | K::EXPLAIN | K::ANALYZE | K::DESC | K::DESCRIBE) {
            self.kind = Kind("set_option");
            return self.rest();
        }
        self.statement();
    }

    fn explain(&mut self) {
        loop {
            match self.word() {
                K::EXTENDED | K::ANALYZE => {
                    self.take();
                }
                K::PARTITION if self.word_at(1) != K::NONE => {
                    self.take();
                }
                K::FORMAT if self.peek_at(1).is_symbol(b'=') => {
                    self.take();
                    self.take();
                    self.take();
                    if self.accept(K::INTO) {
                        self.take();
                    }
                }
                _ => {
                    let token = self.peek();
                    if self.is_text(token, "PARTITIONS") {
                        self.take();
                    } else {
                        break;
                    }
                }
            }
        }
        match self.word() {
            K::FOR => {
                let kind = if self.context.mariadb { "show_explain" } else { "explain_other" };
                self.plain_kind(kind);
            }
            K::SELECT | K::INSERT | K::REPLACE | K::UPDATE | K::DELETE | K::WITH | K::TABLE | K::VALUES => {
                self.statement_after_prefix();
                // It shows a plan and changes nothing.
                self.class = Some(Class::Unsupported);
            }
            _ if self.peek().is_symbol(b'(') => {
                self.kind = Kind("select");
                self.plain();
            }
            _ => {
                self.kind = Kind("show_fields");
                self.named(ObjectType::Table, Role::Reference, None);
                self.rest();
            }
        }
    }

    fn handler(&mut self) {
        self.named(ObjectType::Table, Role::Reference, None);
        let kind = match self.word() {
            K::OPEN => "ha_open",
            K::CLOSE => "ha_close",
            _ => "ha_read",
        };
        self.plain_kind(kind);
    }

    fn lock(&mut self, verb: K) {
        if verb == K::UNLOCK {
            let instance = self.word() == K::INSTANCE;
            return self.plain_kind(if instance { "unlock_instance" } else { "unlock_tables" });
        }
        if self.word() == K::INSTANCE {
            return self.plain_kind("lock_instance");
        }
        if !self.accept(K::TABLES) && !self.accept(K::TABLE) {
            return self.doubt("LOCK is not understood");
        }
        self.kind = Kind("lock_tables");
        self.list_and_rest(Role::Reference);
    }

    fn maintenance(&mut self, verb: K) {
        let kind = match verb {
            K::ANALYZE => "analyze",
            K::OPTIMIZE => "optimize",
            K::REPAIR => "repair",
            K::CHECK => "check",
            _ => "checksum",
        };
        if matches!(self.word(), K::NO_WRITE_TO_BINLOG | K::LOCAL) {
            self.take();
        }
        if self.accept(K::TABLE) || self.accept(K::TABLES) {
            self.kind = Kind(kind);
            let role = if matches!(verb, K::CHECK | K::CHECKSUM) { Role::Reference } else { Role::Target };
            self.list_and_rest(role);
        } else if self.accept(K::VIEW) {
            self.kind = Kind(kind);
            self.rest();
        } else if verb == K::ANALYZE && self.context.mariadb {
            // MariaDB's ANALYZE in front of a statement runs the statement.
            if self.accept(K::FORMAT) {
                self.accept_symbol(b'=');
                self.take();
            }
            self.statement_after_prefix();
        } else {
            self.doubt("it names no table");
        }
    }

    /// Whether the privileges of a GRANT or REVOKE are roles: no ON before TO or FROM.
    fn names_roles(&mut self) -> bool {
        loop {
            match self.peek().kind {
                TokenKind::End => return true,
                TokenKind::Word if self.word() == K::ON => return false,
                TokenKind::Word if matches!(self.word(), K::TO | K::FROM) => return true,
                _ => {
                    self.take();
                }
            }
        }
    }

    fn grant(&mut self) {
        let proxy = self.word() == K::PROXY && self.word_at(1) == K::ON;
        let roles = !proxy && self.names_roles();
        self.plain_kind(match (roles, self.context.mariadb) {
            (true, true) => "grant_role",
            (true, false) => "grant_roles",
            (false, _) => "grant",
        });
    }

    fn revoke(&mut self) {
        self.skip_if_exists();
        let all = self.word() == K::ALL;
        let proxy = self.word() == K::PROXY && self.word_at(1) == K::ON;
        let roles = !proxy && self.names_roles();
        // MySQL 8.0 and later count `REVOKE ALL ON *.*` as the form without ON.
        let everything = all
            && !self.context.mariadb
            && self.context.version >= 80_000
            && self.peek_at(1).is_symbol(b'*')
            && self.peek_at(2).is_symbol(b'.')
            && self.peek_at(3).is_symbol(b'*');
        self.plain_kind(match (roles || everything, all, self.context.mariadb) {
            (true, true, _) => "revoke_all",
            (true, false, true) => "revoke_role",
            (true, false, false) => "revoke_roles",
            (false, ..) => "revoke",
        });
    }

    fn show(&mut self) {
        while matches!(self.word(), K::FULL | K::EXTENDED | K::GLOBAL | K::SESSION | K::LOCAL | K::ALL) {
            self.take();
        }
        let (first, second) = (self.word(), self.word_at(1));
        let kind = match (first, second) {
            (K::COLUMNS | K::FIELDS, _) => "show_fields",
            (K::INDEX | K::INDEXES | K::KEYS, _) => "show_keys",
            (K::TABLES, _) => "show_tables",
            (K::TABLE, _) => "show_table_status",
            (K::OPEN, _) => "show_open_tables",
            (K::DATABASES | K::SCHEMAS, _) => "show_databases",
            (K::VARIABLES, _) => "show_variables",
            (K::STATUS, _) => "show_status",
            (K::WARNINGS, _) => "show_warnings",
            (K::ERRORS, _) => "show_errors",
            (K::GRANTS, _) => "show_grants",
            (K::EVENTS, _) => "show_events",
            (K::PROCESSLIST, _) => "show_processlist",
            (K::PRIVILEGES, _) => "show_privileges",
            (K::PLUGINS, _) => "show_plugins",
            (K::MASTER, _) => "show_master_status",
            (K::SLAVE | K::REPLICA, K::HOSTS) => "show_slave_hosts",
            (K::REPLICAS, K::STATUS) => "show_slave_status",
            (K::REPLICAS, _) => "show_replicas",
            (K::REPLICA, _) if !self.context.mariadb => "show_replica_status",
            (K::SLAVE | K::REPLICA, _) => "show_slave_status",
            (K::BINARY, K::LOG) => "show_binary_log_status",
            (K::BINARY, _) => "show_binlogs",
            (K::BINLOG, K::EVENTS) => "show_binlog_events",
            (K::BINLOG, _) => "show_binlog_status",
            (K::RELAYLOG, _) => "show_relaylog_events",
            (K::ENGINES, _) => "show_storage_engines",
            (K::ENGINE, _) => match self.word_at(2) {
                K::STATUS => "show_engine_status",
                K::MUTEX => "show_engine_mutex",
                _ => "show_engine_logs",
            },
            (K::CHARACTER | K::CHARSET, _) => "show_charsets",
            (K::COLLATION, _) => "show_collations",
            (K::PROFILE, _) => "show_profile",
            (K::PROFILES, _) => "show_profiles",
            (K::AUTHORS, _) => "show_authors",
            (K::CONTRIBUTORS, _) => "show_contributors",
            (K::ANALYZE, K::FOR) => "show_analyze",
            (K::EXPLAIN, K::FOR) => "show_explain",
            (K::PARSE_TREE, _) => "show_parse_tree",
            (K::CREATE, K::PACKAGE) => {
                if self.word_at(2) == K::BODY {
                    "show_create_package_body"
                } else {
                    "show_create_package"
                }
            }
            (K::CREATE, K::LIBRARY) => "show_create_library",
            (K::CREATE, K::MASKING) => "show_create_masking_policy",
            (K::CREATE, K::SEQUENCE) => "show_create_table",
            (K::PACKAGE, K::BODY) => "show_package_body_status",
            (K::PACKAGE, _) => "show_package_status",
            (K::LIBRARY, _) => "show_library_status",
            (K::PROCEDURE, K::CODE) => "show_procedure_code",
            (K::FUNCTION, K::CODE) => "show_function_code",
            (K::CREATE, K::TABLE) => "show_create_table",
            (K::CREATE, K::VIEW) => "show_create_table",
            (K::CREATE, K::DATABASE | K::SCHEMA) => "show_create_db",
            (K::CREATE, K::PROCEDURE) => "show_create_proc",
            (K::CREATE, K::FUNCTION) => "show_create_func",
            (K::CREATE, K::TRIGGER) => "show_create_trigger",
            (K::CREATE, K::EVENT) => "show_create_event",
            (K::CREATE, K::USER) => "show_create_user",
            (K::PROCEDURE, _) => "show_procedure_status",
            (K::FUNCTION, _) => "show_function_status",
            (K::COUNT, _) => "select",
            _ => {
                let token = self.peek();
                if self.is_text(token, "TRIGGERS") {
                    "show_triggers"
                } else if self.is_text(token, "SLAVES") {
                    "show_slave_status"
                } else if self.context.mariadb {
                    // A table of INFORMATION_SCHEMA by its name.
                    "show_generic"
                } else {
                    "show"
                }
            }
        };
        self.plain_kind(kind);
    }
}
