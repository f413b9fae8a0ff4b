//! Whether a statement's kind goes out: `allow`, `deny`, `supported` and `unsupported`.

use crate::ddl::{Class, ObjectType};
use crate::pipeline::policy::kinds::is_dml;
use crate::pipeline::policy::settings::Choice;
use crate::pipeline::policy::verdict::{Action, Reason};
use crate::pipeline::rules::{DecidedBy, Decision};

use super::objects::is_called_for_effect;
use super::{Judge, action_of};

/// Whether a kind goes out, by the class and the keys that speak of it.
pub(super) enum KindVerdict {
    Forward(&'static str),
    Not(Action, Reason, &'static str, String),
}

impl Judge<'_> {
    /// What the keys say of the statement's kind.
    pub(super) fn kind_verdict(&self) -> KindVerdict {
        let policy = self.rules.policy();
        let kind = self.statement.kind.0;
        // The servers count ALTER VIEW as a CREATE VIEW; users know two statements.
        let name = if kind == "create_view" && begins_with_alter(self.sql) { "alter_view" } else { kind };
        if policy.deny.contains(name) {
            let sentence = format!("ddl.deny holds {name}");
            return KindVerdict::Not(Action::Skip, Reason::Denied, "ddl.deny", sentence);
        }
        if self.statement.objects.iter().any(|object| is_called_for_effect(self.statement, object)) {
            return KindVerdict::Forward("ddl.supported");
        }
        let allowed = policy.allow.contains(name);
        // Where changes come as statements, the copy is kept up to date by the tool's triggers, at the replica too.
        if matches!(kind, "create_trigger" | "drop_trigger")
            && policy.supported == Choice::Forward
            && self.objects.iter().any(|object| object.is_selected() && object.decision.by == DecidedBy::Shadow)
            && self.tool_trigger().is_some()
        {
            return KindVerdict::Forward("ddl.online_ddl");
        }
        if self.statement.class == Class::Supported || allowed {
            // Temporary tables are in no two servers at once: in statement format they are a part of the DML around them.
            if policy.supported == Choice::Skip && !is_dml(kind) && !self.statement.temporary {
                let sentence = "ddl.supported = \"skip\": definitions do not go out on this route".to_owned();
                return KindVerdict::Not(Action::Skip, Reason::SupportedSkipped, "ddl.supported", sentence);
            }
            return KindVerdict::Forward(if allowed { "ddl.allow" } else { "ddl.supported" });
        }
        // Comments only. Nothing runs at the source, but a replica of another version may open a version comment in it.
        if kind == "empty_query" && !(self.rules.selects_everything() && policy.unsupported == Choice::Forward) {
            let sentence = "it holds nothing but comments".to_owned();
            return KindVerdict::Not(Action::Skip, Reason::Unsupported, "ddl.unsupported", sentence);
        }
        match action_of(policy.unsupported) {
            Action::Forward => KindVerdict::Forward("ddl.unsupported"),
            Action::Stop => KindVerdict::Not(
                Action::Stop,
                Reason::Unsupported,
                "ddl.unsupported",
                format!(
                    "statements of kind {kind} are not on the supported list; ddl.unsupported = \"skip\" leaves them out, ddl.allow = [\"{kind}\"] \
                     lets this kind pass"
                ),
            ),
            action => KindVerdict::Not(
                action,
                Reason::Unsupported,
                "ddl.unsupported",
                format!("statements of kind {kind} are not on the supported list"),
            ),
        }
    }

    /// The trigger of an online schema change that goes out with its table.
    fn tool_trigger(&self) -> Option<Decision> {
        let trigger = self.statement.objects.iter().find(|object| object.object_type == ObjectType::Trigger)?;
        self.rules.tool_trigger(&trigger.database, &trigger.name)
    }
}

/// Whether a statement begins with ALTER, comments and spaces aside.
fn begins_with_alter(sql: &[u8]) -> bool {
    let mut rest = sql.trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"/*") {
        let Some(end) = comment.windows(2).position(|pair| pair == b"*/") else { return false };
        rest = comment[end + 2..].trim_ascii_start();
    }
    rest.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"ALTER"))
}
