//! `docs/clients.md` quotes the programs as they are.

use std::fs;
use std::path::Path;

#[test]
fn the_page_quotes_the_programs_that_are_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/clients.md")).unwrap();
    let mut quoted = Vec::new();
    for part in page.split("\n<!-- examples/").skip(1) {
        let (file, rest) = part.split_once(" -->\n```").expect("code behind the name of its file");
        let (_, rest) = rest.split_once('\n').unwrap();
        let (quote, _) = rest.split_once("\n```\n").expect("an end of the code");
        let text = fs::read_to_string(root.join("examples").join(file)).unwrap();
        assert!(text.contains(quote), "docs/clients.md quotes what examples/{file} does not have:\n{quote}");
        quoted.push(file);
    }
    for program in ["python/hold.py", "go/hold.go", "node/hold.mjs", "java/src/main/java/Hold.java"] {
        let build = format!("clients/{}/build", program.split_once('/').unwrap().0);
        for file in [format!("clients/{program}"), build] {
            assert!(quoted.contains(&&*file), "docs/clients.md does not quote examples/{file}");
        }
    }
}
