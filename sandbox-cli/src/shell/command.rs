//! What can be typed, and what it means. Nothing here knows a sandbox: a name is a text until somebody looks it up.

use crate::scenario::NODES_MAX;
use routing_core::time::Ticks;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;

/// One line, understood. Nodes, users and domains are as they were typed.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Start nodes and let them join.
    New {
        /// How many.
        count: u32,
        /// Through whom; through some that are drawn, if nobody is named.
        via: Vec<String>,
    },
    /// Run a node at every n-th tick, or halt it with −1.
    Cadence {
        /// The node.
        node: String,
        /// At every how many ticks.
        every: i64,
    },
    /// Let nodes leave properly.
    Remove(Vec<String>),
    /// Let nodes vanish without a word.
    Kill(Vec<String>),
    /// Register where a user lives.
    Register {
        /// Who; somebody new if nobody is named.
        guid: Option<String>,
        /// Where: a domain or a node.
        domain: String,
        /// Through whom.
        via: Vec<String>,
    },
    /// Look up where a user lives.
    Route {
        /// Who.
        guid: String,
        /// Where the user should be found; else where the sandbox knows that the user lives.
        expected: Option<String>,
        /// Through whom.
        via: Vec<String>,
    },
    /// Move a user to another server.
    Migrate {
        /// Who.
        guid: String,
        /// Where to; drawn if it is not said.
        to: Option<String>,
        /// Through whom.
        via: Vec<String>,
    },
    /// Close a user's account.
    Close {
        /// Who.
        guid: String,
        /// Through whom.
        via: Vec<String>,
    },
    /// Let so many ticks pass.
    Tick(u64),
    /// Let so much time pass.
    Run(Ticks),
    /// Say what time it is.
    Time,
    /// List the nodes.
    Nodes {
        /// All of them, however many they are.
        all: bool,
    },
    /// List the users.
    Users {
        /// All of them, however many they are.
        all: bool,
    },
    /// Look into a node.
    Node(String),
    /// Say who should hold a user's record, and who does.
    Holders(String),
    /// Let the network fall into parts.
    Partition {
        /// The share of each part.
        parts: Vec<f64>,
        /// Whether only messages from later parts to earlier ones are stopped.
        one_way: bool,
    },
    /// Make the network whole again.
    Heal,
    /// Lose this share of all messages.
    Loss(f64),
    /// Write down what was done.
    Save(PathBuf),
    /// Explain the commands, or one of them.
    Help(Option<&'static Usage>),
    /// End.
    Quit,
}

impl Command {
    /// Whether the sandbox may be another one afterwards: also who only asks draws whom to ask, and time passes.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Command::Time
                | Command::Nodes { .. }
                | Command::Users { .. }
                | Command::Node(_)
                | Command::Holders(_)
                | Command::Save(_)
                | Command::Help(_)
                | Command::Quit
        )
    }
}

/// A command as its help tells it.
#[derive(PartialEq, Eq, Debug)]
pub struct Usage {
    /// The word it begins with.
    pub name: &'static str,
    /// What follows the word.
    pub arguments: &'static str,
    /// What it does, in a few words.
    pub what: &'static str,
    /// What else there is to know.
    pub more: &'static str,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if self.arguments.is_empty() { Ok(()) } else { write!(f, " {}", self.arguments) }
    }
}

const VIA: &str = "Without via it starts at three running nodes that are drawn.";

/// All commands, in the order in which help lists them.
pub const COMMANDS: [Usage; 20] = [
    Usage {
        name: "new",
        arguments: "[N] [via NODE…]",
        what: "start N nodes (1) and let them join",
        more: "The first node begins a network of its own. Without via each joins through three running nodes that are \
               drawn.",
    },
    Usage {
        name: "run",
        arguments: "NODE N | TIME",
        what: "run a node at every N-th tick, -1 halts it; or let time pass",
        more: "A halted or slow node's inbox keeps the oldest 256 messages. TIME is a number and ms, s, m, h or d: run \
               2m.",
    },
    Usage { name: "remove", arguments: "NODE…", what: "let nodes leave properly", more: "" },
    Usage { name: "kill", arguments: "NODE…", what: "let nodes vanish without a word", more: "" },
    Usage {
        name: "register",
        arguments: "[GUID] DOMAIN [via NODE…]",
        what: "register that a user lives at DOMAIN",
        more: "Without a GUID somebody new is made, whose keys the sandbox keeps. A GUID of 64 digits that the sandbox \
               has no key for is registered as a claim of the kind legacy. DOMAIN may be a node. Without via it starts \
               at three running nodes that are drawn.",
    },
    Usage {
        name: "route",
        arguments: "GUID [expected DOMAIN] [via NODE…]",
        what: "look up where a user lives, hop by hop",
        more: "With expected, any other answer is a failure. Without via it starts at three running nodes that are \
               drawn.",
    },
    Usage {
        name: "migrate",
        arguments: "GUID [DOMAIN] [via NODE…]",
        what: "move a user to another server",
        more: "Without DOMAIN it is another running server, drawn by size.",
    },
    Usage { name: "close", arguments: "GUID [via NODE…]", what: "close a user's account, for good", more: VIA },
    Usage { name: "tick", arguments: "[N]", what: "let N ticks (1) pass, a millisecond each", more: "" },
    Usage { name: "time", arguments: "", what: "what time it is", more: "" },
    Usage { name: "nodes", arguments: "[all]", what: "the nodes", more: "Without all at most 20 of them." },
    Usage { name: "users", arguments: "[all]", what: "the users", more: "Without all at most 20 of them." },
    Usage { name: "node", arguments: "NODE", what: "a node: its table, its records, its neighbours", more: "" },
    Usage {
        name: "holders",
        arguments: "GUID",
        what: "who should hold a user's record, and who does",
        more: "The oracle sees all nodes at once: it knows the true holders exactly.",
    },
    Usage {
        name: "partition",
        arguments: "[SHARE…] [one-way]",
        what: "let the network fall into parts, two halves by default",
        more: "Shares add up to 1; one that is missing is what is left. one-way stops only messages from a later part \
               to an earlier one. Who asks stands where the nodes are that are asked first.",
    },
    Usage { name: "heal", arguments: "", what: "make the network whole again", more: "" },
    Usage { name: "loss", arguments: "RATE", what: "lose this share of all messages, such as 0.1 or 10%", more: "" },
    Usage {
        name: "save",
        arguments: "FILE",
        what: "write down what was done, to be done again",
        more: "The first line of the file is the command that does it: sandbox-cli shell --seed 7 < FILE",
    },
    Usage { name: "help", arguments: "[COMMAND]", what: "this list, or a command in full", more: "" },
    Usage { name: "quit", arguments: "", what: "end; so do exit and Ctrl-D", more: "" },
];

/// What somebody may type who knows other words for it.
const OTHER_WORDS: [(&str, &str); 11] = [
    ("join", "new"),
    ("add", "new"),
    ("leave", "remove"),
    ("lookup", "route"),
    ("find", "route"),
    ("halt", "run"),
    ("wait", "run"),
    ("move", "migrate"),
    ("delete", "close"),
    ("list", "nodes"),
    ("show", "node"),
];

/// A line that was not understood. Nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// No command begins with this word.
    #[error("there is no command {word:?}{}; help lists them all", near.map(|near| format!(", did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// The word.
        word: String,
        /// What may have been meant.
        near: Option<&'static str>,
    },
    /// The command cannot be used like this.
    #[error("{problem}; write: {usage}")]
    Usage {
        /// How it is written.
        usage: &'static Usage,
        /// What is the matter.
        problem: Problem,
    },
}

/// What is the matter with a command's arguments.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// Something is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something is there that nobody reads.
    #[error("{0:?} is one word too many")]
    Excess(String),
    /// A value cannot be used.
    #[error("{text:?} must be {must}")]
    Value {
        /// As typed.
        text: String,
        /// What it must be.
        must: &'static str,
    },
}

/// Reads a line. `None` for an empty one, or one that begins with `#`.
pub fn parse(line: &str) -> Result<Option<Command>, CommandError> {
    let line = line.trim();
    if line.starts_with('#') {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let Some(word) = words.next() else { return Ok(None) };
    let usage = usage(if word == "exit" { "quit" } else { word })?;
    let mut rest = Arguments::of(usage, words)?;
    let command = match usage.name {
        "new" => Command::New { count: rest.optional(NODES, count)?.unwrap_or(1), via: rest.via() },
        "run" => match (rest.word("a node or a time")?, rest.next()) {
            (node, Some(every)) => {
                let every = every.parse().ok().filter(|every| *every == -1 || *every > 0);
                Command::Cadence { node, every: every.ok_or_else(|| rest.value(&rest.last, "from 1, or -1 to halt"))? }
            }
            (time, None) => Command::Run(time.parse().map_err(|_| {
                rest.value(&time, "a time such as 250ms or 2m, or be followed by at every how many ticks the node runs")
            })?),
        },
        "remove" => Command::Remove(rest.some("a node")?),
        "kill" => Command::Kill(rest.some("a node")?),
        "register" => {
            let (first, second) = (rest.word("a domain")?, rest.next());
            let (guid, domain) = second.map_or((None, first.clone()), |domain| (Some(first), domain));
            Command::Register { guid, domain, via: rest.via() }
        }
        "route" => Command::Route { guid: rest.word("a GUID")?, expected: rest.expected.take(), via: rest.via() },
        "migrate" => Command::Migrate { guid: rest.word("a GUID")?, to: rest.next(), via: rest.via() },
        "close" => Command::Close { guid: rest.word("a GUID")?, via: rest.via() },
        "tick" => Command::Tick(rest.optional(COUNT, |text| text.parse().ok().filter(|n| *n > 0))?.unwrap_or(1)),
        "time" => Command::Time,
        "nodes" => Command::Nodes { all: rest.flag("all") },
        "users" => Command::Users { all: rest.flag("all") },
        "node" => Command::Node(rest.word("a node")?),
        "holders" => Command::Holders(rest.word("a GUID")?),
        "partition" => {
            let one_way = rest.flag("one-way");
            Command::Partition { parts: parts(&mut rest)?, one_way }
        }
        "heal" => Command::Heal,
        "loss" => {
            let rate = rest.word("a rate")?;
            Command::Loss(share(&rate).ok_or_else(|| rest.value(&rate, SHARE))?)
        }
        "save" => Command::Save(rest.word("a file")?.into()),
        "help" => Command::Help(rest.next().map(|word| self::usage(&word)).transpose()?),
        // quit
        _ => Command::Quit,
    };
    rest.end()?;
    Ok(Some(command))
}

/// The command that begins with this word.
fn usage(word: &str) -> Result<&'static Usage, CommandError> {
    COMMANDS.iter().find(|usage| usage.name == word).ok_or_else(|| {
        let other = OTHER_WORDS.iter().find(|(other, _)| *other == word).map(|(_, name)| *name);
        let begun = || COMMANDS.iter().map(|usage| usage.name).find(|name| name.starts_with(word));
        let typed = || {
            let lower = word.to_lowercase();
            COMMANDS.iter().map(|usage| usage.name).find(|name| lower.starts_with(name))
        };
        CommandError::Unknown { word: word.to_owned(), near: other.or_else(begun).or_else(typed) }
    })
}

const COUNT: &str = "a whole number from 1";
const NODES: &str = "a whole number from 1 to 10000000";
const SHARE: &str = "a share such as 0.1 or 10%";

fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=NODES_MAX).contains(count))
}

/// `0.1` or `10%`.
fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// The shares of a partition; one that is missing is what is left.
fn parts(rest: &mut Arguments<'_>) -> Result<Vec<f64>, CommandError> {
    let mut parts = Vec::new();
    while let Some(text) = rest.next() {
        parts.push(share(&text).filter(|share| *share > 0.0).ok_or_else(|| rest.value(&text, SHARE))?);
    }
    if parts.is_empty() {
        parts.push(0.5);
    }
    let left = 1.0 - parts.iter().sum::<f64>();
    if left > 1e-3 {
        parts.push(left);
    }
    if left < -1e-3 || parts.len() < 2 {
        let typed: Vec<String> = parts.iter().map(f64::to_string).collect();
        return Err(rest.value(&typed.join(" "), "two or more shares that add up to 1"));
    }
    Ok(parts)
}

/// The words after the first, sorted by what introduces them.
struct Arguments<'a> {
    usage: &'static Usage,
    words: VecDeque<&'a str>,
    via: Vec<String>,
    expected: Option<String>,
    /// What was read last.
    last: String,
}

impl<'a> Arguments<'a> {
    fn of(usage: &'static Usage, mut rest: impl Iterator<Item = &'a str>) -> Result<Self, CommandError> {
        let (takes_via, takes_expected) = (usage.arguments.contains("[via "), usage.arguments.contains("[expected "));
        let mut found = Self { usage, words: VecDeque::new(), via: Vec::new(), expected: None, last: String::new() };
        let mut is_via = false;
        while let Some(word) = rest.next() {
            match word {
                "via" if takes_via => is_via = true,
                "expected" if takes_expected => {
                    is_via = false;
                    found.expected =
                        Some(rest.next().ok_or_else(|| found.missing("the domain after expected"))?.into());
                }
                // Who writes a list with commas means the same.
                _ if is_via => {
                    found.via.extend(word.split(',').filter(|word| !word.is_empty()).map(str::to_owned));
                }
                _ => found.words.push_back(word),
            }
        }
        if is_via && found.via.is_empty() {
            return Err(found.missing("the node after via"));
        }
        Ok(found)
    }

    fn next(&mut self) -> Option<String> {
        let word = self.words.pop_front()?;
        self.last = word.to_owned();
        Some(self.last.clone())
    }

    fn word(&mut self, what: &'static str) -> Result<String, CommandError> {
        self.next().ok_or_else(|| self.missing(what))
    }

    /// One or more.
    fn some(&mut self, what: &'static str) -> Result<Vec<String>, CommandError> {
        let mut words = vec![self.word(what)?];
        words.extend(self.words.drain(..).map(str::to_owned));
        Ok(words)
    }

    fn optional<T>(
        &mut self,
        must: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, CommandError> {
        let Some(text) = self.next() else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| self.value(&text, must))
    }

    /// Whether this word is there, which may stand anywhere.
    fn flag(&mut self, word: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|other| *other != word);
        self.words.len() < before
    }

    fn via(&mut self) -> Vec<String> {
        std::mem::take(&mut self.via)
    }

    fn end(&mut self) -> Result<(), CommandError> {
        match self.next() {
            Some(word) => Err(CommandError::Usage { usage: self.usage, problem: Problem::Excess(word) }),
            None => Ok(()),
        }
    }

    fn missing(&self, what: &'static str) -> CommandError {
        CommandError::Usage { usage: self.usage, problem: Problem::Missing(what) }
    }

    fn value(&self, text: &str, must: &'static str) -> CommandError {
        CommandError::Usage { usage: self.usage, problem: Problem::Value { text: text.to_owned(), must } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Command {
        parse(line).unwrap().unwrap()
    }

    fn refused(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn the_words_of_the_seed_api_are_understood() {
        assert_eq!(parsed("new"), Command::New { count: 1, via: vec![] });
        assert_eq!(parsed(" new 5 via n1, 3f9a"), Command::New { count: 5, via: texts(["n1", "3f9a"]) });
        assert_eq!(parsed("run n3 50"), Command::Cadence { node: "n3".into(), every: 50 });
        assert_eq!(parsed("run n3 -1"), Command::Cadence { node: "n3".into(), every: -1 });
        assert_eq!(parsed("run 2m"), Command::Run(Ticks::minutes(2)));
        assert_eq!(parsed("kill n1 n2"), Command::Kill(texts(["n1", "n2"])));
        assert_eq!(
            parsed("register a.example via n1"),
            Command::Register { guid: None, domain: "a.example".into(), via: texts(["n1"]) }
        );
        assert_eq!(
            parsed("register 3f9a a.example"),
            Command::Register { guid: Some("3f9a".into()), domain: "a.example".into(), via: vec![] }
        );
        let route = Command::Route { guid: "u1".into(), expected: Some("a.example".into()), via: texts(["n1", "n2"]) };
        assert_eq!(parsed("route u1 expected a.example via n1 n2"), route);
        assert_eq!(parsed("route u1 via n1,n2 expected a.example"), route);
    }

    #[test]
    fn empty_lines_and_comments_are_nothing() {
        for line in ["", "   ", "# new 5", "  #"] {
            assert_eq!(parse(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn shares_are_numbers_or_percentages_and_the_missing_one_is_what_is_left() {
        assert_eq!(parsed("loss 10%"), Command::Loss(0.1));
        assert_eq!(parsed("loss 0"), Command::Loss(0.0));
        assert_eq!(parsed("partition"), Command::Partition { parts: vec![0.5, 0.5], one_way: false });
        assert_eq!(parsed("partition one-way 25%"), Command::Partition { parts: vec![0.25, 0.75], one_way: true });
        assert!(refused("partition 0.7 0.6").contains("add up to 1"));
        assert!(refused("partition 1").contains("add up to 1"));
        assert!(refused("loss NaN").contains("a share such as"));
    }

    #[test]
    fn an_error_says_what_to_write() {
        let line = "\"many\" must be a whole number from 1 to 10000000; write: new [N] [via NODE…]";
        assert_eq!(refused("new many"), line);
        assert_eq!(refused("route"), "a GUID is missing; write: route GUID [expected DOMAIN] [via NODE…]");
        assert_eq!(refused("heal n3"), "\"n3\" is one word too many; write: heal");
        assert!(refused("run n3").contains("must be a time such as 250ms or 2m"));
        assert!(refused("run n3 0").contains("\"0\" must be from 1, or -1 to halt"));
        assert!(refused("new via").starts_with("the node after via is missing"));
    }

    #[test]
    fn an_unknown_command_is_answered_with_the_one_that_may_be_meant() {
        assert_eq!(refused("lookup u1"), "there is no command \"lookup\", did you mean route?; help lists them all");
        assert!(refused("reg a.example").contains("did you mean register?"));
        assert!(refused("Kill n1").contains("did you mean kill?"));
        assert_eq!(refused("xyzzy"), "there is no command \"xyzzy\"; help lists them all");
        assert!(refused("help xyzzy").contains("no command"));
    }

    #[test]
    fn each_command_in_the_list_is_known_to_the_parser() {
        for usage in &COMMANDS {
            let line = match usage.name {
                "run" => "run 1s".to_owned(),
                "loss" => "loss 0.1".to_owned(),
                name if usage.arguments.is_empty() || usage.arguments.starts_with('[') && name != "register" => {
                    name.to_owned()
                }
                name => format!("{name} x"),
            };
            let is_end = parsed(&line) == Command::Quit;
            assert_eq!(is_end, usage.name == "quit", "{line}");
        }
        for (_, name) in OTHER_WORDS {
            assert!(COMMANDS.iter().any(|usage| usage.name == name), "{name}");
        }
    }
}
