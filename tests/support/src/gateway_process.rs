//! The binary as a process of its own, seen from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Generous: a start or an end takes seconds on an idle machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The gateway's binary as a [`Command`], without the settings in the environment of the tests.
#[macro_export]
macro_rules! gateway_command {
    () => {
        // Cargo sets the variable for the tests of the binary's own package alone.
        $crate::gateway_process::command(env!("CARGO_BIN_EXE_nova-image-proxy"))
    };
}

/// `program` without the settings in the environment of the tests, and without an image listener: its
/// default port is one for all.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NOVA_IMAGE_PROXY") {
            command.env_remove(name);
        }
    }
    command.env("NOVA_IMAGE_PROXY__IMAGE__LISTEN", "off");
    command
}

/// A running gateway; it is killed (as by `kill -9`) when this is dropped.
#[derive(Debug)]
pub struct GatewayProcess {
    child: Child,
    base: String,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl GatewayProcess {
    /// Starts one with two workers and an admin listener, both listeners on free ports. `settings` are
    /// more environment variables without their prefix, such as `("CACHE__ENABLED", "false")`.
    pub fn start(command: Command, settings: &[(&str, &str)]) -> Self {
        let usual = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__WORKERS", "2"),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
        ];
        Self::spawn(command, &[&usual, settings].concat())
    }

    /// Starts one with nothing but these settings, the environment of the command, and no admin listener:
    /// its default port is one for all.
    pub fn spawn(mut command: Command, settings: &[(&str, &str)]) -> Self {
        for (name, value) in [("ADMIN__LISTEN", "off")].iter().chain(settings) {
            command.env(format!("NOVA_IMAGE_PROXY__{name}"), value);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (ready, address) = mpsc::channel();
        let readers = vec![
            read(child.stdout.take().unwrap(), None, ready.clone()),
            read(child.stderr.take().unwrap(), Some(&log), ready),
        ];
        let base = address.recv_timeout(TIMEOUT);
        let mut process = Self {
            child,
            base: String::new(),
            log,
            readers,
        };
        match base {
            Ok(base) => process.base = base,
            Err(error) => {
                let reason = match error {
                    RecvTimeoutError::Timeout => "does not listen",
                    RecvTimeoutError::Disconnected => "has ended",
                };
                process.kill();
                panic!("the gateway {reason}:\n{}", process.log());
            }
        }
        process
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The log so far: what the process has written to standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Kills it without a chance to clean up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.join_readers();
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; the log is complete then.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.join_readers();
                return status;
            }
            assert!(
                started.elapsed() < TIMEOUT,
                "it does not end:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
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

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // Either fails only for a process that has ended already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Reads one of the outputs to its end, so that the process never blocks on a full pipe. Its lines are
/// added to `log`, where there is one.
fn read(
    output: impl Read + Send + 'static,
    log: Option<&Arc<Mutex<String>>>,
    ready: Sender<String>,
) -> JoinHandle<()> {
    let log = log.map(Arc::clone);
    thread::spawn(move || {
        let mut ready = Some(ready);
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(log) = &log {
                log.lock().unwrap().extend([line.as_str(), "\n"]);
            }
            if let Some(address) = line.strip_prefix("listening on ")
                && let Some(ready) = ready.take()
            {
                // The test may have failed by now.
                let _late = ready.send(address.trim_end_matches('/').to_owned());
            }
        }
    })
}
