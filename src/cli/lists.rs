//! Lists as brokers answer them: asked for, shown as tables or as JSON, and watched.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde_json::{Value, json};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::common::{PROTOCOL, REFUSED, ServerArgs, UNAVAILABLE, USAGE, by_option, fail};
use crate::client::{Connector, DEFAULT_ANSWER_TIMEOUT, Error, broken};
use crate::output::{print, say};
use crate::proto::lock_admin_client::LockAdminClient;

/// The longest time until a broker answers, or goes on: it gives up earlier itself.
const ANSWER: Duration = Duration::from_secs(40);
/// The time between two lists that are compared.
const WATCH: Duration = Duration::from_secs(2);

/// The ways to show a list.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Write a line of JSON for each
    #[arg(long)]
    pub(super) json: bool,
    /// List again every 2 s, until interrupted: on a terminal the table, elsewhere and with --json what comes and goes
    #[arg(long)]
    pub(super) watch: bool,
    /// Most entries to list, the first by name [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    limit: Option<i32>,
}

/// The reason for which there is no list.
#[derive(Debug)]
pub(super) enum Failed {
    /// Without asking, or as the two sides cannot talk.
    Client(Error),
    /// A broker, or nobody at that address, said so.
    Answer(String, Status),
    /// There was no answer.
    NoAnswer(String),
    /// The name of a broker cannot be resolved, for this reason.
    Unresolved(String, io::Error),
}

/// The thing by which an entry is known again.
pub(super) type Key = [String; 3];

/// A line of a table.
pub(super) trait Row {
    /// The heads of the columns.
    const COLUMNS: &'static [&'static str];

    /// Returns a cell for each column.
    fn cells(&self) -> Vec<String>;
}

/// An entry of a list.
pub(super) trait Entry: Row {
    /// Returns what stays the same for as long as the entry does. Others may have the same.
    fn key(&self) -> Key;
    fn json(&self) -> Value;
}

/// A list, and what is to be said of it.
pub(super) struct List<E> {
    pub(super) entries: Vec<E>,
    /// The number of all that there are, also beyond the limit.
    pub(super) total: usize,
    /// The brokers that did not answer.
    pub(super) failed: Vec<Failed>,
}

impl<E> List<E> {
    /// Returns a list of nothing.
    pub(super) fn new() -> List<E> {
        List { entries: Vec::new(), total: 0, failed: Vec::new() }
    }

    /// Says how many there are, if these are not all.
    fn rest(&self) -> Option<String> {
        let (listed, total) = (self.entries.len(), self.total);
        (listed < total).then(|| format!("these are {listed} of {total}; --limit says how many are listed"))
    }
}

impl ShowArgs {
    /// Returns the limit as it is sent.
    pub(super) fn limit(&self) -> i32 {
        self.limit.unwrap_or_default()
    }

    /// Shows what `ask` lists, once or again and again.
    pub(super) async fn show<E: Entry>(&self, ask: impl AsyncFn() -> Result<List<E>, Failed>) -> ExitCode {
        if self.watch {
            return self.watch(ask).await;
        }
        match ask().await {
            Err(failed) => failed.tell(),
            Ok(list) => {
                let printed = print(&if self.json { lines(&list.entries) } else { table(&list.entries, None) });
                if let Some(text) = list.rest() {
                    say(text);
                }
                let failed = list.failed.iter().fold(None, |_, failed| Some(failed.tell()));
                if printed == ExitCode::SUCCESS { failed.unwrap_or(printed) } else { printed }
            }
        }
    }

    async fn watch<E: Entry>(&self, ask: impl AsyncFn() -> Result<List<E>, Failed>) -> ExitCode {
        let redraws = !self.json && io::stdout().is_terminal();
        let mut known = Known::new();
        loop {
            let text = match ask().await {
                // What may be better the next time.
                Err(failed) if failed.is_temporary() => {
                    failed.tell();
                    String::new()
                }
                Err(failed) => return failed.tell(),
                Ok(list) if redraws => {
                    let failed = list.failed.iter().map(|failed| format!("{}\n", failed.text())).collect::<String>();
                    let rest = list.rest().map(|rest| rest + "\n").unwrap_or_default();
                    format!("\x1b[H\x1b[2J{failed}{rest}{}", table(&list.entries, rows()))
                }
                // Those of a broker that does not answer may still be there.
                Ok(list) if !list.failed.is_empty() => {
                    for failed in &list.failed {
                        failed.tell();
                    }
                    String::new()
                }
                Ok(list) => self.changes(&mut known, &list.entries),
            };
            let printed = print(&text);
            if printed != ExitCode::SUCCESS {
                return printed;
            }
            sleep(WATCH).await;
        }
    }

    /// Returns a line for each entry that has come or gone, and takes note of them.
    fn changes<E: Entry>(&self, known: &mut Known, entries: &[E]) -> String {
        let line = |mark: &str, (text, json): &(String, Value)| match self.json {
            true => format!("{}\n", json!({ "event": if mark == "+" { "came" } else { "went" }, "entry": json })),
            false => format!("{mark} {text}\n"),
        };
        let mut now = Known::new();
        for entry in entries {
            let (key, mut number) = (entry.key(), 0);
            while now.contains_key(&(key.clone(), number)) {
                number += 1;
            }
            now.insert((key, number), (entry.cells().join("  "), entry.json()));
        }
        let went = known.iter().filter(|(key, _)| !now.contains_key(key)).map(|(_, entry)| line("-", entry));
        let came = now.iter().filter(|(key, _)| !known.contains_key(key)).map(|(_, entry)| line("+", entry));
        let changes = went.chain(came).collect();
        *known = now;
        changes
    }
}

/// The entries of the last list, each as a line of text and as JSON. Those with the same key are numbered.
type Known = BTreeMap<(Key, usize), (String, Value)>;

fn lines<E: Entry>(entries: &[E]) -> String {
    entries.iter().map(|entry| format!("{}\n", entry.json())).collect()
}

/// Returns the entries under the heads of their columns; as many as there are `rows` for, and how many are left out.
pub(super) fn table<R: Row>(entries: &[R], rows: Option<usize>) -> String {
    let shown = rows.map_or(entries.len(), |rows| rows.saturating_sub(3)).min(entries.len());
    let head = R::COLUMNS.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(entries[..shown].iter().map(R::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..R::COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    if shown < entries.len() {
        text += &format!("and {} more\n", entries.len() - shown);
    }
    text
}

/// Returns the number of lines that the terminal has, if it says.
fn rows() -> Option<usize> {
    tcgetwinsize(io::stdout()).ok().map(|size| size.ws_row.into()).filter(|&rows| rows > 0)
}

/// Returns a text as one that no terminal takes for a command.
pub(super) fn plain(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    if plain.is_empty() { "-".to_owned() } else { plain }
}

/// Returns a span as people read it, in whole seconds.
pub(super) fn seconds(span: Option<prost_types::Duration>) -> String {
    let span = span.and_then(|span| Duration::try_from(span).ok());
    span.map_or_else(
        || "-".to_owned(),
        |span| humantime::format_duration(Duration::from_secs(span.as_secs())).to_string(),
    )
}

/// Returns a span as programs read it.
pub(super) fn as_seconds(span: Option<prost_types::Duration>) -> Option<f64> {
    span.and_then(|span| Duration::try_from(span).ok()).map(|span| span.as_secs_f64())
}

/// Asks one broker after the other until one answers: all of them have the same store.
pub(super) async fn ask_any<R>(
    server: &ServerArgs,
    mut ask: impl AsyncFnMut(&Connector) -> Result<R, Failed>,
) -> Result<R, Failed> {
    let mut last = None;
    for connector in server.client().connectors().map_err(Failed::Client)? {
        match ask(&connector).await {
            Err(failed) if failed.is_temporary() => last = Some(failed),
            answer => return answer,
        }
    }
    Err(last.expect("there is at least one broker"))
}

/// Connects to a broker, calls it, and reads all parts of its answer.
pub(super) async fn ask<R>(
    connector: &Connector,
    call: impl AsyncFnOnce(LockAdminClient<Channel>) -> Result<tonic::Response<Streaming<R>>, Status>,
    mut take: impl FnMut(R),
) -> Result<(), Failed> {
    let mut parts = ask_once(connector, call).await?;
    let part = async |parts: &mut Streaming<R>| timeout(ANSWER, parts.message()).await;
    while let Some(part) = answer(connector, part(&mut parts).await)? {
        take(part);
    }
    Ok(())
}

/// Connects to a broker, and calls it.
pub(super) async fn ask_once<R>(
    connector: &Connector,
    call: impl AsyncFnOnce(LockAdminClient<Channel>) -> Result<tonic::Response<R>, Status>,
) -> Result<R, Failed> {
    let channel = timeout(DEFAULT_ANSWER_TIMEOUT, connector.connect()).await;
    let channel = channel.map(|connected| connected.map_err(|error| Status::from_error(Box::new(error))));
    let stub = LockAdminClient::new(answer(connector, channel)?);
    Ok(answer(connector, timeout(ANSWER, call(stub)).await)?.into_inner())
}

/// Says why there is no answer, if there is none.
fn answer<R>(connector: &Connector, answer: Result<Result<R, Status>, Elapsed>) -> Result<R, Failed> {
    let name = || connector.name().to_owned();
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(match connector.trouble().take() {
            Some(error) => Failed::Client(error),
            None => Failed::Answer(name(), status),
        }),
        Err(_) => Err(Failed::NoAnswer(name())),
    }
}

impl Failed {
    /// Returns true if another broker, or the same one later, may answer.
    pub(super) fn is_temporary(&self) -> bool {
        self.code() == UNAVAILABLE
    }

    fn code(&self) -> u8 {
        match self {
            Failed::Client(Error::Endpoint { .. } | Error::Tls { .. } | Error::Invalid { .. }) => USAGE,
            Failed::Client(Error::Denied { .. } | Error::Handshake { .. }) => REFUSED,
            Failed::Client(Error::Unexpected { .. } | Error::Protocol { .. }) => PROTOCOL,
            Failed::Client(_) | Failed::NoAnswer(_) | Failed::Unresolved(..) => UNAVAILABLE,
            Failed::Answer(_, status) if status.source().is_some() => UNAVAILABLE,
            Failed::Answer(_, status) => match status.code() {
                Code::InvalidArgument => USAGE,
                Code::PermissionDenied | Code::Unauthenticated => REFUSED,
                Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => UNAVAILABLE,
                // Its store does not list.
                Code::Unimplemented if !status.details().is_empty() => UNAVAILABLE,
                _ => PROTOCOL,
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Failed::Client(error) => error.to_string(),
            Failed::NoAnswer(name) => format!("the broker at {name} did not answer in time"),
            Failed::Unresolved(name, why) => format!("the broker's name in {name} cannot be resolved: {why}"),
            Failed::Answer(name, status) => match (status.source(), status.code()) {
                (Some(cause), _) => format!("no connection to a broker at {name}: {}", broken(cause)),
                (None, Code::InvalidArgument) => {
                    by_option(status.message()).unwrap_or_else(|| status.message().to_owned())
                }
                (None, Code::PermissionDenied | Code::Unauthenticated) => {
                    format!("{}; the broker's --policy says who may do what", status.message())
                }
                (None, _) => format!("the broker at {name} cannot do it: {}", status.message()),
            },
        }
    }

    /// Says what went wrong and what to do about it, and returns the exit code.
    pub(super) fn tell(&self) -> ExitCode {
        if let Failed::Client(error) = self {
            return fail(error);
        }
        say(self.text());
        self.code().into()
    }
}
