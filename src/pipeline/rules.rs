//! The rules of one route: what is selected, under which name it goes out, and what the policy keys say.
//!
//! Where several rules match one object, an exclusion wins over every inclusion; among inclusions an exact table wins over a
//! glob of tables, that over an exact database, and that over a glob of databases; within one of these classes the first
//! in the configuration wins. A glob never matches a system schema; only its exact name does.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::ddl::ObjectType;
use crate::pipeline::policy::{Choice, Policy};

mod fingerprint;
mod follow;
mod growth;
mod learned;
mod pattern;
mod shadow;
mod validate;

pub use learned::{Definition, FollowedTable, Learned, MAX_LEARNED, OnlineChange, TablePlace};
pub use pattern::{MAX_NAME_CHARS, Pattern, PatternError, Template, parse_patterns};
pub use shadow::{Shadow, ShadowRole};
pub use validate::RuleProblem;

use pattern::fold;

/// Schemas that belong to the server itself: globs never select them.
pub const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// What the rules say of one table, view or other object inside a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// It goes out under this name.
    Selected {
        /// The database at the replica.
        database: String,
        /// The name at the replica.
        name: String,
    },
    /// It does not go out.
    NotSelected,
}

/// Which rule said so. The number is the place in the route's `objects`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The route has no `objects`: everything is selected, unchanged.
    NoObjects,
    /// This inclusion.
    Rule(usize),
    /// This exclusion.
    Exclusion(usize),
    /// It was renamed from a selected name, and `rename_out` is `follow`.
    Followed,
    /// It belongs to a table that a table rule selects, and `online_ddl` is `forward`.
    Shadow,
    /// No rule matches.
    Nothing,
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObjects => formatter.write_str("everything"),
            Self::Rule(index) => write!(formatter, "objects[{index}]"),
            Self::Exclusion(index) => write!(formatter, "exclude objects[{index}]"),
            Self::Followed => formatter.write_str("ddl.rename_out"),
            Self::Shadow => formatter.write_str("ddl.online_ddl"),
            Self::Nothing => formatter.write_str("not selected"),
        }
    }
}

/// A selection and the rule that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the object goes out, and as what.
    pub selection: Selection,
    /// Which rule said so.
    pub by: DecidedBy,
}

impl Decision {
    /// Whether the object goes out.
    pub fn is_selected(&self) -> bool {
        matches!(self.selection, Selection::Selected { .. })
    }
}

/// One entry of a route's `objects`, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectRule {
    /// `database = "…"`, with its `rename`.
    Database {
        /// Which databases.
        pattern: Pattern,
        /// The new name, if it has one.
        rename: Option<Template>,
    },
    /// `table = "database.table"`, with its `rename`.
    Table {
        /// Which databases.
        database: Pattern,
        /// Which tables in them.
        table: Pattern,
        /// New database and new table, if it has one. The `*` of both take the texts of both patterns in order.
        rename: Option<(Template, Template)>,
    },
    /// `exclude = "database"`.
    ExcludeDatabase(Pattern),
    /// `exclude = "database.table"`.
    ExcludeTable {
        /// Which databases.
        database: Pattern,
        /// Which tables in them.
        table: Pattern,
    },
}

impl ObjectRule {
    /// How specific an inclusion is: the smaller wins. `None` for exclusions.
    fn class(&self) -> Option<u8> {
        match self {
            Self::Table { database, table, .. } if database.is_exact() && table.is_exact() => Some(0),
            Self::Table { .. } => Some(1),
            Self::Database { pattern, .. } if pattern.is_exact() => Some(2),
            Self::Database { .. } => Some(3),
            Self::ExcludeDatabase(_) | Self::ExcludeTable { .. } => None,
        }
    }
}

/// A server whose own transactions a route leaves out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExcludedOrigin {
    /// By the server id in the event header.
    ServerId(u32),
    /// By the server uuid in the GTID, in lower case with hyphens.
    ServerUuid(String),
}

/// Everything that decides what a route does to a stream, apart from the dialect. Immutable once built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    rules: Vec<ObjectRule>,
    policy: Policy,
    has_ddl_section: bool,
    exclude_origins: Vec<ExcludedOrigin>,
    folded: bool,
    /// Exact tables by (folded) database and table.
    exact_tables: HashMap<String, HashMap<String, usize>>,
    /// Exact databases by (folded) name.
    exact_databases: HashMap<String, usize>,
    /// The other inclusions, by class and then by place.
    glob_tables: Vec<usize>,
    glob_databases: Vec<usize>,
    /// Exclusions by place.
    exclusions: Vec<usize>,
    growth: Option<String>,
    learned: Arc<Learned>,
}

impl RuleSet {
    /// Builds the rules of a route. `policy` is `None` where the route has no `ddl` section. All mistakes are reported at once.
    pub fn build(
        rules: Vec<ObjectRule>,
        policy: Option<Policy>,
        exclude_origins: Vec<ExcludedOrigin>,
    ) -> Result<Self, Vec<RuleProblem>> {
        let set = Self::index(rules, policy.is_some(), policy.unwrap_or_default(), exclude_origins, false);
        let problems = validate::problems(&set);
        if problems.is_empty() { Ok(set) } else { Err(problems) }
    }

    /// A route that passes every byte: no objects, no `ddl` section.
    pub fn transparent() -> Self {
        Self::index(Vec::new(), false, Policy::default(), Vec::new(), false)
    }

    /// The same rules for a source with this `lower_case_table_names`: with 1 and 2 names of databases and tables compare
    /// without case. What a rule does not rename keeps the spelling that it has.
    pub fn for_lower_case_table_names(&self, lower_case_table_names: u8) -> Self {
        let folded = lower_case_table_names != 0;
        if folded == self.folded {
            return self.clone();
        }
        Self::index(self.rules.clone(), self.has_ddl_section, self.policy.clone(), self.exclude_origins.clone(), folded)
    }

    fn index(
        rules: Vec<ObjectRule>,
        has_ddl_section: bool,
        policy: Policy,
        mut exclude_origins: Vec<ExcludedOrigin>,
        folded: bool,
    ) -> Self {
        exclude_origins.sort();
        exclude_origins.dedup();
        let key = |name: String| if folded { fold(&name) } else { name };
        let mut set = Self {
            rules: Vec::new(),
            policy,
            has_ddl_section,
            exclude_origins,
            folded,
            exact_tables: HashMap::new(),
            exact_databases: HashMap::new(),
            glob_tables: Vec::new(),
            glob_databases: Vec::new(),
            exclusions: Vec::new(),
            growth: None,
            learned: Arc::default(),
        };
        for (index, rule) in rules.iter().enumerate() {
            match rule {
                ObjectRule::Database { pattern, .. } => match pattern.exact() {
                    Some(name) => {
                        set.exact_databases.entry(key(name)).or_insert(index);
                    }
                    None => set.glob_databases.push(index),
                },
                ObjectRule::Table { database, table, .. } => match (database.exact(), table.exact()) {
                    (Some(database), Some(table)) => {
                        set.exact_tables.entry(key(database)).or_default().entry(key(table)).or_insert(index);
                    }
                    _ => set.glob_tables.push(index),
                },
                ObjectRule::ExcludeDatabase(_) | ObjectRule::ExcludeTable { .. } => set.exclusions.push(index),
            }
        }
        set.rules = rules;
        set.growth = growth::reason(&set);
        set
    }

    /// The entries of `objects` as they were written.
    pub fn rules(&self) -> &[ObjectRule] {
        &self.rules
    }

    /// The keys of the route's `ddl` section.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The origins whose transactions go out empty, sorted.
    pub fn exclude_origins(&self) -> &[ExcludedOrigin] {
        &self.exclude_origins
    }

    /// Whether names compare without case (`lower_case_table_names` 1 or 2 at the source).
    pub fn is_folded(&self) -> bool {
        self.folded
    }

    /// A name of a database or table in the form in which two spellings of one name are equal at the source.
    pub fn compared(&self, name: &str) -> String {
        if self.folded { fold(name) } else { name.to_owned() }
    }

    /// Whether the route has no `objects`: everything is selected under its own name.
    pub fn selects_everything(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether every byte of every event body is passed on as it came: no `objects`, no `ddl` section, no excluded origins.
    pub fn is_transparent(&self) -> bool {
        self.passes_all_but_origins() && self.exclude_origins.is_empty()
    }

    /// Whether all that was not born on an excluded origin is passed on as it came: no `objects` and no `ddl` section.
    pub fn passes_all_but_origins(&self) -> bool {
        self.rules.is_empty() && !self.has_ddl_section
    }

    /// Whether a table (or view, or sequence) is selected, and its name at the replica.
    pub fn table(&self, database: &str, name: &str) -> Selection {
        self.decide_table(database, name).selection
    }

    /// As [`RuleSet::table`], with the rule that decided.
    pub fn decide_table(&self, database: &str, name: &str) -> Decision {
        let decision = self.decide_own_name(database, name);
        if decision.by != DecidedBy::Nothing {
            return decision;
        }
        if let Some(table) = self.followed(database, name) {
            return selected(table.new_database.clone(), table.new_name.clone(), DecidedBy::Followed);
        }
        if self.policy.online_ddl == Choice::Forward
            && let Some(Shadow { database, name, .. }) = self.shadow(database, name)
        {
            return selected(database, name, DecidedBy::Shadow);
        }
        decision
    }

    /// The table that a name shadows while an online schema change runs, if a table rule selects that table. What an entry of
    /// `objects` says of the name itself comes before this.
    pub fn shadow<'a>(&self, database: &str, name: &'a str) -> Option<Shadow<'a>> {
        shadow::of(self, database, name)
    }

    /// Tables and rules of which one may be that which a name shadows, where the tools have cut the name off and it cannot be told.
    pub fn doubtful_shadow(&self, database: &str, name: &str) -> Option<Vec<String>> {
        shadow::doubt(self, database, name)
    }

    /// Whether and where a trigger of pt-online-schema-change goes with its table, where `online_ddl` is `forward`.
    pub fn tool_trigger(&self, database: &str, name: &str) -> Option<Decision> {
        (self.policy.online_ddl == Choice::Forward).then(|| shadow::trigger(self, database, name)).flatten()
    }

    /// What the entries of `objects` say of a table's own name.
    fn decide_own_name(&self, database: &str, name: &str) -> Decision {
        if self.rules.is_empty() {
            return selected(database.to_owned(), name.to_owned(), DecidedBy::NoObjects);
        }
        if let Some(index) = self.exclusion(database, name, self.folded) {
            return Decision { selection: Selection::NotSelected, by: DecidedBy::Exclusion(index) };
        }
        let exact = if self.exact_tables.is_empty() {
            None
        } else if self.folded {
            self.exact_tables.get(&fold(database)).and_then(|tables| tables.get(&fold(name)))
        } else {
            self.exact_tables.get(database).and_then(|tables| tables.get(name))
        };
        if let Some(&index) = exact
            && let Some(decision) = self.apply(index, database, name, self.folded)
        {
            return decision;
        }
        self.decide_below_exact(database, name, self.folded)
    }

    /// Whether an object of any type is selected, and its name at the replica. Tables, views and sequences are compared as
    /// tables; names of routines, events and packages compare without case, as MySQL does. A trigger lives with its table:
    /// without one at hand it is selected where its database is, or where a table rule matches its name.
    pub fn object(&self, object_type: ObjectType, database: &str, name: &str) -> Selection {
        self.decide_object(object_type, database, name).selection
    }

    /// As [`RuleSet::object`], with the rule that decided.
    pub fn decide_object(&self, object_type: ObjectType, database: &str, name: &str) -> Decision {
        match object_type {
            ObjectType::Database => self.decide_database(database),
            ObjectType::Table | ObjectType::View | ObjectType::Sequence => self.decide_table(database, name),
            ObjectType::Procedure
            | ObjectType::Function
            | ObjectType::Trigger
            | ObjectType::Event
            | ObjectType::Package => self.decide_routine(database, name),
        }
    }

    fn decide_routine(&self, database: &str, name: &str) -> Decision {
        if self.rules.is_empty() {
            return selected(database.to_owned(), name.to_owned(), DecidedBy::NoObjects);
        }
        if let Some(index) = self.exclusion(database, name, true) {
            return Decision { selection: Selection::NotSelected, by: DecidedBy::Exclusion(index) };
        }
        let exact = self.rules.iter().enumerate().filter(|(_, rule)| rule.class() == Some(0));
        for (index, _) in exact {
            if let Some(decision) = self.apply(index, database, name, true) {
                return decision;
            }
        }
        self.decide_below_exact(database, name, true)
    }

    /// Glob tables, exact databases, glob databases.
    fn decide_below_exact(&self, database: &str, name: &str, name_folded: bool) -> Decision {
        let system = self.is_system_schema(database);
        let named_exactly = |index: &&usize| match &self.rules[**index] {
            ObjectRule::Table { database, .. } => !system || database.is_exact(),
            _ => true,
        };
        for &index in self.glob_tables.iter().filter(named_exactly) {
            if let Some(decision) = self.apply(index, database, name, name_folded) {
                return decision;
            }
        }
        if let Some((index, new)) = self.database_rule(database) {
            return selected(new, name.to_owned(), DecidedBy::Rule(index));
        }
        Decision { selection: Selection::NotSelected, by: DecidedBy::Nothing }
    }

    /// What the table rule at `index` makes of this name.
    fn apply(&self, index: usize, database: &str, name: &str, name_folded: bool) -> Option<Decision> {
        let ObjectRule::Table { database: databases, table: tables, rename } = &self.rules[index] else { return None };
        let database_texts = databases.captures(database, self.folded)?;
        let table_texts = tables.captures(name, name_folded)?;
        let (new_database, new_name) = match rename {
            None => (database.to_owned(), name.to_owned()),
            Some((new_database, new_table)) => {
                let mut texts = database_texts
                    .into_iter()
                    .map(|range| &database[range])
                    .chain(table_texts.into_iter().map(|range| &name[range]));
                let new_database = new_database.fill(&mut texts);
                (new_database, new_table.fill(&mut texts))
            }
        };
        Some(selected(new_database, new_name, DecidedBy::Rule(index)))
    }

    /// The database rule for a database and its new name, exclusions not looked at.
    fn database_rule(&self, database: &str) -> Option<(usize, String)> {
        let exact =
            if self.folded { self.exact_databases.get(&fold(database)) } else { self.exact_databases.get(database) };
        let globs = if self.is_system_schema(database) { &[][..] } else { &self.glob_databases[..] };
        for &index in exact.into_iter().chain(globs) {
            if let ObjectRule::Database { pattern, rename } = &self.rules[index]
                && let Some(texts) = pattern.captures(database, self.folded)
            {
                let new = match rename {
                    None => database.to_owned(),
                    Some(template) => template.fill(&mut texts.into_iter().map(|range| &database[range])),
                };
                return Some((index, new));
            }
        }
        None
    }

    /// The new name of a database that is selected as a whole: by a database rule or by a table rule such as `crm.*`. Tables of it
    /// may still be excluded or renamed by themselves.
    pub fn database(&self, database: &str) -> Option<String> {
        match self.decide_database(database).selection {
            Selection::Selected { database, .. } => Some(database),
            Selection::NotSelected => None,
        }
    }

    /// As [`RuleSet::database`], with the rule that decided.
    pub fn decide_database(&self, database: &str) -> Decision {
        if self.rules.is_empty() {
            return selected(database.to_owned(), String::new(), DecidedBy::NoObjects);
        }
        if let Some(index) = self.database_exclusion(database) {
            return Decision { selection: Selection::NotSelected, by: DecidedBy::Exclusion(index) };
        }
        let system = self.is_system_schema(database);
        for &index in &self.glob_tables {
            if let ObjectRule::Table { database: databases, table, rename } = &self.rules[index]
                && table.is_everything()
                && table.runs() == 1
                && (!system || databases.is_exact())
                && let Some(texts) = databases.captures(database, self.folded)
            {
                let new = match rename {
                    None => database.to_owned(),
                    Some((new, name)) if new.pattern().runs() == databases.runs() && name.pattern().is_everything() => {
                        new.fill(&mut texts.into_iter().map(|range| &database[range]))
                    }
                    // Its tables go out under other names: that is no selection of a database.
                    Some(_) => continue,
                };
                return selected(new, String::new(), DecidedBy::Rule(index));
            }
        }
        match self.database_rule(database) {
            Some((index, new)) => selected(new, String::new(), DecidedBy::Rule(index)),
            None => Decision { selection: Selection::NotSelected, by: DecidedBy::Nothing },
        }
    }

    /// Whether some table of this database can be selected.
    pub fn database_touched(&self, database: &str) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        if self.database_exclusion(database).is_some() {
            return false;
        }
        self.database_rule(database).is_some() || self.table_rules_of(database).next().is_some()
    }

    /// The table rules that can match a table of this database.
    fn table_rules_of<'a>(&'a self, database: &'a str) -> impl Iterator<Item = &'a ObjectRule> {
        let system = self.is_system_schema(database);
        let exact = if self.folded { self.exact_tables.get(&fold(database)) } else { self.exact_tables.get(database) };
        let globs = self.glob_tables.iter().filter(move |index| match &self.rules[**index] {
            ObjectRule::Table { database: databases, .. } => {
                (!system || databases.is_exact()) && databases.matches(database, self.folded)
            }
            _ => false,
        });
        exact.into_iter().flat_map(HashMap::values).chain(globs).map(|&index| &self.rules[index])
    }

    /// What a session's default database becomes at the replica, so that names that have no database in the text can stay
    /// without one: the new name of a database that is selected as a whole; else the one database to which all table rules
    /// of it lead; else its own name.
    pub fn default_database(&self, database: &str) -> String {
        if database.is_empty() || self.rules.is_empty() || self.database_exclusion(database).is_some() {
            return database.to_owned();
        }
        self.one_database(database).unwrap_or_else(|| database.to_owned())
    }

    /// The one database to which all that is selected of a database goes, if there is one.
    fn one_database(&self, database: &str) -> Option<String> {
        if let Some(new) = self.database(database) {
            return Some(new);
        }
        let mut common: Option<String> = None;
        for rule in self.table_rules_of(database) {
            let ObjectRule::Table { database: databases, rename, .. } = rule else { continue };
            let new = match rename {
                None => database.to_owned(),
                Some((new, _)) if new.pattern().runs() <= databases.runs() => {
                    let texts = databases.captures(database, self.folded).unwrap_or_default();
                    new.fill(&mut texts.into_iter().map(|range| &database[range]))
                }
                // The new database takes text from the table's name: it differs from table to table.
                Some(_) => return None,
            };
            match &common {
                Some(other) if *other != new => return None,
                _ => common = Some(new),
            }
        }
        common
    }

    /// The first exclusion that names this object or its whole database.
    fn exclusion(&self, database: &str, name: &str, name_folded: bool) -> Option<usize> {
        self.exclusions.iter().copied().find(|&index| match &self.rules[index] {
            ObjectRule::ExcludeDatabase(databases) => databases.matches(database, self.folded),
            ObjectRule::ExcludeTable { database: databases, table } => {
                databases.matches(database, self.folded) && table.matches(name, name_folded)
            }
            ObjectRule::Database { .. } | ObjectRule::Table { .. } => false,
        })
    }

    /// The first exclusion that leaves nothing of this database.
    fn database_exclusion(&self, database: &str) -> Option<usize> {
        self.exclusions.iter().copied().find(|&index| match &self.rules[index] {
            ObjectRule::ExcludeDatabase(databases) => databases.matches(database, self.folded),
            ObjectRule::ExcludeTable { database: databases, table } => {
                table.is_everything() && databases.matches(database, self.folded)
            }
            ObjectRule::Database { .. } | ObjectRule::Table { .. } => false,
        })
    }

    /// Whether any rule gives something another name.
    pub fn renames(&self) -> bool {
        self.rules.iter().any(|rule| match rule {
            ObjectRule::Database { pattern, rename: Some(new) } => pattern.canonical() != new.pattern().canonical(),
            ObjectRule::Table { database, table, rename: Some((new, name)) } => {
                database.canonical() != new.pattern().canonical() || table.canonical() != name.pattern().canonical()
            }
            _ => false,
        })
    }

    /// Whether the rule at this place is a table rule.
    pub fn is_table_rule(&self, index: usize) -> bool {
        matches!(self.rules.get(index), Some(ObjectRule::Table { .. }))
    }

    fn is_system_schema(&self, database: &str) -> bool {
        SYSTEM_SCHEMAS.iter().any(|schema| {
            if self.folded || *schema == "information_schema" {
                schema.eq_ignore_ascii_case(database)
            } else {
                *schema == database
            }
        })
    }

    /// Whether a transaction can come out longer than it went in; [`RuleSet::growth_reason`] says why.
    pub fn may_lengthen(&self) -> bool {
        self.growth.is_some()
    }

    /// Why a transaction can come out longer than it went in: the first cause, a sentence for `status` and `explain`.
    pub fn growth_reason(&self) -> Option<&str> {
        self.growth.as_deref()
    }

    /// A stable hash over the rules in canonical form: it changes if and only if something changes that can decide over what
    /// goes out. Callers that need less take the first bytes.
    pub fn fingerprint(&self) -> [u8; 8] {
        fingerprint::of(self)
    }

    /// Whether an unselected name can stand in a statement that goes out.
    fn lets_unselected_names_out(&self) -> bool {
        self.policy.reference == Choice::Forward || self.policy.unknown == Choice::Forward
    }
}

fn selected(database: String, name: String, by: DecidedBy) -> Decision {
    Decision { selection: Selection::Selected { database, name }, by }
}

/// Whether a name is not longer than MySQL's limit, which is in characters.
pub fn name_fits(name: &str) -> bool {
    name.len() <= MAX_NAME_CHARS || name.chars().count() <= MAX_NAME_CHARS
}

#[cfg(test)]
mod tests;
