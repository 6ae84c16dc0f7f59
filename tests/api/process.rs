//! The real binary as a process of its own, seen from outside.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running process; it is killed (as by `kill -9`) when this is dropped.
pub struct Process {
    child: Child,
    base: String,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts one on a free port. `settings` are environment variables without their prefix.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova-image-proxy"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NOVA_IMAGE_PROXY") {
                command.env_remove(name);
            }
        }
        let usual = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__WORKERS", "2"),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
        ];
        for (name, value) in usual.iter().chain(settings) {
            command.env(format!("NOVA_IMAGE_PROXY__{name}"), value);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, errors) = (Arc::clone(&log), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                kept.lock().unwrap().extend([line.as_str(), "\n"]);
            }
        });
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        output.read_line(&mut ready).unwrap();
        // More may come, and nobody may close a pipe that is written to.
        thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let base = ready.trim().strip_prefix("listening on ");
        let base = base.unwrap_or_else(|| panic!("{}", log.lock().unwrap()));
        Self {
            base: base.to_owned(),
            child,
            log,
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// All it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Kills it without a chance to clean up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Memory in use now, in KiB.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory it ever used, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.unwrap().count()
    }

    fn status(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only for a process that is gone already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}
