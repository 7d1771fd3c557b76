//! The sandbox's command line.
//!
//! Results go to stdout, progress and complaints to stderr. The exit code is 0 if all went as expected, 1 if an
//! expectation failed (the report is printed all the same), 2 for bad usage or input.

use clap::{Parser, Subcommand};
use sandbox_cli::compare::{CompareError, TOLERANCE, compare_files, parse_tolerance};
use sandbox_cli::options::{self, Options, Transport};
use sandbox_cli::progress::Progress;
use sandbox_cli::render::{render, story};
use sandbox_cli::report::Report;
use sandbox_cli::runner::{RunError, execute};
use sandbox_cli::scale::{self, ScaleOptions};
use sandbox_cli::scenario::{ApplyError, DelaySpec, Do, Network, Scenario, ScenarioError};
use sandbox_cli::shell::{Shell, ShellError, ShellOptions};
use sandbox_cli::swarm::{SwarmError, SwarmOptions, swarm};
use sandbox_cli::trace::{TraceError, explain, lookups_of};
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// A large network is millions of small allocations: this allocator wastes less on each than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  sandbox-cli demo                                   what a newcomer runs first
  sandbox-cli run scenarios/quiet.toml --nodes 500   a network without faults
  sandbox-cli run scenarios/quiet.toml --nodes 500 --seed 3 --json
  sandbox-cli run scenarios/tiny-3.toml --transport tcp
  sandbox-cli run scenarios/federation.toml --nodes 500 --trace lookups.jsonl
  sandbox-cli explain lookups.jsonl 3f9a             one user's lookups, hop by hop
  sandbox-cli check scenarios/tiny-*.toml            scenarios as tests
  sandbox-cli compare before.json after.json         what differs between two reports, and what is worse
  sandbox-cli scale --nodes 1000,10000               what larger networks cost to simulate
  sandbox-cli swarm --runs 500                       random federations under random faults
  sandbox-cli shell --nodes 20                       a prompt: new, register, route, kill, …

A scenario without --nodes has its full size, which takes minutes; federation.toml half an hour and 4 GB.

Exit code: 0 done, 1 an expectation failed, 2 bad usage or input.";

/// What happens to a federation's lookup network if a third of it dies, splits or lies? Ask a simulated one.
#[derive(Parser, Debug)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a scenario and print what came of it
    #[command(after_help = "\
Examples:
  sandbox-cli run scenarios/quiet.toml --nodes 500
  sandbox-cli run scenarios/federation.toml --nodes 500 --servers mine.csv --matrix pings.csv
  sandbox-cli run scenarios/quiet.toml --nodes 500 --json | jq .digest
  sandbox-cli run scenarios/tiny-3.toml --transport tcp    on real nodes, in real time

The same scenario with the same seed gives the same digest, on any number of threads.")]
    Run {
        /// The scenario, a TOML file
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Run the built-in story: a thousand home-servers, of which a third dies at once, and users who are found all the same
    #[command(after_help = "\
Examples:
  sandbox-cli demo
  sandbox-cli demo --nodes 200 --trace lookups.jsonl")]
    Demo {
        #[command(flatten)]
        options: Options,
    },
    /// Run scenarios as tests: a line for each, and what they expected in vain
    #[command(after_help = "\
Examples:
  sandbox-cli check scenarios/tiny-*.toml
  sandbox-cli check --threads 1 scenarios/tiny-1.toml")]
    Check {
        /// The scenarios, TOML files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Run on this many threads [default: all cores]
        #[arg(long, value_name = "N", value_parser = options::threads, allow_negative_numbers = true)]
        threads: Option<NonZeroUsize>,
    },
    /// Tell what differs between two reports of one scenario, and what has become worse
    ///
    /// Worse: messages or bytes of a step, or of its operations, that have grown by more than a tenth, and operations that do not
    /// end right any more. Time and memory are told, and never judged. The exit code is 1 if anything is worse.
    #[command(after_help = "\
Examples:
  sandbox-cli run scenarios/moves.toml --nodes 200 --json > before.json
  (a change)
  sandbox-cli run scenarios/moves.toml --nodes 200 --json > after.json
  sandbox-cli compare before.json after.json")]
    Compare {
        /// The report before the change, as `run --json` printed it
        before: PathBuf,
        /// The report after it
        after: PathBuf,
        /// By which share costs may grow before that is worse
        #[arg(long, value_name = "SHARE", default_value_t = TOLERANCE)]
        #[arg(value_parser = parse_tolerance, allow_negative_numbers = true)]
        tolerance: f64,
        /// Print the result as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Tell what networks of several sizes cost to simulate, a row of a table for each
    ///
    /// Each node knows 256 others at most. All join, as many users are registered, a third of the nodes is killed, two
    /// minutes pass, as many users are looked up. Ten thousand nodes take some minutes.
    ///
    /// Beside the events a second stands how many a bare timing wheel delivers here on one thread, measured after the
    /// run: as many nodes and no protocol, but each event of 64 bytes reads and writes 1 KB of its node's state. `share`
    /// is the run's rate as a part of it.
    #[command(after_help = "\
Examples:
  sandbox-cli scale
  sandbox-cli scale --nodes 1000,10000,100000 --threads 1 > table.md")]
    Scale(ScaleOptions),
    /// Draw random small federations and faults, and check that every promise is kept
    ///
    /// All along: no forged answer, nobody is told less than before, no limit is passed. After all faults have ended:
    /// everything converges, and everybody is found. A run that fails is made smaller, and told with the one command that
    /// repeats it.
    #[command(after_help = "\
Examples:
  sandbox-cli swarm --runs 500
  sandbox-cli swarm --seed 7 --runs 2000 --json
  sandbox-cli swarm --seed 7 --only 314 --nodes 6 --steps 4,7-9   a run again, and only a part of it
  sandbox-cli swarm --seed 7 --only 314 --save failing            its scenario, to run and change")]
    Swarm(SwarmOptions),
    /// Do things to a simulated federation one by one, and look at what comes of them
    ///
    /// Lines come from the terminal or from a pipe. In a pipe nothing is asked for, lines that begin with # are comments,
    /// and the exit code is 1 if some line failed.
    #[command(after_help = "\
Examples:
  sandbox-cli shell --nodes 20
  sandbox-cli shell --seed 7 --nodes 20 < session.txt
  printf 'new 5\\nregister n3\\nkill n3\\nroute u1 expected n3\\n' | sandbox-cli shell

Once in it:
  help                          what can be typed
  new 5                         five nodes, which join
  register n000003.example      a new user, who lives there
  route u1                      where does the user live? Hop by hop
  run n3 -1                     halt a node; run n3 1 lets it go on
  run 2m                        let two minutes pass")]
    Shell(ShellOptions),
    /// Tell the lookups of one user hop by hop, from a trace that `run --trace` wrote
    #[command(after_help = "\
Examples:
  sandbox-cli run scenarios/quiet.toml --nodes 500 --trace lookups.jsonl
  sandbox-cli explain lookups.jsonl 3f9a")]
    Explain {
        /// The trace file
        trace: PathBuf,
        /// The user's GUID, or enough of its first digits to tell it from the others
        guid: String,
    },
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{}{error}", if error.is_placed() { String::new() } else { format!("{file}: ") })]
    Run { file: Box<str>, error: RunError },
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    #[error(transparent)]
    Shell(#[from] ShellError),
    #[error("cannot print: {0}")]
    Print(io::Error),
}

/// How a command ended that was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// All went as expected.
    Done,
    /// An expectation failed.
    Failed,
    /// Something that was given could not be used; it has been said already.
    Unusable,
}

impl Verdict {
    fn of(report: &Report) -> Self {
        if report.failed.is_empty() { Verdict::Done } else { Verdict::Failed }
    }
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run { file, options } => {
            Scenario::read(&file).map_err(Failure::from).and_then(|scenario| run(scenario, &options, render))
        }
        Command::Demo { options } => demo().and_then(|scenario| run(scenario, &options, story)),
        Command::Check { files, threads } => check(&files, &Options { threads, ..Options::default() }),
        Command::Compare { before, after, tolerance, json } => run_compare(&before, &after, tolerance, json),
        Command::Scale(options) => run_scale(&options),
        Command::Swarm(options) => run_swarm(&options),
        Command::Shell(options) => run_shell(&options),
        Command::Explain { trace, guid } => lookups_of(&trace, &guid, |note| anstream::eprintln!("{note}"))
            .map_err(Failure::from)
            .and_then(|found| print(&explain(&found)))
            .map(|()| Verdict::Done),
    };
    match ended {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::from(1),
        Ok(Verdict::Unusable) => ExitCode::from(2),
        Err(failure) => {
            anstream::eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs one scenario and prints its report: as JSON, or as the text that `told` makes of it.
fn run(mut scenario: Scenario, options: &Options, told: fn(&Scenario, &Report) -> String) -> Result<Verdict, Failure> {
    scenario.apply(options)?;
    let report = executed(&scenario, options)?;
    if options.json {
        print_json(&report)?;
    } else {
        print(&told(&scenario, &report))?;
    }
    Ok(Verdict::of(&report))
}

/// Compares two reports and prints what differs.
fn run_compare(before: &Path, after: &Path, tolerance: f64, json: bool) -> Result<Verdict, Failure> {
    let comparison = compare_files(before, after, tolerance)?;
    if json {
        print_json(&comparison)?;
    } else {
        print(&comparison.render())?;
    }
    Ok(if comparison.worse == 0 { Verdict::Done } else { Verdict::Failed })
}

/// Runs the scenario of `scale` at each size, and prints a row as soon as it is known.
fn run_scale(options: &ScaleOptions) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::Done;
    print(scale::HEAD)?;
    for nodes in options.sizes() {
        let mut scenario = built_in(scale::SCENARIO, "full/hundred-thousand.toml")?;
        scale::resize(&mut scenario, nodes);
        let options = Options { seed: options.seed, threads: options.threads, ..Options::default() };
        scenario.apply(&options)?;
        let report = executed(&scenario, &options)?;
        print(&scale::row(&report, scale::bare_wheel(nodes, report.seed)))?;
        for sentence in &report.failed {
            verdict = Verdict::Failed;
            anstream::eprintln!("{nodes} nodes: {sentence}");
        }
    }
    Ok(verdict)
}

/// Carries out a swarm and prints what it found.
fn run_swarm(options: &SwarmOptions) -> Result<Verdict, Failure> {
    let runs = if options.only.is_some() { 1 } else { options.runs };
    let progress = Progress::of_runs(runs, options.json);
    let result = swarm(options, &progress);
    progress.finish();
    let findings = result?;
    if options.json {
        print_json(&findings)?;
    } else {
        print(&findings.render())?;
    }
    Ok(if findings.failures.is_empty() { Verdict::Done } else { Verdict::Failed })
}

/// Opens a shell: for a person at a terminal, else for what comes through a pipe.
fn run_shell(options: &ShellOptions) -> Result<Verdict, Failure> {
    let mut shell = Shell::open(options)?;
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        shell.converse()?;
        return Ok(Verdict::Done);
    }
    match shell.obey(io::stdin().lock(), &mut anstream::stdout().lock(), &mut anstream::stderr().lock()) {
        Ok(0) => Ok(Verdict::Done),
        Ok(_) => Ok(Verdict::Failed),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Verdict::Done),
        Err(error) => Err(ShellError::Io(error).into()),
    }
}

/// The judged report of a scenario.
fn executed(scenario: &Scenario, options: &Options) -> Result<Report, Failure> {
    let begin = match options.transport {
        Transport::Sim => Progress::new,
        Transport::Tcp => Progress::in_real_time,
    };
    let progress = begin(scenario.steps.len(), options.json);
    let result = execute(scenario, options, &progress);
    progress.finish();
    let mut report = result.map_err(|error| Failure::Run { file: scenario.file.as_str().into(), error })?;
    report.judge(scenario);
    Ok(report)
}

/// The built-in story.
fn demo() -> Result<Scenario, Failure> {
    built_in(include_str!("../../scenarios/demo.toml"), "demo.toml")
}

/// A scenario of the source tree, `file` in its folder. Its data lie there, too; a binary far away from it does without
/// them.
fn built_in(text: &str, file: &str) -> Result<Scenario, Failure> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios")).join(file);
    let mut scenario = Scenario::parse(text, file, path.parent().unwrap_or(&path))?;
    let mut invented = Vec::new();
    for step in &mut scenario.steps {
        if let Do::Join(join) = &mut step.what
            && join.nodes.is_some()
            && join.servers.take_if(|file| !file.exists()).is_some()
        {
            invented.push("servers");
        }
    }
    if matches!(&scenario.network.delay, DelaySpec::Matrix { file, .. } if !file.exists()) {
        scenario.network.delay = Network::default().delay;
        invented.push("delays");
    }
    if !invented.is_empty() {
        anstream::eprintln!("measured {} are not at hand: this runs with invented ones", invented.join(" and "));
    }
    Ok(scenario)
}

/// Runs scenarios as tests: all of them, whatever becomes of the others.
fn check(files: &[PathBuf], options: &Options) -> Result<Verdict, Failure> {
    let (mut passed, mut failed, mut verdict) = (0, 0, Verdict::Done);
    for file in files {
        let began = Instant::now();
        let result = Scenario::read(file).map_err(Failure::from).and_then(|scenario| {
            let report = executed(&scenario, options)?;
            Ok((scenario.name, report))
        });
        match result {
            Ok((name, report)) if report.failed.is_empty() => {
                passed += 1;
                let plural = |is_one: bool| if is_one { "" } else { "s" };
                let (nodes, steps) = (report.nodes, report.steps.len());
                let facts = format!("{nodes} node{}, {steps} step{}", plural(nodes == 1), plural(steps == 1));
                print(&format!("ok {name} ({facts}, {:.1} s)\n", began.elapsed().as_secs_f64()))?;
            }
            Ok((name, report)) => {
                failed += 1;
                if verdict == Verdict::Done {
                    verdict = Verdict::Failed;
                }
                print(&format!("FAILED {name} ({})\n", report.failed.join("; ")))?;
            }
            Err(failure) => {
                failed += 1;
                verdict = Verdict::Unusable;
                print(&format!("FAILED {} ({failure})\n", file.display()))?;
            }
        }
    }
    print(&format!("{passed} passed, {failed} failed\n"))?;
    Ok(verdict)
}

/// Writes something to stdout as one JSON object.
fn print_json(what: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(what).map_err(|error| Failure::Print(error.into()))?;
    print(&format!("{json}\n"))
}

/// Writes to stdout, with colours where they are wanted. A reader that has seen enough is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_demo_can_be_told_with_and_without_its_data() {
        let scenario = demo().unwrap();
        assert_eq!(scenario.name, "demo");
        assert!(matches!(&scenario.steps[0].what, Do::Join(join) if join.nodes == Some(1_000)));
    }

    #[test]
    fn options_that_a_run_takes_are_those_of_the_handbook() {
        let line = "sandbox-cli run a.toml --seed 3 --nodes 5 --servers s.csv --matrix m.csv --threads 2 --driver \
                    --transport sim --json --trace t.jsonl";
        let Command::Run { file, options } = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command");
        };
        assert_eq!((file, options.seed, options.nodes), (PathBuf::from("a.toml"), Some(3), Some(5)));
        assert!(options.driver && options.json && options.trace.is_some());
        for line in ["sandbox-cli run", "sandbox-cli run a.toml --nodes 0", "sandbox-cli check", "sandbox-cli fly"] {
            assert_eq!(Cli::try_parse_from(line.split_whitespace()).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn numbers_that_no_run_can_have_are_refused_with_those_that_it_can() {
        let threads = ["run a.toml", "demo", "check a.toml", "scale", "swarm"].into_iter().flat_map(|command| {
            ["0", "-1", "1025", "18446744073709551615"]
                .map(|number| (format!("{command} --threads {number}"), "1 to 1024"))
        });
        let nodes = ["run a.toml", "demo", "scale", "swarm --only 1"].into_iter().flat_map(|command| {
            ["0", "-3", "4294967295"].map(|number| (format!("{command} --nodes {number}"), "1..=10000000"))
        });
        let others = [
            ("shell --nodes 10000001".to_owned(), "0..=10000000"),
            ("swarm --only 4294967295".to_owned(), "0..=4294967294"),
            ("swarm --only 1 --steps 9-4".to_owned(), "9-4 ends before it begins"),
            ("swarm --only 1 --steps 1-99999999999".to_owned(), "is no step"),
            ("run a.toml --seed -1".to_owned(), "invalid digit found in string"),
            ("compare a.json b.json --tolerance nan".to_owned(), "must be a number, 0 or more"),
            ("compare a.json b.json --tolerance -0.1".to_owned(), "must be a number, 0 or more"),
        ];
        for (line, possible) in threads.chain(nodes).chain(others) {
            let error = Cli::try_parse_from(["sandbox-cli"].into_iter().chain(line.split_whitespace())).unwrap_err();
            assert!(error.to_string().contains(possible), "{line}: {error}");
        }
    }

    #[test]
    fn the_sizes_that_the_help_of_scale_names_can_be_typed() {
        let help = Cli::command().find_subcommand_mut("scale").unwrap().render_help().to_string();
        assert!(help.contains("[default: 1000,3000]"), "{help}");
        let Command::Scale(options) = Cli::try_parse_from(["sandbox-cli", "scale"]).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(options.sizes(), [1_000, 3_000]);
    }
}
