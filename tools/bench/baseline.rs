//! The least a server on actix-web can do: one recorded answer to every request.
//!
//! `baseline FILE` reads an HTTP/1.1 answer as it was sent (status line, headers, an empty line, the
//! body), listens on a free port of loopback with one worker, says where, and serves until it is
//! ended. What the gateway takes beyond this for the same answer is its own.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, to};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context;
use std::io::{self, Write};
use std::time::Duration;

/// These the server library writes itself.
const WRITTEN_BY_THE_SERVER: [&str; 4] =
    ["connection", "content-length", "date", "transfer-encoding"];

/// An answer that was recorded.
struct Recorded {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Recorded {
    fn parse(mut answer: Bytes) -> anyhow::Result<Self> {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let head = answer.split_to(end.context("the answer has no end of its head")? + 4);
        let mut lines = std::str::from_utf8(&head)?.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| !WRITTEN_BY_THE_SERVER.contains(&name.to_lowercase().as_str()))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            status: status.context("no status")?.parse()?,
            headers,
            body: answer,
        })
    }
}

async fn answer(recorded: Data<Recorded>) -> HttpResponse {
    let mut response = HttpResponse::build(recorded.status);
    for (name, value) in &recorded.headers {
        response.append_header((name.as_str(), value.as_str()));
    }
    response.body(recorded.body.clone())
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).context("baseline FILE")?;
    let recorded = Data::new(Recorded::parse(std::fs::read(file)?.into())?);
    let app = move || {
        App::new()
            .app_data(recorded.clone())
            .default_service(to(answer))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .keep_alive(Duration::from_secs(75))
        .bind(("127.0.0.1", 0))?;
    let address = *server.addrs().first().context("no address")?;
    let serving = server.run();
    let mut out = io::stdout();
    writeln!(out, "listening on http://{address}")?;
    out.flush()?;
    Ok(serving.await?)
}
