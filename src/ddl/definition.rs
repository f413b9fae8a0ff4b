//! CREATE, ALTER, DROP and RENAME: the words up to the object's type, and the kind that they make.

use super::keyword::Keyword as K;
use super::lexer::TokenKind;
use super::objects::Parser;
use super::{Kind, ObjectType};

impl Parser<'_> {
    /// A statement that begins with CREATE, ALTER, DROP or RENAME.
    pub(super) fn definition(&mut self) {
        match self.take().keyword {
            K::CREATE => self.create(),
            K::ALTER => self.alter(),
            K::DROP => self.drop_statement(),
            _ => self.rename(),
        }
    }

    fn define(&mut self, kind: &'static str) {
        self.set_kind(Kind(kind));
    }

    fn defined_elsewhere(&mut self, kind: &'static str) {
        self.set_kind(Kind(kind));
        self.rest();
    }

    /// `'user'@'host'`, `CURRENT_USER()`, a role.
    fn account(&mut self) {
        if matches!(self.take().keyword, K::CURRENT_USER | K::CURRENT_ROLE) && self.accept_symbol(b'(') {
            self.accept_symbol(b')');
        }
        if self.peek().kind == TokenKind::Variable {
            let mut last = self.take();
            // An unquoted host may have hyphens and points: `root@db-1.example`.
            while self.peek().start == last.end
                && (self.peek().is_symbol(b'-')
                    || self.peek().is_symbol(b'.')
                    || matches!(self.peek().kind, TokenKind::Word | TokenKind::Number))
            {
                last = self.take();
            }
        }
    }

    /// OR REPLACE, DEFINER, ALGORITHM, SQL SECURITY: what may stand before the type of a stored object.
    fn modifiers(&mut self) {
        loop {
            match self.word() {
                K::OR if self.word_at(1) == K::REPLACE => {
                    self.take();
                    self.take();
                }
                K::DEFINER if self.peek_at(1).is_symbol(b'=') => {
                    let start = self.take().start;
                    self.take();
                    self.account();
                    self.definer = Some(start..self.last_end);
                }
                K::ALGORITHM if self.peek_at(1).is_symbol(b'=') => {
                    self.take();
                    self.take();
                    self.take();
                }
                K::SQL if self.word_at(1) == K::SECURITY => {
                    self.definer_place();
                    self.take();
                    self.take();
                    self.take();
                }
                K::AGGREGATE | K::ONLINE | K::OFFLINE => {
                    self.definer_place();
                    self.take();
                }
                _ => return self.definer_place(),
            }
        }
    }

    /// Here DEFINER could stand, if it has not been seen.
    fn definer_place(&mut self) {
        let place = self.peek().start;
        self.definer.get_or_insert(place..place);
    }

    /// After JSON: `[RELATIONAL] DUALITY VIEW` of MySQL 9.4 and later, which counts as a view.
    fn duality_view(&mut self) -> bool {
        let relational = usize::from(self.word() == K::RELATIONAL);
        let found =
            !self.context.mariadb && self.word_at(relational) == K::DUALITY && self.word_at(relational + 1) == K::VIEW;
        if found {
            for _ in 0..relational + 2 {
                self.take();
            }
        }
        found
    }

    fn create(&mut self) {
        self.modifiers();
        match self.take().keyword {
            K::TEMPORARY => {
                self.temporary_definition(true);
            }
            K::TABLE => {
                self.define("create_table");
                self.create_table();
            }
            // MySQL 9.7, of tables in object stores.
            K::EXTERNAL if !self.context.mariadb && self.accept(K::TABLE) => {
                self.define("create_table");
                self.create_table();
            }
            K::UNIQUE | K::FULLTEXT | K::SPATIAL | K::VECTOR if self.word() == K::INDEX => {
                self.take();
                self.define("create_index");
                self.index_of_table();
            }
            K::INDEX => {
                self.define("create_index");
                self.index_of_table();
            }
            K::VIEW => {
                self.define("create_view");
                self.view();
            }
            K::JSON if self.duality_view() => {
                self.define("create_view");
                self.view();
            }
            K::PROCEDURE => {
                self.define("create_procedure");
                self.create_routine(ObjectType::Procedure);
            }
            K::FUNCTION => {
                self.define("create_function");
                self.create_routine(ObjectType::Function);
            }
            K::TRIGGER => {
                self.define("create_trigger");
                self.create_trigger();
            }
            K::EVENT => {
                self.define("create_event");
                self.event();
            }
            K::DATABASE | K::SCHEMA => {
                self.define("create_db");
                self.create_or_drop_database();
            }
            K::SEQUENCE if self.context.mariadb => {
                self.define("create_sequence");
                self.one_and_rest(ObjectType::Sequence);
            }
            K::PACKAGE if self.context.mariadb => {
                let kind = if self.accept(K::BODY) { "create_package_body" } else { "create_package" };
                self.define(kind);
                self.create_package();
            }
            K::USER => self.defined_elsewhere("create_user"),
            K::ROLE => self.defined_elsewhere("create_role"),
            K::SERVER => self.defined_elsewhere("create_server"),
            K::RESOURCE => self.defined_elsewhere("create_resource_group"),
            K::SPATIAL => self.defined_elsewhere("create_spatial_reference_system"),
            K::MASKING if !self.context.mariadb => self.defined_elsewhere("create_masking_policy"),
            K::LIBRARY => {
                self.define("create_library");
                self.discard();
            }
            // All statements of tablespaces are one command to MySQL.
            K::TABLESPACE | K::LOGFILE | K::UNDO => self.defined_elsewhere("alter_tablespace"),
            _ => self.doubt("what it creates is not known"),
        }
    }

    /// After TEMPORARY: a table or a sequence.
    fn temporary_definition(&mut self, create: bool) {
        self.temporary |= !self.in_body();
        match (self.take().keyword, create) {
            (K::TABLE, true) => {
                self.define("create_table");
                self.create_table();
            }
            (K::TABLE | K::TABLES, false) => {
                self.define("drop_table");
                self.drop_list(ObjectType::Table);
            }
            (K::SEQUENCE, true) => {
                self.define("create_sequence");
                self.one_and_rest(ObjectType::Sequence);
            }
            (K::SEQUENCE, false) => {
                self.define("drop_sequence");
                self.drop_list(ObjectType::Sequence);
            }
            _ => self.doubt("TEMPORARY is not understood"),
        }
    }

    fn alter(&mut self) {
        self.modifiers();
        self.accept(K::IGNORE);
        match self.take().keyword {
            K::TABLE => {
                self.define("alter_table");
                self.alter_table();
            }
            K::VIEW => {
                // The servers count ALTER VIEW as a CREATE VIEW that replaces.
                self.define("create_view");
                self.view();
            }
            K::JSON if self.duality_view() => {
                self.define("create_view");
                self.view();
            }
            K::DATABASE | K::SCHEMA => {
                self.define("alter_db");
                self.alter_database();
            }
            K::PROCEDURE => {
                self.define("alter_procedure");
                self.one_and_rest(ObjectType::Procedure);
            }
            K::FUNCTION => {
                self.define("alter_function");
                self.one_and_rest(ObjectType::Function);
            }
            K::EVENT => {
                self.define("alter_event");
                self.event();
            }
            K::SEQUENCE if self.context.mariadb => {
                self.define("alter_sequence");
                self.one_and_rest(ObjectType::Sequence);
            }
            K::USER => self.alter_user(),
            K::SERVER => self.defined_elsewhere("alter_server"),
            K::INSTANCE => self.defined_elsewhere("alter_instance"),
            K::RESOURCE => self.defined_elsewhere("alter_resource_group"),
            K::TABLESPACE | K::LOGFILE | K::UNDO => self.defined_elsewhere("alter_tablespace"),
            K::LIBRARY => self.defined_elsewhere("alter_library"),
            _ => self.doubt("what it alters is not known"),
        }
    }

    fn alter_user(&mut self) {
        self.skip_if_exists();
        self.account();
        let default_role = !self.context.mariadb && self.word() == K::DEFAULT && self.word_at(1) == K::ROLE;
        self.defined_elsewhere(if default_role { "alter_user_default_role" } else { "alter_user" });
    }

    fn drop_statement(&mut self) {
        while matches!(self.word(), K::ONLINE | K::OFFLINE) {
            self.take();
        }
        match self.take().keyword {
            K::TEMPORARY => self.temporary_definition(false),
            K::TABLE | K::TABLES => {
                self.define("drop_table");
                self.drop_list(ObjectType::Table);
            }
            K::VIEW => {
                self.define("drop_view");
                self.drop_list(ObjectType::View);
            }
            K::INDEX => {
                self.define("drop_index");
                self.index_of_table();
            }
            K::DATABASE | K::SCHEMA => {
                self.define("drop_db");
                self.create_or_drop_database();
            }
            K::PROCEDURE => {
                self.define("drop_procedure");
                self.drop_one(ObjectType::Procedure);
            }
            K::FUNCTION => {
                self.define("drop_function");
                self.drop_one(ObjectType::Function);
            }
            K::TRIGGER => {
                self.define("drop_trigger");
                self.drop_one(ObjectType::Trigger);
            }
            K::EVENT => {
                self.define("drop_event");
                self.drop_one(ObjectType::Event);
            }
            K::SEQUENCE if self.context.mariadb => {
                self.define("drop_sequence");
                self.drop_list(ObjectType::Sequence);
            }
            K::PACKAGE if self.context.mariadb => {
                let kind = if self.accept(K::BODY) { "drop_package_body" } else { "drop_package" };
                self.define(kind);
                self.drop_one(ObjectType::Package);
            }
            K::PREPARE => self.defined_elsewhere("dealloc_sql"),
            K::USER => self.defined_elsewhere("drop_user"),
            K::ROLE => self.defined_elsewhere("drop_role"),
            K::SERVER => self.defined_elsewhere("drop_server"),
            K::RESOURCE => self.defined_elsewhere("drop_resource_group"),
            K::SPATIAL => self.defined_elsewhere("drop_spatial_reference_system"),
            K::MASKING if !self.context.mariadb => self.defined_elsewhere("drop_masking_policy"),
            K::LIBRARY => self.defined_elsewhere("drop_library"),
            K::TABLESPACE | K::LOGFILE | K::UNDO => self.defined_elsewhere("alter_tablespace"),
            _ => self.doubt("what it drops is not known"),
        }
    }

    fn rename(&mut self) {
        match self.take().keyword {
            K::TABLE | K::TABLES => {
                self.define("rename_table");
                self.rename_table();
            }
            K::USER => self.defined_elsewhere("rename_user"),
            _ => self.doubt("what it renames is not known"),
        }
    }
}
