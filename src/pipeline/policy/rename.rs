//! RENAME TABLE as one net change of names.
//!
//! The pairs are followed from left to right, so that each table has one name before and one after. What lies between does not
//! matter: a swap over a scratch name passes whole. A table whose names before and after are both selected is inside, both not is
//! outside, and the rest crosses the border. Pairs of inside tables go out alone if others do not: at the replica only selected
//! tables exist, so leaving out the steps of the others can only make names free, with one exception that is looked for.

use std::collections::{HashMap, HashSet};

use crate::ddl::Statement;
use crate::pipeline::rules::{DecidedBy, FollowedTable, Learned, MAX_LEARNED, RuleSet};

use super::settings::Choice;
use super::verdict::{ObjectVerdict, Reason};

/// What becomes of a RENAME.
pub(super) enum Outcome {
    /// These elements go out. `scratch` are the objects in them that are not selected, each with the object whose new database it
    /// shares while the table passes through; `followed` are last names that are not selected, each with where its table goes.
    Keep {
        items: Vec<usize>,
        scratch: HashMap<usize, usize>,
        followed: HashMap<usize, FollowedTable>,
        dropped: Option<(Reason, String)>,
    },
    /// Nothing goes out.
    Skip(Reason, String),
    /// The route ends.
    Stop(Reason, String),
}

/// A table that moves, by the objects that mention its first and its last name.
pub(super) struct Move {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The moves of a statement, and its pairs in their order: which move, and the objects that mention the old and the new name.
type Moves = (Vec<Move>, Vec<(usize, usize, usize)>);

/// The moves of a statement's pairs as one net change of names, and the steps that lead there. `None` where the
/// statement has no pairs to follow.
pub(super) fn moves(rules: &RuleSet, statement: &Statement) -> Option<Moves> {
    let key = |index: usize| {
        let object = &statement.objects[index];
        (rules.compared(&object.database), rules.compared(&object.name))
    };
    // Which move holds a name at present, and which move each pair is a step of.
    let mut holders: HashMap<(String, String), usize> = HashMap::new();
    let mut moves: Vec<Move> = Vec::new();
    let mut steps: Vec<(usize, usize, usize)> = Vec::new();
    for item in &statement.items {
        let [old, new] = item.objects[..] else { return None };
        let index = holders.remove(&key(old)).unwrap_or_else(|| {
            moves.push(Move { from: old, to: old });
            moves.len() - 1
        });
        moves[index].to = new;
        holders.insert(key(new), index);
        steps.push((index, old, new));
    }
    (!moves.is_empty()).then_some((moves, steps))
}

/// Follows the pairs. `None` where the statement has no pairs to follow.
pub(super) fn judge(rules: &RuleSet, statement: &Statement, objects: &[ObjectVerdict]) -> Option<Outcome> {
    let key = |index: usize| {
        let object = &statement.objects[index];
        (rules.compared(&object.database), rules.compared(&object.name))
    };
    let (moves, steps) = moves(rules, statement)?;
    let selected = |index: usize| objects.get(index).is_some_and(ObjectVerdict::is_selected);
    let name = |index: usize| format!("{}.{}", statement.objects[index].database, statement.objects[index].name);
    let mut inside = vec![false; moves.len()];
    let mut crossed: Option<(Reason, String)> = None;
    let mut staying = HashSet::new();
    let mut followed = HashMap::new();
    for (index, Move { from, to }) in moves.iter().enumerate() {
        let (from, to) = (*from, *to);
        match (selected(from), selected_after(objects, to)) {
            (true, true) => inside[index] = true,
            (false, false) => {}
            (true, false) if rules.policy().rename_out == Choice::Follow => {
                let name_of = |index: usize| (&*statement.objects[index].database, &*statement.objects[index].name);
                match rules.follow(name_of(from), name_of(to)) {
                    Ok(table) if followed.values().any(|other: &FollowedTable| other.goes_where(&table)) => {
                        let why = "another table of the statement would have the same name at the replica";
                        return Some(Outcome::Stop(Reason::RenameOut, not_followed(&name(from), &name(to), why)));
                    }
                    Ok(table) => followed.insert(to, table),
                    Err(why) => {
                        return Some(Outcome::Stop(Reason::RenameOut, not_followed(&name(from), &name(to), &why)));
                    }
                };
                inside[index] = true;
            }
            (true, false) => {
                if rules.policy().rename_out == Choice::Stop {
                    return Some(Outcome::Stop(
                        Reason::RenameOut,
                        format!(
                            "it renames {}, which is selected, to {}, which is not; select the new name, or set ddl.rename_out = \"skip\" to \
                             keep the table at the replica under its old name, or \"follow\" to let the selection learn the new one",
                            name(from),
                            name(to)
                        ),
                    ));
                }
                staying.insert(key(from));
                crossed.get_or_insert((
                    Reason::RenameOut,
                    format!("{} is renamed to {}, which is not selected", name(from), name(to)),
                ));
            }
            (false, true) => {
                if rules.policy().rename_in == Choice::Stop {
                    return Some(Outcome::Stop(
                        Reason::RenameIn,
                        format!(
                            "it renames {}, which is not selected, to {}, which is; copy the table to the replica under its new name by hand and \
                             set ddl.rename_in = \"skip\" to go on",
                            name(from),
                            name(to)
                        ),
                    ));
                }
                crossed.get_or_insert((
                    Reason::RenameIn,
                    format!("{} is renamed to {} and was not selected before", name(from), name(to)),
                ));
            }
        }
    }
    let kept: Vec<usize> = (0..steps.len()).filter(|&step| inside[steps[step].0]).collect();
    if kept.is_empty() {
        return Some(match crossed {
            Some((reason, sentence)) => Outcome::Skip(reason, sentence),
            None => Outcome::Skip(Reason::NotSelected, "no rule selects the tables that it renames".to_owned()),
        });
    }
    // A table that stays behind at the replica under its old name is in the way of one that takes this name.
    if let Some(&step) = kept.iter().find(|&&step| staying.contains(&key(steps[step].2))) {
        return Some(Outcome::Stop(
            Reason::MixedTargets,
            format!(
                "it renames another table to {}, and ddl.rename_out = \"skip\" keeps the table at the replica that has this name now",
                name(steps[step].2)
            ),
        ));
    }
    let mut scratch = HashMap::new();
    for &step in &kept {
        let (index, old, new) = steps[step];
        scratch.extend(
            [old, new].into_iter().filter(|&object| !selected(object)).map(|object| (object, moves[index].from)),
        );
        // The last name may be mentioned by another step of the same table before.
        let last = moves[index].to;
        let same_as_last = |object: &usize| key(*object) == key(last);
        if let Some(table) = followed.get(&last).cloned() {
            followed.extend([old, new].into_iter().filter(same_as_last).map(|object| (object, table.clone())));
        }
    }
    let dropped = (kept.len() < steps.len()).then(|| {
        crossed
            .unwrap_or_else(|| (Reason::PartOfList, "only some of the tables that it renames are selected".to_owned()))
    });
    Some(Outcome::Keep { items: kept, scratch, followed, dropped })
}

/// Why a table cannot be followed, and what to do.
pub(super) fn not_followed(from: &str, to: &str, why: &str) -> String {
    format!(
        "it renames {from}, which is selected, to {to}, and the selection cannot follow: {why}. Select the new name, or set ddl.rename_out = \
         \"skip\" to keep the table at the replica under its old name"
    )
}

/// Whether the entries of the configuration select a name that a table gets. A table that was followed to this name has left it before, or
/// it would not be free.
pub(super) fn selected_after(objects: &[ObjectVerdict], index: usize) -> bool {
    objects.get(index).is_some_and(|object| object.is_selected() && object.decision.by != DecidedBy::Followed)
}

/// What is followed after tables have moved, each by the objects that mention its first and its last name; or why that cannot be.
pub(super) fn after_moves(
    rules: &RuleSet,
    statement: &Statement,
    objects: &[ObjectVerdict],
    moves: &[(usize, usize)],
) -> Result<Learned, String> {
    let selected = |index: usize| objects.get(index).is_some_and(ObjectVerdict::is_selected);
    let name_of = |index: usize| (&*statement.objects[index].database, &*statement.objects[index].name);
    let mut learned = (**rules.learned()).clone();
    let mut arrived = Vec::new();
    for &(from, to) in moves {
        let (database, name) = name_of(from);
        forget(rules, &mut learned, database, name);
        if rules.policy().rename_out == Choice::Follow && selected(from) && !selected_after(objects, to) {
            arrived.push(rules.follow(name_of(from), name_of(to))?);
        }
    }
    learned.followed.extend(arrived);
    if learned.followed.len() > MAX_LEARNED {
        return Err(format!("more than {MAX_LEARNED} tables would be followed: select them in `objects`"));
    }
    Ok(learned)
}

/// A table of this name is followed no longer.
pub(super) fn forget(rules: &RuleSet, learned: &mut Learned, database: &str, name: &str) {
    learned.followed.retain(|table| !(rules.same(&table.name, name) && rules.same(&table.database, database)));
}
