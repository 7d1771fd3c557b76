//! Which node or user a typed word means.
//!
//! A node is meant by its domain, by its number (`n12`, or `12`), or by enough of the first digits of its GRID; a user by
//! number (`u3`, or `3`) or by the first digits of the GUID. Up to five decimal digits are a number: ids are shown with at
//! least eight.

use routing_core::domain::Domain;
use routing_core::id::{Guid, Id};
use transport_sim::network::Condition;
use transport_sim::sandbox::RoutingSandbox;

/// A user that the shell was told of.
#[derive(Debug)]
pub(super) struct Known {
    /// Who.
    pub(super) guid: Guid,
    /// Where the user lives, by the last word of the one who typed it; none for a closed account.
    pub(super) told: Option<Domain>,
}

/// The longest text of decimal digits that is a number and no id.
const NUMBER_DIGITS_MAX: usize = 5;
/// How many of those that begin alike an error names.
const NAMED_MAX: usize = 4;

/// A word that means nobody, or several. Nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// No node is called so.
    #[error(
        "no node is called {0:?}: write its domain, its number such as n3, or the first digits of its GRID; nodes lists them"
    )]
    NoNode(String),
    /// No user is called so.
    #[error(
        "no user is called {0:?}: write a number such as u1 or the first digits of a GUID (up to {NUMBER_DIGITS_MAX} decimal digits are a number); users lists them"
    )]
    NoUser(String),
    /// Several begin so.
    #[error("{text} may be {}: write more digits", list(found))]
    Ambiguous {
        /// As typed.
        text: String,
        /// Who begins so.
        found: Vec<String>,
    },
    /// The node is not there any more.
    #[error("{node} {why}")]
    Gone {
        /// Its name.
        node: String,
        /// What became of it.
        why: &'static str,
    },
}

fn list(found: &[String]) -> String {
    let more = found.len().saturating_sub(NAMED_MAX);
    let named = found[..found.len() - more].join(", ");
    if more > 0 { format!("{named} or {more} others") } else { named }
}

/// The node that is meant, by number from 0, whatever became of it.
pub(super) fn node(sandbox: &RoutingSandbox, text: &str) -> Result<usize, NameError> {
    let members = sandbox.members();
    let nobody = || NameError::NoNode(text.to_owned());
    if text.contains('.') {
        return members.iter().position(|member| member.domain.as_str().eq_ignore_ascii_case(text)).ok_or_else(nobody);
    }
    if let Some(number) = numbered(text, 'n') {
        return number.checked_sub(1).filter(|index| *index < members.len()).ok_or_else(nobody);
    }
    one_of(text, members.iter().map(|member| &member.grid.0), |index| node_name(sandbox, index))?.ok_or_else(nobody)
}

/// The living node that is meant.
pub(super) fn living(sandbox: &RoutingSandbox, text: &str) -> Result<usize, NameError> {
    let index = node(sandbox, text)?;
    let why = match sandbox.network().condition(sandbox.members()[index].node) {
        Condition::Running | Condition::Halted => return Ok(index),
        Condition::Left => "has left",
        Condition::Killed => "was killed",
        Condition::Down => "is down",
    };
    Err(NameError::Gone { node: node_name(sandbox, index), why })
}

/// The user that is meant. 64 digits are always somebody, though perhaps nobody that the sandbox has a key for.
pub(super) fn user(known: &[Known], text: &str) -> Result<Guid, NameError> {
    if let Ok(id) = text.parse() {
        return Ok(Guid(id));
    }
    let nobody = || NameError::NoUser(text.to_owned());
    if let Some(number) = numbered(text, 'u') {
        return number.checked_sub(1).and_then(|index| known.get(index)).map(|known| known.guid).ok_or_else(nobody);
    }
    let found = one_of(text, known.iter().map(|known| &known.guid.0), |index| user_name(known, &known[index].guid))?;
    found.map(|index| known[index].guid).ok_or_else(nobody)
}

/// `n3 (3f9a01c2)`.
pub(super) fn node_name(sandbox: &RoutingSandbox, index: usize) -> String {
    format!("n{} ({:?})", index + 1, sandbox.members()[index].grid.0)
}

/// `u3 (3f9a01c2)`, or only the id of somebody unknown.
pub(super) fn user_name(known: &[Known], guid: &Guid) -> String {
    match known.iter().position(|known| known.guid == *guid) {
        Some(index) => format!("u{} ({:?})", index + 1, guid.0),
        None => format!("{:?}", guid.0),
    }
}

/// The number in `n12` or `12`, unless the text is an id.
fn numbered(text: &str, letter: char) -> Option<usize> {
    let bare = text.strip_prefix(letter);
    let digits = bare.unwrap_or(text);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || bare.is_none() && digits.len() > NUMBER_DIGITS_MAX { None } else { digits.parse().ok() }
}

/// The only one of these ids that begins with the text.
fn one_of<'a>(
    text: &str,
    ids: impl Iterator<Item = &'a Id>,
    name: impl Fn(usize) -> String,
) -> Result<Option<usize>, NameError> {
    let prefix = text.to_ascii_lowercase();
    let found: Vec<usize> =
        ids.enumerate().filter(|(_, id)| id.to_string().starts_with(&prefix)).map(|(index, _)| index).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(NameError::Ambiguous { text: text.to_owned(), found: found.into_iter().map(name).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(nodes: usize) -> RoutingSandbox {
        let mut sandbox = RoutingSandbox::new(7);
        for _ in 0..nodes {
            sandbox.new_node();
        }
        sandbox
    }

    #[test]
    fn a_node_is_meant_by_domain_number_or_the_beginning_of_its_id() {
        let sandbox = sandbox(20);
        let grid = sandbox.members()[2].grid.0.to_string();
        for text in ["n3", "3", "N000003.example", &grid, &grid[..8], &grid[..8].to_uppercase()] {
            assert_eq!(node(&sandbox, text), Ok(2), "{text}");
        }
        for text in ["n21", "0", "n0", "elsewhere.example", "zz", "n"] {
            assert_eq!(node(&sandbox, text), Err(NameError::NoNode(text.to_owned())), "{text}");
        }
    }

    /// Of forty ids some begin with the same digit, of which there are sixteen.
    #[test]
    fn a_beginning_that_several_share_names_them() {
        let sandbox = sandbox(40);
        let ids: Vec<String> = sandbox.members().iter().map(|member| member.grid.0.to_string()).collect();
        let letter =
            "abcdef".chars().find(|letter| ids.iter().filter(|id| id.starts_with(*letter)).count() > 1).unwrap();
        let text = letter.to_string();
        let error = node(&sandbox, &text).unwrap_err();
        assert!(matches!(&error, NameError::Ambiguous { found, .. } if found.len() > 1), "{error}");
        assert!(error.to_string().starts_with(&format!("{text} may be n")), "{error}");
        assert!(error.to_string().ends_with(": write more digits"), "{error}");
    }

    #[test]
    fn who_is_gone_is_known_and_cannot_be_asked() {
        let mut sandbox = sandbox(2);
        let grid = sandbox.members()[0].grid;
        sandbox.kill_node(grid).unwrap();
        assert_eq!(node(&sandbox, "n1"), Ok(0));
        assert!(living(&sandbox, "n1").unwrap_err().to_string().ends_with("was killed"));
        assert_eq!(living(&sandbox, "n2"), Ok(1));
    }

    #[test]
    fn a_user_is_meant_by_number_or_the_beginning_of_the_guid() {
        let known: Vec<Known> =
            [[0xab; 32], [0xac; 32]].map(|bytes| Known { guid: Guid(Id(bytes)), told: None }).into();
        for text in ["u1", "1", "ab", "ABab"] {
            assert_eq!(user(&known, text), Ok(known[0].guid), "{text}");
        }
        let error = user(&known, "a").unwrap_err();
        assert_eq!(error.to_string(), "a may be u1 (abababab), u2 (acacacac): write more digits");
        assert!(user(&known, "u3").is_err() && user(&known, "12345678").is_err());
        assert_eq!(user(&known, &"7".repeat(64)), Ok(Guid(Id([0x77; 32]))));
    }
}
