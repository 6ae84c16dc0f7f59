//! The real binary, in front of a stack.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::stack::Stack;

const START: Duration = Duration::from_secs(20);

/// A gateway process; it is killed when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    base: String,
    log: Arc<Mutex<String>>,
}

impl Gateway {
    /// Starts `nova-image-proxy serve` with Keystone authentication and free ports.
    /// `settings` are more environment variables without their prefix: `("NOVA__MAX_LIMIT", "5")`.
    ///
    /// # Panics
    /// It does not say `listening on` in time; its output is in the message.
    pub fn start(stack: &Stack, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova-image-proxy"));
        command
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let usual = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("AUTH__MODE", "keystone"),
            ("KEYSTONE__AUTH_URL", stack.identity()),
            ("KEYSTONE__WWW_AUTHENTICATE_URI", stack.identity_public()),
            ("GLANCE__ENDPOINTS", stack.image()),
        ];
        for (name, value) in usual.iter().chain(settings) {
            command.env(format!("NOVA_IMAGE_PROXY__{name}"), value);
        }
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        collect(
            child.stdout.take().unwrap(),
            Arc::clone(&log),
            found.clone(),
        );
        collect(child.stderr.take().unwrap(), Arc::clone(&log), found);
        match address.recv_timeout(START) {
            Ok(base) => Self { child, base, log },
            Err(error) => {
                child.kill().unwrap();
                let what = match error {
                    RecvTimeoutError::Timeout => "did not listen in time",
                    RecvTimeoutError::Disconnected => "ended",
                };
                let status = child.wait().unwrap();
                panic!("the gateway {what} ({status}):\n{}", log.lock().unwrap());
            }
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// All it wrote so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Either fails only for a process that is gone already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Reads one of the process's outputs to its end, so that it never blocks on a full pipe.
fn collect(output: impl Read + Send + 'static, log: Arc<Mutex<String>>, found: Sender<String>) {
    thread::spawn(move || {
        let mut found = Some(found);
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            log.lock().unwrap().extend([line.as_str(), "\n"]);
            if let Some(address) = line.strip_prefix("listening on ")
                && let Some(found) = found.take()
            {
                // The receiver may have given up already.
                let _late = found.send(address.trim_end_matches('/').to_owned());
            }
        }
    });
}
