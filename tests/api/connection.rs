//! A client that keeps its connection and asks as legacy clients do; what goes wrong fails the test.

use crate::wire::Wire;
use std::fmt::Write as _;

pub use crate::wire::Answer;

/// One connection to a gateway.
pub struct Connection(Wire);

impl Connection {
    /// To `http://ADDRESS`.
    pub fn to(base: &str) -> Self {
        Self(Wire::connect(base).unwrap())
    }

    /// Sends a request, and waits for nothing.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() {
            request.push_str("Content-Type: application/json\r\n");
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.0.send(request).unwrap();
    }

    /// The next answer.
    pub fn receive(&mut self) -> Answer {
        self.0.answer().unwrap()
    }

    /// Asks and waits for the answer.
    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "");
        self.receive()
    }

    /// Sends a JSON body and waits for the answer.
    pub fn put(&mut self, path: &str, body: &serde_json::Value) -> Answer {
        self.send("PUT", path, &[], &body.to_string());
        self.receive()
    }
}
