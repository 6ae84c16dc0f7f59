//! The real binary: what it prints, and what it refuses to start with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use rstest::rstest;

/// The binary, without the settings of whoever runs the tests.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova-image-proxy"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NOVA_IMAGE_PROXY") {
            command.env_remove(name);
        }
    }
    command
}

/// The binary, serving on a free port with these settings, and the lines it prints.
pub fn serve(settings: &[(&str, &str)]) -> (Running, impl Iterator<Item = String> + use<>) {
    let mut command = binary();
    command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", "127.0.0.1:0");
    command.env("NOVA_IMAGE_PROXY__ADMIN__LISTEN", "127.0.0.1:0");
    for (name, value) in settings {
        command.env(format!("NOVA_IMAGE_PROXY__{name}"), value);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let output = BufReader::new(running.0.stdout.take().unwrap());
    (running, output.lines().map(Result::unwrap))
}

/// Kills and reaps a process.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only for a process that is gone already.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The URL and the headers of a line like `curl -H 'Name: value' 'http://…'`.
fn request_of(line: &str) -> (String, Vec<(String, String)>) {
    let rest = line.trim().strip_prefix("curl ").unwrap();
    let (mut url, mut headers, mut words) = (None, Vec::new(), quoted_words(rest).into_iter());
    while let Some(word) = words.next() {
        if word == "-H" {
            let header = words.next().unwrap();
            let (name, value) = header.split_once(": ").unwrap();
            headers.push((name.to_owned(), value.to_owned()));
        } else {
            assert!(url.replace(word).is_none(), "two URLs: {line}");
        }
    }
    (url.unwrap(), headers)
}

/// The words of a shell's line that quotes with `'` and nothing else.
fn quoted_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[tokio::test]
async fn the_requests_that_the_banner_suggests_work_as_printed() {
    let (mut running, mut lines) = serve(&[]);
    let ready = lines.next().unwrap();
    let base = ready.strip_prefix("listening on ").unwrap().to_owned();
    assert_eq!(lines.next().unwrap(), "Try it:");
    let suggested: Vec<_> = lines.by_ref().take(3).collect();

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answers = Vec::new();
    for line in &suggested {
        let (url, headers) = request_of(line);
        assert!(url.starts_with(&base), "{line}");
        let mut request = client.get(&url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{line}");
        answers.push(response.text().await.unwrap());
    }
    let parsed = |at: usize| serde_json::from_str::<serde_json::Value>(&answers[at]).unwrap();
    assert!(parsed(0)["images"].as_array().unwrap().len() >= 5);
    assert_eq!(parsed(1)["image"]["status"], "ACTIVE");
    assert_eq!(parsed(2)["metadata"]["os_type"], "linux");

    running.0.kill().unwrap();
    let rest: Vec<_> = lines.collect();
    assert!(rest.is_empty(), "more on standard output: {rest:?}");
}

#[rstest]
#[case::passthrough(&[("AUTH__MODE", "passthrough"), ("GLANCE__ENDPOINTS", "http://127.0.0.1:1")])]
#[case::keystone(&[("KEYSTONE__AUTH_URL", "http://127.0.0.1:1")])]
#[case::keystone_and_embedded(
    &[("KEYSTONE__AUTH_URL", "http://127.0.0.1:1"), ("GLANCE__MODE", "embedded")])]
fn nothing_is_suggested_that_would_need_a_token(#[case] settings: &[(&str, &str)]) {
    let (mut running, mut lines) = serve(settings);
    assert!(lines.next().unwrap().starts_with("listening on http://"));
    running.0.kill().unwrap();
    assert_eq!(lines.next(), None);
}

#[rstest]
#[case::glance_without_authentication(
    &[("GLANCE__ENDPOINTS", "http://glance:9292")], "auth.mode: must be set")]
#[case::keystone_without_url(&[("AUTH__MODE", "keystone")], "keystone.auth_url: must be set")]
#[case::keystone_without_url_before_a_glance(
    &[("AUTH__MODE", "keystone"), ("GLANCE__ENDPOINTS", "http://glance:9292")],
    "keystone.auth_url: must be set")]
#[case::passthrough_without_glance(&[("AUTH__MODE", "passthrough")], "glance.endpoints: must name")]
#[case::external_without_glance(&[("GLANCE__MODE", "external")], "glance.endpoints: must name")]
#[case::user_without_password(
    &[("KEYSTONE__AUTH_URL", "http://keystone:5000"), ("KEYSTONE__USERNAME", "u"),
      ("KEYSTONE__PROJECT_NAME", "p")],
    "keystone.password")]
#[case::misspelt(&[("GLANCE__ENDPOINT", "http://glance:9292")], "unknown field `endpoint`")]
fn a_forgotten_key_is_named_and_nothing_is_served(
    #[case] settings: &[(&str, &str)],
    #[case] message: &str,
    #[values("serve", "check")] subcommand: &str,
) {
    let mut command = binary();
    command.arg(subcommand);
    command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", "127.0.0.1:0");
    for (name, value) in settings {
        command.env(format!("NOVA_IMAGE_PROXY__{name}"), value);
    }
    let refused = assert_cmd::assert::OutputAssertExt::assert(command.output().unwrap()).failure();
    let output = refused.get_output();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(message), "{error}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn check_prints_the_settings_in_force_and_no_secret() {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(
        b"[server]\nworkers = 3\n\n[keystone]\nauth_url = \"http://keystone:5000/v3\"\n\
          username = \"gateway\"\npassword = \"hunter2\"\nproject_name = \"service\"\n",
    )
    .unwrap();
    let check = |settings: &[(&str, &str)]| {
        let mut command = binary();
        command.arg("check").arg("--config").arg(file.path());
        command.envs(settings.iter().copied());
        command.output().unwrap()
    };
    let output = check(&[("NOVA_IMAGE_PROXY__GLANCE__TIMEOUT", "7s")]);
    assert!(output.status.success(), "{output:?}");
    let settings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["server"]["workers"], 3);
    assert_eq!(settings["auth"]["mode"], "keystone");
    assert_eq!(settings["glance"]["mode"], "external");
    assert_eq!(settings["glance"]["timeout"], "7s");
    assert_eq!(settings["keystone"]["password"], "***");
    assert!(!format!("{output:?}").contains("hunter2"));

    let output = check(&[("NOVA_IMAGE_PROXY__KEYSTONE__USERNAME", "")]);
    assert!(!format!("{output:?}").contains("hunter2"));
    let output = check(&[("NOVA_IMAGE_PROXY__KEYSTONE__PASSWORD_FILE", "/run/secret")]);
    assert!(!output.status.success());
    assert!(!format!("{output:?}").contains("hunter2"));
    let output = check(&[(
        "NOVA_IMAGE_PROXY__KEYSTONE__AUTH_URL",
        "http://u:hunter2@keystone",
    )]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("keystone.auth_url (from the environment)"),
        "{error}"
    );
    assert!(!format!("{output:?}").contains("hunter2"));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (setting, key) in [
        ("SERVER__LISTEN", "server.listen"),
        ("ADMIN__LISTEN", "admin.listen"),
    ] {
        let mut command = binary();
        command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", "127.0.0.1:0");
        command.env("NOVA_IMAGE_PROXY__ADMIN__LISTEN", "127.0.0.1:0");
        command.env(format!("NOVA_IMAGE_PROXY__{setting}"), &address);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{error}");
        let expected = format!("{key}: cannot listen on {address}: Address already in use");
        assert!(error.contains(&expected), "{error}");
    }
}

/// Access lines and all others come out whole, in one format, and none is missing at the end.
#[rstest]
#[case("json")]
#[case("text")]
#[tokio::test]
async fn the_log_is_complete_when_the_process_ends(#[case] format: &str) {
    let mut command = binary();
    command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", "127.0.0.1:0");
    command.env("NOVA_IMAGE_PROXY__ADMIN__LISTEN", "127.0.0.1:0");
    command.env("NOVA_IMAGE_PROXY__LOG__FORMAT", format);
    command.env(
        "NOVA_IMAGE_PROXY__LOG__LEVEL",
        "info,nova_image_proxy=debug",
    );
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut ready = String::new();
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    output.read_line(&mut ready).unwrap();
    let base = ready.trim().strip_prefix("listening on ").unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut ids = Vec::new();
    for _ in 0..50 {
        let answer = client
            .get(format!("{base}/v2.1/images"))
            .send()
            .await
            .unwrap();
        let id = &answer.headers()["x-openstack-request-id"];
        ids.push(id.to_str().unwrap().to_owned());
    }
    let pid = running.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let log = std::io::read_to_string(running.0.stderr.take().unwrap()).unwrap();
    assert!(running.0.wait().unwrap().success());
    let access: Vec<_> = if format == "json" {
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let access = lines.filter(|line| line["target"] == "access");
        access
            .map(|line| line["request_id"].as_str().unwrap().to_owned())
            .collect()
    } else {
        let access = log
            .lines()
            .filter_map(|line| line.split_once("  INFO access: request_id="));
        access
            .map(|(_, rest)| rest.split(' ').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(access, ids);
    assert!(
        log.contains("stopping: finishing the requests in flight"),
        "{log}"
    );
}
