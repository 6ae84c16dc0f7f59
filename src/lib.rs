//! A gateway that serves Nova's deprecated image API from Glance v2.
//!
//! A request comes in through [`server`], passes [`http`] (ids, limits, access log), is answered by
//! [`apis::nova`] (or passed through by [`reverse_proxy`]) with the help of [`glance`], and leaves as Nova would have answered it.
//! What leaves this process goes through [`upstream`]; tokens are validated by [`keystone`]; [`application`]
//! puts the parts together from [`config`]. Where there is no cloud, [`embedded`] starts a Glance of its own.
//!
//! A module uses only those to its right; a test enforces this:
//!
//! ```text
//! application, glance_alone ▸ cli ▸ admin, quickstart, embedded ▸ readiness ▸ server, apis, reverse_proxy ▸ http, images ▸ cache ▸ glance, keystone ▸ upstream ▸ telemetry ▸ config ▸ util
//! ```

pub mod admin;
pub mod apis;
pub mod application;
pub mod cache;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod glance;
#[cfg(feature = "embedded")]
pub mod glance_alone;
pub mod http;
pub mod images;
pub mod keystone;
pub mod quickstart;
pub mod readiness;
pub mod reverse_proxy;
pub mod server;
pub mod telemetry;
pub mod upstream;
pub mod util;

#[cfg(test)]
mod direction {
    //! Nothing flows back: a module uses only modules that stand below it.

    use std::collections::{HashMap, HashSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Top to bottom; modules of one row do not know each other.
    const ROWS: &[&[&str]] = &[
        &["main"],
        &["application", "glance_alone"],
        &["cli"],
        &["admin", "quickstart", "embedded"],
        &["readiness"],
        &["server", "apis", "reverse_proxy"],
        &["http", "images"],
        &["cache"],
        &["glance", "keystone"],
        &["upstream"],
        &["telemetry"],
        &["config"],
        &["util"],
    ];

    fn row(module: &str) -> usize {
        ROWS.iter()
            .position(|row| row.contains(&module))
            .unwrap_or_else(|| panic!("module {module} has no row; where does it stand?"))
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// The modules that a text names by `crate::…`, or `nova_image_proxy::…` in `main`.
    fn named(text: &str) -> Vec<String> {
        ["crate::", "nova_image_proxy::"]
            .iter()
            .flat_map(|root| text.split(root).skip(1))
            .map(|rest| {
                rest.chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                    .collect::<String>()
            })
            .filter(|name| !name.is_empty())
            .collect()
    }

    #[test]
    fn no_module_uses_one_above_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        assert!(files.len() > 50, "the sources were not found");
        let mut wrong = Vec::new();
        for file in files {
            let path = file.strip_prefix(&root).unwrap();
            let first = path
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap();
            let own = first.trim_end_matches(".rs");
            if own == "lib" {
                continue;
            }
            for other in named(&fs::read_to_string(&file).unwrap()) {
                if other != own && row(&other) <= row(own) {
                    wrong.push(format!("{} uses {other}", path.display()));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// The siblings that a text imports by `use super::…`, tests aside.
    fn siblings(text: &str) -> Vec<String> {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let name = |text: &str| text.chars().take_while(|c| is_name(*c)).collect::<String>();
        let mut found = Vec::new();
        for import in text.split("use super::").skip(1) {
            let import = import.split(';').next().unwrap_or_default();
            match import.strip_prefix('{') {
                None => found.push(name(import)),
                Some(list) => {
                    let mut depth = 0;
                    let parts = list.split(|c| {
                        depth += i32::from(c == '{') - i32::from(c == '}');
                        c == ',' && depth == 0
                    });
                    found.extend(parts.map(|part| name(part.trim())));
                }
            }
        }
        found.retain(|name| !name.is_empty() && name != "super" && name != "self");
        found
    }

    /// Files of one folder do not import each other in a circle.
    #[test]
    fn no_files_of_a_folder_import_each_other_in_a_circle() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        let imports: HashMap<PathBuf, Vec<PathBuf>> = files
            .iter()
            .filter(|file| !file.ends_with("mod.rs") && !file.ends_with("tests.rs"))
            .map(|file| {
                let folder = file.parent().unwrap();
                let path = |name: String| folder.join(name).with_extension("rs");
                let imported = siblings(&fs::read_to_string(file).unwrap());
                let imported = imported.into_iter().map(path).filter(|path| path.exists());
                (file.clone(), imported.collect())
            })
            .collect();
        let reaches = |from: &PathBuf, to: &PathBuf| {
            let (mut seen, mut open) = (HashSet::new(), imports[from].clone());
            while let Some(file) = open.pop() {
                if seen.insert(file.clone()) {
                    open.extend(imports.get(&file).into_iter().flatten().cloned());
                }
            }
            seen.contains(to)
        };
        let circles: Vec<_> = imports.keys().filter(|file| reaches(file, file)).collect();
        assert!(circles.is_empty(), "{circles:#?}");
    }
}
