//! A client of the image API's own time, with the libraries it was installed with.
//!
//! python-requests below 2.25 guesses the charset of JSON that names none; a client that writes back
//! what it read then spoils every text that is not ASCII.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::gateway;
use crate::stack::Stack;

const REQUIREMENTS: &str = include_str!("clients/novaclient-2.35.0.txt");
const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/openstack/clients/novaclient_metadata.py"
);

/// `PYTHON2`, or Python 2.7 of the path or of pyenv.
///
/// # Panics
/// There is none: the test fails, it is never skipped.
fn python_2() -> PathBuf {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(std::env::home_dir()?.join(".pyenv")));
    let versions = root.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let of_pyenv = versions
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().join("bin/python2.7"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::var_os("PYTHON2")
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::split_paths(&path).map(|folder| folder.join("python2.7")))
        .chain(of_pyenv)
        .find(|python| runs(python))
        .expect("this test needs Python 2.7: `pyenv install 2.7.18`, or PYTHON2 naming one")
}

/// A shim of pyenv is a file too, but runs only where its version is selected.
fn runs(python: &Path) -> bool {
    let output = Command::new(python)
        .args(["-m", "pip", "--version"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// The folder with the client and its libraries, which pip installs on first use.
fn libraries(python: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/openstack/novaclient-2.35.0");
    let complete = folder.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == REQUIREMENTS) {
        return folder;
    }
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let list = folder.join("requirements.txt");
    fs::write(&list, REQUIREMENTS).unwrap();
    let output = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .arg("--disable-pip-version-check")
        .arg("--target")
        .arg(&folder)
        .arg("-r")
        .arg(&list)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pip install: {said}");
    fs::write(complete, REQUIREMENTS).unwrap();
    folder
}

#[test]
fn novaclient_of_2015_writes_back_the_text_it_read() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let python = python_2();
    let libraries = libraries(&python);
    let gateway = gateway::start(stack, &[]);
    // More letters beyond ASCII would let the guess be right.
    let texts = json!({"name": "plain", "city": "Zürich"});
    let mut fields = json!({"container_format": "bare", "disk_format": "raw"});
    for (name, value) in texts.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let image = stack.create_image("demo", &fields);
    let output = Command::new(python)
        .arg(SCRIPT)
        .env("PYTHONPATH", libraries)
        .env("COMPUTE_ENDPOINT", format!("{}/v2.1", gateway.base()))
        .env("TOKEN", stack.token("demo"))
        .env("IMAGE", &image)
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap();
    let record = stack.image_record(&image).unwrap();
    stack.remove_image(&image);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["requests"], "2.10.0");
    assert_eq!(read["name"], texts["name"]);
    assert_eq!(read["metadata"]["city"], texts["city"]);
    for (name, value) in texts.as_object().unwrap() {
        assert_eq!(&record[name], value, "in Glance");
    }
    assert_eq!(record["added"], "yes");
}
