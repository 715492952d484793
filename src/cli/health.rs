//! `lockbroker health`: asks a broker's health service. For containers, whose image has no other program that can ask.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::common::{ServerArgs, fail};
use crate::client::{Connector, broken};
use crate::config::duration;
use crate::output::say;

/// Say whether a broker is of use
///
/// Says nothing if it is, and in one line why not otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 a broker says SERVING; 1 none does; 2 wrong usage.")]
pub struct HealthArgs {
    /// Service to ask about: `readiness` or nothing tells if the broker can grant locks and takes new work; `liveness`
    /// tells if it answers
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// Longest time for the answer, connecting included
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: HealthArgs) -> ExitCode {
    let connectors = match args.server.client().connectors() {
        Ok(connectors) => connectors,
        Err(error) => return fail(&error),
    };
    let share = args.timeout / u32::try_from(connectors.len()).unwrap_or(u32::MAX);
    let mut reasons = Vec::new();
    for connector in connectors {
        match ask(&connector, &args.service, share).await {
            Ok(()) => return ExitCode::SUCCESS,
            Err(why) => reasons.push(why),
        }
    }
    say(reasons.join("; "));
    ExitCode::FAILURE
}

/// Asks one broker, and returns why it is of no use.
async fn ask(connector: &Connector, service: &str, within: Duration) -> Result<(), String> {
    let name = connector.name();
    let mut health = HealthClient::new(connector.connect_lazy());
    let call = health.check(HealthCheckRequest { service: service.to_owned() });
    let answer = tokio::time::timeout(within, call).await;
    if let Some(why) = connector.trouble().take() {
        return Err(why.to_string());
    }
    Err(match answer {
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => return Ok(()),
        Ok(Ok(answer)) => format!("the broker at {name} says {}", answer.get_ref().status().as_str_name()),
        Ok(Err(status)) if status.code() == Code::NotFound => {
            format!("the broker at {name} knows no service {service:?}")
        }
        Ok(Err(status)) => match status.source() {
            Some(cause) => format!("no connection to a broker at {name}: {}", broken(cause)),
            None => format!("the broker at {name} cannot answer: {}", status.message()),
        },
        Err(_) => format!("no answer from {name} within {}", humantime::format_duration(within)),
    })
}
