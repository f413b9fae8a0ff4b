//! What an account may do, by the answer to SHOW GRANTS.

/// What a grant is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Global,
    /// A database; `%` and `_` are wildcards unless a backslash stands before them.
    Database(String),
    Table(String, String),
}

/// One line of SHOW GRANTS.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    privileges: Vec<String>,
    scope: Scope,
    /// MySQL 8 with `partial_revokes`: takes back what a global grant gave.
    revoked: bool,
}

/// An account's privileges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    grants: Vec<Grant>,
}

impl Grants {
    /// Reads the lines; what is not about privileges (roles, PROXY) is left out.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self { grants: lines.into_iter().filter_map(parse_line).collect() }
    }

    /// Whether a privilege of the server as a whole is granted, under any of these names.
    fn global(&self, names: &[&str]) -> bool {
        let given = |grant: &Grant| {
            grant.scope == Scope::Global
                && grant.privileges.iter().any(|privilege| is_all(privilege) || names.contains(&privilege.as_str()))
        };
        self.grants.iter().any(|grant| !grant.revoked && given(grant))
    }

    /// REPLICATION SLAVE: to be sent the binary log.
    pub fn replication_slave(&self) -> bool {
        self.global(&["REPLICATION SLAVE", "REPLICATION REPLICA"])
    }

    /// REPLICATION CLIENT: to see the source's positions. MariaDB 10.5 calls it BINLOG MONITOR.
    pub fn replication_client(&self) -> bool {
        self.global(&["REPLICATION CLIENT", "BINLOG MONITOR", "SUPER"])
    }

    /// TRIGGER: to see the triggers of all tables.
    pub fn trigger(&self) -> bool {
        self.global(&["TRIGGER"])
    }

    /// Whether all tables of a database can be read.
    pub fn selects_database(&self, database: &str) -> bool {
        let about = |grant: &Grant| match &grant.scope {
            Scope::Global => true,
            Scope::Database(pattern) => matches_wildcards(pattern, database),
            Scope::Table(..) => false,
        };
        self.allows(about)
    }

    /// Whether a table can be read.
    pub fn selects_table(&self, database: &str, table: &str) -> bool {
        let about = |grant: &Grant| matches!(&grant.scope, Scope::Table(d, t) if d == database && t == table);
        self.selects_database(database) || self.allows(about)
    }

    fn allows(&self, about: impl Fn(&Grant) -> bool) -> bool {
        let select = |grant: &&Grant| {
            about(grant) && grant.privileges.iter().any(|privilege| is_all(privilege) || privilege == "SELECT")
        };
        let (revoked, granted): (Vec<&Grant>, Vec<&Grant>) = self.grants.iter().filter(select).partition(|g| g.revoked);
        revoked.is_empty() && !granted.is_empty()
    }
}

fn is_all(privilege: &str) -> bool {
    matches!(privilege, "ALL" | "ALL PRIVILEGES")
}

/// `GRANT privilege [(columns)], … ON [TABLE] scope TO …`, or REVOKE … FROM.
fn parse_line(line: &str) -> Option<Grant> {
    let (revoked, rest) = match (line.strip_prefix("GRANT "), line.strip_prefix("REVOKE ")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return None,
    };
    let on = outside_quotes(rest, " ON ")?;
    let object = &rest[on + 4..];
    let privileges = split_privileges(&rest[..on]);
    let (database, rest) = name(object.strip_prefix("TABLE ").unwrap_or(object))?;
    let (table, _) = name(rest.strip_prefix('.')?)?;
    let scope = match (database, table) {
        (None, None) => Scope::Global,
        (Some(database), None) => Scope::Database(database),
        (Some(database), Some(table)) => Scope::Table(database, table),
        (None, Some(_)) => return None,
    };
    Some(Grant { privileges, scope, revoked })
}

/// A name in backquotes, a bare one, or `*`, which is `None`; and what follows.
fn name(text: &str) -> Option<(Option<String>, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        return Some((None, rest));
    }
    let Some(quoted) = text.strip_prefix('`') else {
        let end = text.find(['.', ' ']).unwrap_or(text.len());
        return (end > 0).then(|| (Some(text[..end].to_owned()), &text[end..]));
    };
    let (mut name, mut characters) = (String::new(), quoted.char_indices().peekable());
    while let Some((index, character)) = characters.next() {
        match character {
            '`' if characters.peek().is_some_and(|(_, next)| *next == '`') => {
                characters.next();
                name.push('`');
            }
            '`' => return Some((Some(name), &quoted[index + 1..])),
            _ => name.push(character),
        }
    }
    None
}

/// Where a text is found that stands neither in quotes nor in parentheses.
fn outside_quotes(text: &str, wanted: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0usize);
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '`' | '\'' | '"') => quote = Some(character),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 && text[index..].starts_with(wanted) => return Some(index),
            (None, _) => {}
        }
    }
    None
}

/// Privileges in capitals. One that is given for some columns only does not count.
fn split_privileges(mut text: &str) -> Vec<String> {
    let mut privileges = Vec::new();
    loop {
        let end = outside_quotes(text, ",").unwrap_or(text.len());
        let privilege = text[..end].trim();
        if !privilege.contains('(') {
            privileges.push(privilege.to_ascii_uppercase());
        }
        match text.get(end + 1..) {
            Some(rest) => text = rest,
            None => return privileges,
        }
    }
}

/// As MySQL compares the database of a grant.
fn matches_wildcards(pattern: &str, name: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => name.is_empty(),
        Some('%') => {
            let rest = characters.as_str();
            (0..=name.len()).filter(|&at| name.is_char_boundary(at)).any(|at| matches_wildcards(rest, &name[at..]))
        }
        Some(first) => {
            let literal = if first == '\\' { characters.next() } else { Some(first) };
            let mut rest = name.chars();
            match (rest.next(), literal) {
                (Some(found), Some(literal)) if found == literal || first == '_' => {
                    matches_wildcards(characters.as_str(), rest.as_str())
                }
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_of_every_dialect_are_understood() {
        for (lines, slave, client, shop, crm_customers) in [
            (&["GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION"][..], true, true, true, true),
            (&["GRANT USAGE ON *.* TO `repl`@`%`"], false, false, false, false),
            (&["GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `r`@`%`"], true, true, true, true),
            (
                &["GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `r`@`%` IDENTIFIED BY PASSWORD '*A'"],
                true,
                true,
                false,
                false,
            ),
            (
                &[
                    "GRANT REPLICATION SLAVE ON *.* TO 'r'@'%'",
                    "GRANT SELECT ON `sho_`.* TO 'r'@'%'",
                    "GRANT SELECT (a, b), UPDATE ON `crm`.`customers` TO 'r'@'%'",
                ],
                true,
                false,
                true,
                false,
            ),
            (
                &["GRANT SELECT ON `crm`.`customers` TO 'r'@'%'", "GRANT SELECT ON `sho\\_`.* TO 'r'@'%'"],
                false,
                false,
                false,
                true,
            ),
            (&["GRANT SELECT ON *.* TO `r`@`%`", "REVOKE SELECT ON `shop`.* FROM `r`@`%`"], false, false, false, true),
            (&["GRANT `a_role`@`%` TO `r`@`%`", "GRANT PROXY ON ''@'' TO 'root'@'%'", ""], false, false, false, false),
        ] {
            let grants = Grants::parse(lines.iter().copied());
            let found = (
                grants.replication_slave(),
                grants.replication_client(),
                grants.selects_database("shop"),
                grants.selects_table("crm", "customers"),
            );
            assert_eq!(found, (slave, client, shop, crm_customers), "{lines:?}");
        }
    }

    #[test]
    fn names_that_look_like_syntax_do_not_confuse() {
        let grants = Grants::parse([
            "GRANT SELECT (`x ON y`), INSERT ON `a``b ON`.`c.d` TO `x`@`%`",
            "GRANT SELECT ON `a``b`.* TO `x`@`%`",
        ]);
        assert!(grants.selects_database("a`b"));
        assert!(!grants.selects_table("a`b ON", "c.d"));
    }
}
