//! The documentation names files, headings and terms that exist.

#![expect(
    clippy::unwrap_used,
    reason = "a file that cannot be read fails the test"
)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 4] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of documentation, relative to the root, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages: Vec<PathBuf> = PAGES.iter().map(PathBuf::from).collect();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        pages.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    let read = |page: PathBuf| {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        (page, text)
    };
    pages.into_iter().map(read).collect()
}

/// The texts between single backticks, outside of code blocks.
fn code_spans(text: &str) -> Vec<&str> {
    let prose = text.lines().filter(|line| !line.starts_with("    "));
    prose
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// Whether a code span is the path of a file or folder of this project.
fn is_path(span: &str) -> bool {
    const FOLDERS: [&str; 8] = [
        "src/", "tests/", "docs/", "crates/", "config/", "fuzz/", "benches/", "tools/",
    ];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let is_source =
        Path::new(span).extension().is_some_and(|name| name == "rs") && span.contains('/');
    span.chars().all(is_plain)
        && (is_source || FOLDERS.iter().any(|folder| span.starts_with(folder)))
}

#[test]
fn every_path_exists() {
    let mut missing = Vec::new();
    let mut found = 0;
    for (page, text) in pages() {
        for path in code_spans(&text).into_iter().filter(|span| is_path(span)) {
            found += 1;
            if !root().join(path).exists() && !root().join("src").join(path).exists() {
                missing.push(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(found > 100, "{found} paths in the documentation");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The anchor that Markdown gives a heading.
fn anchor(heading: &str) -> String {
    let is_part = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    let text: String = heading.to_lowercase().chars().filter(is_part).collect();
    text.replace(' ', "-")
}

fn anchors(text: &str) -> HashSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

#[test]
fn every_link_within_the_project_has_its_target() {
    let mut broken = Vec::new();
    let mut found = 0;
    for (page, text) in pages() {
        let links = text.split("](").skip(1);
        for link in links
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            if link.contains("://") {
                continue;
            }
            found += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&page),
                file => root().join(page.parent().unwrap()).join(file),
            };
            let is_there = target.exists()
                && (heading.is_empty()
                    || anchors(&fs::read_to_string(target).unwrap()).contains(heading));
            if !is_there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(found > 20, "{found} links in the documentation");
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The letters and digits of a text in lower case: `single-flight`, `SingleFlight` and
/// `single_flight` are one term.
fn letters(text: &str) -> String {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

#[test]
fn a_search_for_each_term_finds_it_in_the_file_that_the_architecture_names() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, table) = page.split_once("## Where to find it").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut wrong = Vec::new();
    let mut terms = 0;
    for row in rows {
        let (term, files) = row.trim_matches('|').split_once('|').unwrap();
        terms += 1;
        let files = code_spans(files);
        assert!(!files.is_empty(), "{row}");
        for file in files.into_iter().filter(|span| is_path(span)) {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            if !letters(&format!("{file}{text}")).contains(&letters(term)) {
                wrong.push(format!("{term}: {file}"));
            }
        }
    }
    assert_eq!(terms, 40);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
