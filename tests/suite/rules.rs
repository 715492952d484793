//! Whoever reads a rule of docs/safety.md finds it in the code by its number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_rule_of_the_proof_is_named_in_the_code() {
    let page = include_str!("../../docs/safety.md");
    let rules: BTreeSet<&str> =
        page.split("**Rule ").skip(1).map(|rule| rule.split(':').next().expect("a rule has a name")).collect();
    assert!(rules.len() > 20, "{rules:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    read(&root.join("src"), &mut code);
    read(&root.join("core/src"), &mut code);
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let missing: Vec<_> = rules.iter().filter(|rule| !words.contains(*rule)).collect();
    assert!(missing.is_empty(), "no code names {missing:?}");
}

fn read(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
