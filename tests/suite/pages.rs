//! The pages of the documentation: each says first for whom it is, and its links lead to files and headings that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn links_lead_to_files_and_headings() {
    let mut dead = Vec::new();
    for page in pages() {
        for link in links(&prose(&page)) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            if !target.exists() || (!heading.is_empty() && !headings(&target).contains(heading)) {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn each_page_says_first_for_whom_it_is() {
    for page in fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()) {
        if page.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&page).unwrap();
            let first = text.split("\n\n").nth(1).unwrap();
            assert!(first.starts_with("For "), "{} begins with: {first}", page.display());
        }
    }
}

#[test]
fn the_readme_stays_short() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 150, "{lines} lines");
}

#[test]
fn every_field_of_json_is_documented() {
    let page = fs::read_to_string(root().join("docs/command-line.md")).unwrap();
    let section = page.split("## JSON").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let mut missing = BTreeSet::new();
    for file in ["get", "list", "lists", "observe", "revoke", "waiters", "shard/status"] {
        let source = fs::read_to_string(root().join(format!("src/cli/{file}.rs"))).unwrap();
        let objects = source.split("json!(").skip(1).filter_map(|rest| rest.split("})").next());
        for field in objects.flat_map(|object| object.split('"').skip(1).step_by(2)) {
            let is_name = !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if is_name && !section.contains(&format!("`{field}`")) {
                missing.insert(format!("{file}: {field}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

/// What the model and docs/safety.md assume (A10) is part of the promise.
#[test]
fn the_promise_of_one_holder_names_its_exception() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, promise) = readme.split_once("- **One holder.**").unwrap();
    let (promise, _) = promise.split_once("\n- **").unwrap();
    assert!(promise.contains("docs/proxies.md#") && promise.contains("12.5 s"), "{promise}");
}

#[test]
fn the_glossary_has_the_words_of_the_other_pages() {
    let words = headings(&root().join("docs/glossary.md"));
    let wanted = "drain epoch fence fencing-token hand-over holder lease linger \
                  quarantine session shard ttl validity waiter witness";
    for word in wanted.split(' ') {
        assert!(words.contains(word), "{word} is missing");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Lists all pages: those at the top, in `docs`, and the model's.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("model/README.md")];
    for folder in [root(), root().join("docs")] {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(pages.len() > 15, "{pages:?}");
    pages
}

/// Reads a page without its blocks of code.
fn prose(page: &Path) -> String {
    let mut in_code = false;
    let mut prose = String::new();
    for line in fs::read_to_string(page).unwrap().lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Finds the targets of links and pictures that lie in this repository.
fn links(prose: &str) -> Vec<String> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// Names a page's headings as links do: lower case, hyphens for spaces, no other signs.
fn headings(page: &Path) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    prose(page).lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}
