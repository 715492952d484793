//! Rules left out: the simulator notices each of them.

use std::fs;
use std::path::PathBuf;

use lockbroker_core::rules::Rule;
use lockbroker_sim::scenario::Scenario;
use lockbroker_sim::shrink;

/// Rules that nothing breaks as long as a name has one holder (docs/safety.md): permits need them, which only the model has.
/// And the witness: a flush has to spare the fence, between two commands of one batch.
const NOT_SEARCHED: &[Rule] = &[Rule::GrantOnlyIfOpen, Rule::LostIsFinal, Rule::Witness];

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

/// What is kept passes with all rules, and fails without the one that it is about.
#[test]
fn every_scenario_needs_its_rule() {
    for (file, scenario) in scenarios() {
        assert_eq!(scenario.run(None, false).violation, None, "{} with all rules", file.display());
        if scenario.rule.is_some() {
            let violation = scenario.run(scenario.rule, false).violation;
            assert!(violation.is_some(), "{} without its rule", file.display());
        }
    }
}

#[test]
#[ignore = "takes minutes: scripts/night runs it"]
fn every_rule_left_out_is_noticed() {
    for (name, rule) in Rule::ALL.iter().filter(|(_, rule)| !NOT_SEARCHED.contains(rule)) {
        let began = shrink::cpu_seconds();
        let noticed = (1..).take_while(|_| shrink::cpu_seconds() < began + 300.0);
        let mut noticed = noticed.filter(|seed| shrink::seeded(*seed, Some(*rule), false).violation.is_some());
        let seed = noticed.next().unwrap_or_else(|| panic!("nothing noticed that {name} is left out"));
        println!("{name}: seed {seed}, {:.1} CPU seconds", shrink::cpu_seconds() - began);
    }
}
