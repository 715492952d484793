//! Rules left out: the simulator notices each of them.
//!
//! `fresh-epoch` is mostly noticed in that a name cannot be had, for brokers refuse an epoch that comes back (R15a). That is
//! not the danger itself: a fence of an earlier epoch that opens the shard, and then two believers.

use std::fs;
use std::path::PathBuf;

use lockbroker_core::rules::Rule;
use lockbroker_sim::scenario::Scenario;
use lockbroker_sim::shrink;

/// Rules that take a coincidence to be missed, which does not come within the bound every time: the model sees each at once. The first two
/// matter only to permits.
const NOT_SEARCHED: &[Rule] =
    &[Rule::GrantOnlyIfOpen, Rule::LostIsFinal, Rule::MinHoldNeverCut, Rule::GateCompared, Rule::LockBeforeLook];
/// The CPU seconds within which it is noticed that a rule is left out, in every search.
const BOUND: f64 = 10.0;
/// So many searches for each rule, each with seeds of its own.
const SEARCHES: u64 = 5;

fn scenarios() -> Vec<(PathBuf, Scenario)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = fs::read_dir(folder).expect("the folder is there").map(|file| file.expect("it can be listed").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("it can be read");
        let scenario = Scenario::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        (file, scenario)
    };
    files.into_iter().map(read).collect()
}

/// What is kept passes with all rules, and fails as it says without the one that it is about.
#[test]
fn every_scenario_needs_its_rule() {
    for (file, scenario) in scenarios() {
        assert_eq!(scenario.run(None, false).violation, None, "{} with all rules", file.display());
        if scenario.rule.is_some() {
            let violation = scenario.run(scenario.rule, false).violation.unwrap_or_default();
            assert_eq!(
                shrink::kind(&violation),
                shrink::kind(&scenario.violates),
                "{} without its rule",
                file.display()
            );
        }
    }
}

#[test]
#[ignore = "takes minutes: scripts/night runs it"]
fn every_rule_left_out_is_noticed() {
    let mut missed = Vec::new();
    for (name, rule) in Rule::ALL.iter().filter(|(_, rule)| !NOT_SEARCHED.contains(rule)) {
        let mut found: Vec<f64> = (0..SEARCHES).filter_map(|search| search_for(*rule, search)).collect();
        found.sort_by(f64::total_cmp);
        println!("{name}: noticed in {} of {SEARCHES} searches, after {found:.1?} CPU seconds", found.len());
        if (found.len() as u64) < SEARCHES {
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "left out, and it takes more than {BOUND} s to notice that: {missed:?}");
}

/// Returns after how many CPU seconds it was noticed that a rule is left out, if it was within the bound.
fn search_for(rule: Rule, search: u64) -> Option<f64> {
    let (began, first) = (shrink::cpu_seconds(), search * 10_000 + 1);
    let mut seeds = (first..).take_while(|_| shrink::cpu_seconds() < began + BOUND);
    seeds.find(|seed| shrink::seeded(*seed, Some(rule), false).violation.is_some())?;
    Some(shrink::cpu_seconds() - began).filter(|took| *took < BOUND)
}
