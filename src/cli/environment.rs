//! Reads the command line together with the environment, and names in each error which of the two it came from.
//!
//! An empty variable counts as unset, since Compose files and Helm charts make empty ones where nothing was set. But
//! some settings must not be lost silently: an empty one of `STRICT` is wrong usage.

use std::env;
use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory, FromArgMatches};

use crate::output::stderr;

/// The settings that must not be empty: unset, they would mean another set of locks than the others use, plain text, no
/// audit, or that everybody may do everything.
const STRICT: [&str; 11] = [
    "LOCKBROKER_SERVER",
    "LOCKBROKER_STORE",
    "LOCKBROKER_KEY_PREFIX",
    "LOCKBROKER_AUDIT",
    "LOCKBROKER_POLICY",
    "LOCKBROKER_TLS_CERT",
    "LOCKBROKER_TLS_KEY",
    "LOCKBROKER_TLS_CLIENT_CA",
    "LOCKBROKER_CLIENT_TLS_CA",
    "LOCKBROKER_CLIENT_TLS_CERT",
    "LOCKBROKER_CLIENT_TLS_KEY",
];

/// Parses this process' arguments and environment. Ends the process where they are wrong, or ask for help.
pub fn parse<C: CommandFactory + FromArgMatches>() -> C {
    let matches = without_empty(C::command()).try_get_matches();
    let parsed = matches.and_then(|mut matches| C::from_arg_matches_mut(&mut matches));
    parsed.unwrap_or_else(|error| exit::<C>(&error))
}

/// Prints an error of usage, names the variables that it may have come from, and ends the process.
pub fn exit<C: CommandFactory>(error: &clap::Error) -> ! {
    // Whoever does not read it learns from the exit code.
    let _ = error.print();
    if error.use_stderr() {
        let text = error.to_string();
        let all = in_use(&C::command());
        let named: Vec<_> = all.iter().filter(|(flag, _)| mentions(&text, flag)).collect();
        let variables: Vec<_> = if named.is_empty() { all.iter().collect() } else { named };
        let variables: Vec<_> = variables.into_iter().map(|(_, variable)| shown(variable)).collect();
        if !variables.is_empty() {
            stderr().write(format!("Set by the environment: {}\n", variables.join(", ")).as_bytes());
            stderr().flush();
        }
    }
    std::process::exit(error.exit_code())
}

/// Returns where a setting came from: the variable, if it is set and the flag was not given.
pub fn origin(flag: &'static str, variable: &'static str) -> &'static str {
    if is_set(variable) && !is_given(flag) { variable } else { flag }
}

fn without_empty(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        match variable {
            Some(name) if env::var_os(&name).is_some() && !is_set(&name) => arg.env(None),
            _ => arg,
        }
    });
    command.mut_subcommands(without_empty)
}

/// Returns true if a variable counts: it has a value, or must have one.
fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty() || STRICT.contains(&variable))
}

/// Returns the flags that variables have set, with these, of the subcommand that was asked for.
fn in_use(command: &Command) -> Vec<(String, String)> {
    let mut found: Vec<_> = command.get_arguments().filter_map(set_by_variable).collect();
    let mut command = command;
    for argument in arguments() {
        if let Some(subcommand) = command.find_subcommand(&argument) {
            found.extend(subcommand.get_arguments().filter_map(set_by_variable));
            command = subcommand;
        }
    }
    found
}

fn set_by_variable(arg: &Arg) -> Option<(String, String)> {
    let (flag, variable) = (format!("--{}", arg.get_long()?), arg.get_env()?.to_string_lossy().into_owned());
    (is_set(&variable) && !is_given(&flag)).then_some((flag, variable))
}

fn is_given(flag: &str) -> bool {
    arguments().any(|argument| {
        let argument = argument.to_string_lossy();
        argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// Returns the arguments of this program, without those of a command that it is to run.
fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os().skip(1).take_while(|argument| argument != "--")
}

/// Returns true if `text` speaks of exactly this flag.
fn mentions(text: &str, flag: &str) -> bool {
    text.match_indices(flag).any(|(at, _)| {
        let next = text[at + flag.len()..].chars().next();
        !next.is_some_and(|next| next.is_alphanumeric() || next == '-')
    })
}

fn shown(variable: &str) -> String {
    let is_empty = env::var_os(variable).is_some_and(|value| value.is_empty());
    if is_empty { format!("{variable}, which is empty: unset it or give it a value") } else { variable.to_owned() }
}
