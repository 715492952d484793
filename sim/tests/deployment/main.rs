//! Deployments that are simulated in CI: fixed seeds, kept scenarios, and, by night, the search for each rule left out.

mod rules;
mod seeds;
