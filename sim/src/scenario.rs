//! Scenarios: a run as the list of its choices that are not 0, with the rule without which it fails.

use std::fmt;

use lockbroker_core::rules::Rule;

use crate::shrink::{self, Run};

/// A run that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The rule without which it fails. None: it failed once, and passes now.
    pub rule: Option<Rule>,
    /// What was violated.
    pub violates: String,
    answers: Vec<u64>,
}

impl Scenario {
    /// Makes one.
    pub fn of(answers: Vec<u64>, rule: Option<Rule>, violates: &str) -> Scenario {
        Scenario { rule, violates: violates.to_owned(), answers }
    }

    /// Reads one.
    ///
    /// # Errors
    /// A line is not understood.
    pub fn parse(text: &str) -> Result<Scenario, String> {
        let mut scenario = Scenario { rule: None, violates: String::new(), answers: Vec::new() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            if let Some(name) = line.strip_prefix("rule: ") {
                scenario.rule = Some(Rule::named(name).ok_or_else(|| format!("there is no rule {name}"))?);
            } else if let Some(what) = line.strip_prefix("violates: ") {
                what.clone_into(&mut scenario.violates);
            } else {
                for choice in line.split_whitespace() {
                    scenario.take(choice).ok_or_else(|| format!("{choice} is no choice"))?;
                }
            }
        }
        Ok(scenario)
    }

    fn take(&mut self, choice: &str) -> Option<()> {
        let (at, answer) = choice.split_once(':')?;
        let at: usize = at.parse().ok()?;
        if self.answers.len() <= at {
            self.answers.resize(at + 1, 0);
        }
        self.answers[at] = answer.parse().ok()?;
        Some(())
    }

    /// Runs it, without a rule or with all of them.
    pub fn run(&self, rule: Option<Rule>, traced: bool) -> Run {
        shrink::recorded(self.answers.clone(), rule, traced)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Rule::ALL.iter().find(|(_, rule)| Some(*rule) == self.rule) {
            writeln!(f, "rule: {name}")?;
        }
        writeln!(f, "violates: {}", self.violates)?;
        let choices = self.answers.iter().enumerate().filter(|(_, answer)| **answer != 0);
        let choices: Vec<String> = choices.map(|(at, answer)| format!("{at}:{answer}")).collect();
        for line in choices.chunks(12) {
            writeln!(f, "{}", line.join(" "))?;
        }
        Ok(())
    }
}
