//! Shows what each client does, as a table.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::scenarios::{self, Scenario};

/// The matrix for readers.
const PAGE: &str = "docs/conformance.md";

/// The result of a scenario in a language.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Passed,
    /// The reason for which the language cannot do it.
    Unsupported(String),
    /// Has the words of its panic.
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) rows: Vec<&'static Scenario>,
    /// A language, and what came of each row.
    pub(crate) columns: Vec<(String, Vec<Outcome>)>,
}

impl Matrix {
    /// Returns the language, the id and the reason of each failure.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.columns.iter().flat_map(|(language, outcomes)| {
            self.rows.iter().zip(outcomes).filter_map(move |(row, outcome)| match outcome {
                Outcome::Failed(why) => Some((language.as_str(), row.id, why.as_str())),
                _ => None,
            })
        })
    }

    pub(crate) fn summary(&self) -> String {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.columns.iter().flat_map(|(_, outcomes)| outcomes).filter(|&outcome| wanted(outcome)).count()
        };
        format!(
            "{} passed, {} failed, {} not possible in the language",
            count(|outcome| matches!(outcome, Outcome::Passed)),
            count(|outcome| matches!(outcome, Outcome::Failed(_))),
            count(|outcome| matches!(outcome, Outcome::Unsupported(_))),
        )
    }

    /// Writes the page for readers.
    pub(crate) fn write(&self) {
        fs::write(root().join(PAGE), self.page()).unwrap();
    }

    /// Returns true if it has all scenarios, and all languages that bring a testee.
    pub(crate) fn is_whole(&self) -> bool {
        let mut testees = Vec::new();
        for client in fs::read_dir(root().join("clients")).unwrap().map(|entry| entry.unwrap()) {
            let files = fs::read_dir(client.path()).unwrap().map(|entry| entry.unwrap().file_name());
            for suffix in
                files.filter_map(|file| file.to_str().and_then(|file| file.strip_prefix("testee")).map(str::to_owned))
            {
                testees.push(format!("{}{suffix}", client.file_name().display()));
            }
        }
        testees.sort();
        self.rows.len() == scenarios::all().count() && self.columns.iter().map(|(language, _)| language).eq(&testees)
    }

    /// Returns true if the page says otherwise.
    pub(crate) fn is_page_stale(&self) -> bool {
        fs::read_to_string(root().join(PAGE)).unwrap_or_default() != self.page()
    }

    fn page(&self) -> String {
        let mut page = String::from(
            "# What the clients do\n\n\
             For people who choose a client, or write one. Each row is a scenario that\n\
             [a program](../tests/conformance/README.md) puts every client through, against real brokers on a real\n\
             memcached. That program writes this page: `scripts/test-clients --only conformance -- --write`.\n\n",
        );
        let languages: Vec<_> = self.columns.iter().map(|(language, _)| language.as_str()).collect();
        let _ = writeln!(page, "| id | what a client does | {} |", languages.join(" | "));
        let _ = writeln!(page, "|---|---|{}", "---|".repeat(languages.len()));
        for (index, row) in self.rows.iter().enumerate() {
            let _ = write!(page, "| `{}` | {} |", row.id, row.says);
            for (_, outcomes) in &self.columns {
                let _ = write!(page, " {} |", mark(&outcomes[index]));
            }
            page.push('\n');
        }
        let _ = writeln!(page, "\n{}", legend(&self.columns));
        page
    }
}

fn legend(columns: &[(String, Vec<Outcome>)]) -> String {
    let mut reasons: Vec<_> = columns
        .iter()
        .flat_map(|(language, outcomes)| {
            outcomes.iter().filter_map(move |outcome| match outcome {
                Outcome::Unsupported(reason) => Some(format!("- {language}: {reason}")),
                _ => None,
            })
        })
        .collect();
    reasons.sort();
    reasons.dedup();
    format!("✓: it does. –: not possible there:\n\n{}", reasons.join("\n"))
}

fn mark(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "✓",
        Outcome::Unsupported(_) => "–",
        Outcome::Failed(_) => "**no**",
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.rows.iter().map(|row| row.id.len()).max().unwrap_or(0);
        write!(f, "{:wide$}", "")?;
        for (language, _) in &self.columns {
            write!(f, "  {language}")?;
        }
        for (index, row) in self.rows.iter().enumerate() {
            write!(f, "\n{:wide$}", row.id)?;
            for (language, outcomes) in &self.columns {
                let mark = match outcomes[index] {
                    Outcome::Passed => "ok",
                    Outcome::Unsupported(_) => "-",
                    Outcome::Failed(_) => "FAIL",
                };
                write!(f, "  {mark:wide$}", wide = language.len())?;
            }
        }
        Ok(())
    }
}

/// The first line of a panic that says something.
pub(crate) fn brief(why: &str) -> &str {
    why.lines().nth(1).unwrap_or(why)
}

/// For a language and an id, the reason for which it cannot be.
pub(crate) type Reasons = HashMap<(String, String), String>;

/// Reads what languages cannot do, and why: a language, an id and a reason on each line.
pub(crate) fn unsupported() -> Reasons {
    let text = fs::read_to_string(root().join("tests/conformance/unsupported.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.splitn(3, ' ').map(str::to_owned);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(language), Some(id), Some(reason)) => ((language, id), reason),
                _ => panic!("unsupported.txt: write LANGUAGE ID REASON, not {line:?}"),
            }
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
