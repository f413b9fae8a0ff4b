//! The rules of one route: what is selected, under which name it goes out, and what the policy keys say.
//!
//! Where several rules match one object, an exclusion wins over every inclusion; among inclusions an exact table wins over a
//! glob of tables, that over an exact database, and that over a glob of databases; within one of these classes the first
//! in the configuration wins. A glob never matches a system schema; only its exact name does.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ddl::ObjectType;
use crate::pipeline::policy::{Choice, Policy};

mod databases;
mod decision;
mod entry;
mod fingerprint;
mod follow;
mod growth;
mod learned;
mod pattern;
mod shadow;
mod torn;
mod validate;

pub use decision::{DecidedBy, Decision, Selection};
pub use entry::{ExcludedOrigin, ObjectRule};
pub use learned::{Definition, FollowedTable, Learned, MAX_LEARNED, OnlineChange, TablePlace};
pub use pattern::{MAX_NAME_CHARS, Pattern, PatternError, Template, parse_patterns};
pub use shadow::{Shadow, ShadowRole};
pub use validate::RuleProblem;

use decision::selected;
use pattern::fold;

/// Schemas that belong to the server itself: globs never select them.
pub const SYSTEM_SCHEMAS: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

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
            && self.excluded_shadow(database, name).is_none()
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

    /// The excluded table that a name shadows while an online schema change runs, where no exclusion takes the name itself.
    pub fn excluded_shadow<'a>(&self, database: &str, name: &'a str) -> Option<&'a str> {
        let (_, table) = shadow::excluded::exclusion(self, database, name)?;
        self.exclusion(database, name, self.folded).is_none().then_some(table)
    }

    /// Why it cannot be told whether a selected name shadows an excluded table, where the tools have cut the name off: a sentence. It can
    /// where an entry names the shadow in full, and of a table that was seen to get the name.
    pub fn doubtful_excluded_shadow(&self, database: &str, name: &str) -> Option<String> {
        if self.exact_table(database, name).is_some() || self.followed(database, name).is_some() {
            return None;
        }
        let several = shadow::excluded::doubt(self, database, name);
        (!several.is_empty()).then(|| {
            format!(
                "{database}.{name} has a name that gh-ost and pt-online-schema-change cut off where it is too long, and may belong to {}, which is \
                 excluded; exclude \"{database}.{name}\", or add a table entry that names it in full if it is to go out",
                several.join(" or ")
            )
        })
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
        if let Some(index) = self.exact_table(database, name)
            && let Some(decision) = self.apply(index, database, name, self.folded)
        {
            return decision;
        }
        // An entry that names a whole database, or tables by wildcards, does not mean the copy that a tool makes of an excluded table.
        let decision = self.decide_below_exact(database, name, self.folded);
        if decision.is_selected()
            && let Some((index, _)) = shadow::excluded::exclusion(self, database, name)
        {
            return Decision { selection: Selection::NotSelected, by: DecidedBy::Exclusion(index) };
        }
        decision
    }

    /// The table entry that names this table in full.
    fn exact_table(&self, database: &str, name: &str) -> Option<usize> {
        if self.exact_tables.is_empty() {
            None
        } else if self.folded {
            self.exact_tables.get(&fold(database)).and_then(|tables| tables.get(&fold(name))).copied()
        } else {
            self.exact_tables.get(database).and_then(|tables| tables.get(name)).copied()
        }
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

    /// Whether two tables of a source can come under one name. One entry by itself leads no two to one.
    pub fn can_share_names(&self) -> bool {
        self.renames() && self.rules.iter().filter(|rule| rule.class().is_some()).nth(1).is_some()
    }

    /// Whether the rule at this place is a table rule.
    pub fn is_table_rule(&self, index: usize) -> bool {
        matches!(self.rules.get(index), Some(ObjectRule::Table { .. }))
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

/// Whether a name is not longer than MySQL's limit, which is in characters.
pub fn name_fits(name: &str) -> bool {
    name.len() <= MAX_NAME_CHARS || name.chars().count() <= MAX_NAME_CHARS
}

#[cfg(test)]
pub(crate) mod tests;
