//! The contributor's one command: `cargo xtask check` looks at everything, `cargo xtask fix` repairs what can be repaired,
//! `cargo xtask sim` runs the engine's simulation for long.
//!
//! It needs nothing but cargo; cargo-nextest and cargo-deny are used where they are installed.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};
use std::time::Instant;

/// One check: what it is called, the command, and what repairs it.
struct Step {
    name: &'static str,
    command: &'static [&'static str],
    repair: &'static str,
    /// A cargo subcommand that may be missing; then the step is left out, with a line.
    needs: Option<&'static str>,
}

const CHECK: &[Step] = &[
    Step { name: "format", command: &["fmt", "--all", "--check"], repair: "cargo xtask fix", needs: None },
    Step {
        name: "lints",
        command: &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
        repair: "cargo xtask fix, then by hand what is left",
        needs: None,
    },
    Step {
        name: "tests",
        command: &["test", "--release", "--workspace"],
        repair: "cargo test --release NAME, and mend the code",
        needs: None,
    },
    Step {
        name: "docs",
        command: &["doc", "--release", "--workspace", "--no-deps", "-q"],
        repair: "mend the doc comment that the message names",
        needs: None,
    },
    Step {
        name: "dependencies",
        command: &["deny", "check", "licenses", "bans", "sources"],
        repair: "deny.toml says which licences and crates are allowed, and why",
        needs: Some("deny"),
    },
];

const FIX: &[Step] = &[
    Step { name: "format", command: &["fmt", "--all"], repair: "", needs: None },
    Step {
        name: "lints",
        command: &["clippy", "--release", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"],
        repair: "",
        needs: None,
    },
];

/// Seeds of a long simulation.
const SIM_SEEDS: &str = "10000";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let steps = match arguments[..] {
        ["check"] => CHECK,
        ["fix"] => FIX,
        ["sim"] => return simulate(SIM_SEEDS, &[]),
        ["sim", "--seeds", seeds] => return simulate(seeds, &[]),
        ["sim", "--planted"] => return simulate(SIM_SEEDS, &["--features", "planted"]),
        _ => {
            eprintln!("usage: cargo xtask check | fix | sim [--seeds N | --planted]");
            return ExitCode::FAILURE;
        }
    };
    let failed: Vec<&Step> = steps.iter().filter(|step| !run(step)).collect();
    for step in &failed {
        eprintln!("{} failed; repair: {}", step.name, step.repair);
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The simulation of the engine (`crates/engine/tests/sim`): so many seeds, or, with planted bugs, as many as it takes.
fn simulate(seeds: &str, features: &[&str]) -> ExitCode {
    let mut command = cargo(&["test", "--release", "--package", "ibid-engine", "--test", "sim"]);
    command.args(features).args(["--", "--nocapture"]).env("IBID_SIM_SEEDS", seeds);
    if command.status().is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(step: &Step) -> bool {
    if let Some(tool) = step.needs
        && !cargo(&[tool, "--version"]).output().is_ok_and(|output| output.status.success())
    {
        eprintln!("{}: left out, cargo-{tool} is not installed (cargo install cargo-{tool})", step.name);
        return true;
    }
    #[allow(clippy::disallowed_methods, reason = "a build tool may look at the clock")]
    let start = Instant::now();
    let done = cargo(step.command).status().is_ok_and(|status| status.success());
    eprintln!("{}: {} ({:.0} s)", step.name, if done { "ok" } else { "FAILED" }, start.elapsed().as_secs_f64());
    done
}

fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    command
}
