//! `lockbroker bench`: measures how much a broker does in a second, and how long its clients wait.
//!
//! A mode is a kind of load. All modes note what they see in a [`measure::Tally`], failures as well, and end in one
//! report.

mod connect;
mod cycle;
mod disconnect;
mod hand_over;
mod hold;
mod holder;
pub mod lane;
pub mod measure;
mod progress;
mod report;
pub mod session;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub use connect::{Socket, connect, connect_by_socket};

use super::common::{TlsArgs, fail};
use crate::client::{self, DEFAULT_SERVER};
use crate::config::threads;
use crate::output::{print, say};
use report::Report;

/// The time beyond the end that calls which began in time may take before they count as unanswered.
const GRACE: Duration = Duration::from_secs(10);

/// Measure a broker that runs somewhere
///
/// Names are the bench's own, new ones in every run. All times are taken by this process, which needs CPU of its own:
/// on the broker's machine the two share it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 measured, even if some calls failed, which is shown; 1 nothing succeeded; \
    2 wrong usage.")]
pub struct BenchArgs {
    #[command(subcommand)]
    mode: Mode,
    /// Number of threads that make the load, 1 to 1024: more where one is too slow for the broker
    #[arg(long, global = true, value_name = "COUNT", default_value = "1", value_parser = threads)]
    pub threads: NonZeroUsize,
}

#[derive(Debug, clap::Subcommand)]
enum Mode {
    /// Acquire and release, each caller under a name of its own
    Cycle(cycle::CycleArgs),
    /// One name, which goes from each holder to the next: from the release being sent to the next grant received
    ///
    /// A holder releases once all others are in line. Given two brokers, the callers are spread over both, and the
    /// hand-overs from one to the other are shown by themselves.
    HandOver(hand_over::HandOverArgs),
    /// Hold locks and do nothing else: what renewing them costs, and whether one is lost
    Hold(hold::HoldArgs),
    /// Close a holder's connection: from then until a waiter for each of its locks has been granted it
    ///
    /// The socket is shut down without a word of HTTP/2, as the kernel does for a process that is killed. Given two
    /// brokers, the waiters are at the second.
    Disconnect(disconnect::DisconnectArgs),
}

/// The arguments of all modes.
#[derive(Debug, Clone, clap::Args)]
struct CommonArgs {
    /// A broker: http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH; several, with commas or given several
    /// times, share the connections in turn
    #[arg(
        long,
        value_name = "URL",
        env = "LOCKBROKER_SERVER",
        value_delimiter = ',',
        default_value = DEFAULT_SERVER
    )]
    server: Vec<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Time to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Write the results as JSON, too; `-` is stdout, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A broker's process on this machine, of which CPU time and memory are measured; may be given several times
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
}

/// The time to work before measuring, in the modes that have a steady state to reach.
#[derive(Debug, clap::Args)]
struct WarmUp {
    /// Time to work before measuring
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
}

/// The reason for which nothing was measured.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Endpoint(#[from] client::Error),
    #[error("cannot connect to the broker at {server}: {why}")]
    Connect { server: String, why: String },
    #[error("the broker at {server} opens no Session: {why}")]
    Session { server: String, why: String },
    #[error("{0}; name a broker's process on this machine by --pid")]
    Process(String),
    #[error("{0}")]
    Setup(String),
}

/// Runs the command.
pub async fn run(args: BenchArgs) -> ExitCode {
    let (common, outcome) = match &args.mode {
        Mode::Cycle(args) => (&args.common, cycle::run(args).await),
        Mode::HandOver(args) => (&args.common, hand_over::run(args).await),
        Mode::Hold(args) => (&args.common, hold::run(args).await),
        Mode::Disconnect(args) => (&args.common, disconnect::run(args).await),
    };
    match outcome {
        Ok(report) => show(&report, common),
        Err(Error::Endpoint(error)) => fail(&error),
        Err(error) => {
            say(error);
            ExitCode::FAILURE
        }
    }
}

fn show(report: &Report, args: &CommonArgs) -> ExitCode {
    let as_json = format!("{:#}\n", report.json());
    let printed = match &args.json {
        Some(path) if path.as_os_str() == "-" => print(&as_json),
        Some(path) => {
            let printed = print(&report.table());
            if let Err(error) = std::fs::write(path, as_json) {
                say(format_args!("cannot write {}: {error}", path.display()));
                return ExitCode::FAILURE;
            }
            printed
        }
        None => print(&report.table()),
    };
    if report.results.series.is_empty() {
        say("nothing succeeded");
        return ExitCode::FAILURE;
    }
    printed
}

/// Returns the prefix of all names of this run.
fn prefix() -> String {
    format!("bench-{:08x}", rand::random::<u32>())
}
