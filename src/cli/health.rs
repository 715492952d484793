//! `lockbroker health`: asks a broker's health service. For containers, whose image has nothing else to ask with.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::common::{ServerArgs, fail, say};
use crate::client::chain;

/// Say whether a broker is of use
///
/// Says nothing if it is, and in one line why not otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the broker says SERVING; 1 it says something else, or nothing; 2 wrong usage.")]
pub struct HealthArgs {
    /// What to ask about: `readiness`, the same as nothing, is whether it can grant locks and takes new work;
    /// `liveness` is whether it answers
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// How long the answer may take, connecting included
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: HealthArgs) -> ExitCode {
    let connector = match args.server.client().connector() {
        Ok(connector) => connector,
        Err(error) => return fail(&error),
    };
    let request = HealthCheckRequest { service: args.service.clone() };
    let mut health = HealthClient::new(connector.connect_lazy());
    let why = match tokio::time::timeout(args.timeout, health.check(request)).await {
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => return ExitCode::SUCCESS,
        Ok(Ok(answer)) => format!("the broker says {}", answer.get_ref().status().as_str_name()),
        Ok(Err(status)) if status.code() == Code::NotFound => {
            format!("the broker knows no service {:?}", args.service)
        }
        Ok(Err(status)) => match status.source() {
            Some(cause) => format!("no connection to a broker at {}: {}", args.server.server, chain(cause)),
            None => format!("the broker cannot answer: {}", status.message()),
        },
        Err(_) => format!("no answer within {}", humantime::format_duration(args.timeout)),
    };
    say(why);
    ExitCode::FAILURE
}
