//! The real binary: what it prints, and what it refuses to start with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use test_support::{GatewayProcess, gateway_command};

use assert_cmd::assert::OutputAssertExt as _;
use rstest::rstest;

/// The binary, serving on a free port with these settings, and the lines it prints.
fn serve(settings: &[(&str, &str)]) -> (Running, impl Iterator<Item = String> + use<>) {
    let mut command = gateway_command!();
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
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only for a process that is gone already.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A request as a line like `curl -X POST -H 'Name: value' -d 'body' 'http://…'` describes it.
fn request_of(client: &reqwest::Client, line: &str) -> reqwest::RequestBuilder {
    let rest = line.trim().strip_prefix("curl ").unwrap();
    let (mut url, mut method, mut body) = (None, reqwest::Method::GET, String::new());
    let (mut headers, mut words) = (Vec::new(), quoted_words(rest).into_iter());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-X" => method = words.next().unwrap().parse().unwrap(),
            "-d" => body = words.next().unwrap(),
            "-H" => headers.push(words.next().unwrap()),
            _ => assert!(url.replace(word).is_none(), "two URLs: {line}"),
        }
    }
    let mut request = client.request(method, url.unwrap()).body(body);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request
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
async fn the_suggested_requests_work_as_printed() {
    let (mut running, mut lines) = serve(&[]);
    let ready = lines.next().unwrap();
    let base = ready.strip_prefix("listening on ").unwrap().to_owned();
    assert_eq!(lines.next().unwrap(), "Try it:");
    let suggested: Vec<_> = lines.by_ref().take(4).collect();

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answers = Vec::new();
    for line in &suggested {
        assert!(line.contains(&format!(" '{base}/v2.1/images/")), "{line}");
        let response = request_of(&client, line).send().await.unwrap();
        assert_eq!(response.status(), 200, "{line}");
        answers.push(response.json::<serde_json::Value>().await.unwrap());
    }
    assert!(answers[0]["images"].as_array().unwrap().len() >= 5);
    assert_eq!(answers[1]["image"]["status"], "ACTIVE");
    assert_eq!(answers[3]["metadata"]["team"], "blue");

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
#[case::open_without_glance(&[("AUTH__MODE", "none")], "glance.mode: must be set")]
#[case::unreadable_secret(
    &[("KEYSTONE__AUTH_URL", "http://keystone:5000"), ("KEYSTONE__USERNAME", "u"),
      ("KEYSTONE__PROJECT_NAME", "p"), ("KEYSTONE__PASSWORD_FILE", "/nonexistent")],
    "keystone.password_file (from the environment): must be a file with a secret")]
#[case::unbounded(&[("GLANCE__TIMEOUT", "9223372036854775807s"), ("AUTH__MODE", "keystone")],
    "glance.timeout (from the environment): must be from 1ms to 1day")]
#[case::passthrough_without_glance(&[("AUTH__MODE", "passthrough")], "glance.endpoints: must name")]
#[case::external_without_authentication(&[("GLANCE__MODE", "external")], "auth.mode: must be set")]
#[case::external_without_glance(
    &[("GLANCE__MODE", "external"), ("AUTH__MODE", "none")], "glance.endpoints: must name")]
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
    let mut command = gateway_command!();
    command.arg(subcommand);
    command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", "127.0.0.1:0");
    for (name, value) in settings {
        command.env(format!("NOVA_IMAGE_PROXY__{name}"), value);
    }
    is_refused(&mut command, message);
}

/// Asserts that the settings cannot be used, for a reason that is told once.
fn is_refused(command: &mut Command, message: &str) {
    let refused = command.assert().code(78).stdout("");
    let error = String::from_utf8_lossy(&refused.get_output().stderr);
    assert_eq!(error.matches(message).count(), 1, "{error}");
}

/// A settings file with this text.
fn settings_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The output of `check` with these arguments, as JSON.
fn checked(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const CLOUD: &str = "[auth]\nmode = \"passthrough\"\n\
                     [glance]\nendpoints = [\"http://127.0.0.1:1\"]\nmax_images = 77\n";

#[test]
fn a_settings_file_counts_before_and_after_the_subcommand_and_by_the_variable() {
    let (first, second) = (
        settings_file(CLOUD),
        settings_file("[glance]\nmax_images = 78\n"),
    );
    let (first, second) = (first.path(), second.path());
    let max_images = |command: &mut Command| checked(command)["glance"]["max_images"].clone();
    let before = max_images(gateway_command!().arg("--config").arg(first).arg("check"));
    let after = max_images(gateway_command!().arg("check").arg("-c").arg(first));
    let variable = "NOVA_IMAGE_PROXY_CONFIG";
    let by_variable = max_images(gateway_command!().arg("check").env(variable, first));
    assert_eq!(
        (before, after, by_variable),
        (77.into(), 77.into(), 77.into())
    );
    let mut both = gateway_command!();
    both.arg("-c").arg(first).arg("check").arg("-c").arg(second);
    assert_eq!(max_images(&mut both), 78);
    // The arguments win over the variable.
    assert_eq!(max_images(both.env(variable, "/nonexistent")), 78);
}

#[rstest]
fn a_settings_file_that_is_missing_or_empty_serves_nothing(
    #[values(&["--config", "FILE"], &["--config", "FILE", "serve"], &["serve", "-c", "FILE"])]
    arguments: &[&str],
) {
    let empty = settings_file("");
    let empty = empty.path().to_str().unwrap();
    for (file, message) in [
        (
            "/nonexistent.toml",
            "cannot read the settings file /nonexistent.toml: No such file",
        ),
        (empty, "glance.mode: must be set"),
    ] {
        let arguments = arguments.iter().map(|word| match *word {
            "FILE" => file,
            word => word,
        });
        is_refused(gateway_command!().args(arguments), message);
    }
}

#[test]
fn wrong_arguments_have_a_code_of_their_own() {
    gateway_command!().arg("--confg").assert().code(2);
    let output = gateway_command!().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in ["Examples:", "NOVA_IMAGE_PROXY_CONFIG", "Exit codes:", "78"] {
        assert!(help.contains(part), "{help}");
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_an_error() {
    use std::os::unix::ffi::OsStrExt as _;
    let value = std::ffi::OsStr::from_bytes(b"http://\xff");
    for subcommand in ["serve", "check"] {
        let mut command = gateway_command!();
        command.env("NOVA_IMAGE_PROXY__GLANCE__ENDPOINTS", value);
        is_refused(
            command.arg(subcommand),
            "NOVA_IMAGE_PROXY__GLANCE__ENDPOINTS",
        );
    }
}

#[test]
fn a_variable_with_one_underscore_is_told() {
    let (name, meant) = (
        "NOVA_IMAGE_PROXY_SERVER_LISTEN",
        "NOVA_IMAGE_PROXY__SERVER__LISTEN",
    );
    let warning = format!("{name} has no effect; settings have two underscores: {meant}");
    let mut command = gateway_command!();
    command.env(name, "127.0.0.1:1");
    command.env("NOVA_IMAGE_PROXY_PORT", "tcp://10.0.0.1:8774");
    let warned = command.arg("check").assert().success();
    warned.stderr(format!("nova-image-proxy: {warning}\n"));

    let settings = [("SERVER__LISTEN", "127.0.0.1:0")];
    let mut command = gateway_command!();
    command.env(name, "127.0.0.1:1");
    let process = GatewayProcess::spawn(command, &settings);
    wait_for(&process, &warning);
}

/// Waits until a line of the log holds `text`, and returns the line.
fn wait_for(process: &GatewayProcess, text: &str) -> String {
    for _ in 0..500 {
        if let Some(line) = process.log().lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("no {text:?} in:\n{}", process.log());
}

#[rstest]
#[case::samples(&[], &["glance=\"embedded\"", "cache=\"2s\"", "admin=\"off\""])]
#[case::cloud(
    &[("KEYSTONE__AUTH_URL", "http://127.0.0.1:1/v3"), ("CACHE__ENABLED", "false"),
      ("GLANCE__ENDPOINTS", "http://127.0.0.1:2/,http://127.0.0.1:3/")],
    &["keystone=\"http://127.0.0.1:1/v3\"", "cache=\"off\"",
      "glance=\"http://127.0.0.1:2/,http://127.0.0.1:3/\""])]
#[case::catalog(&[("KEYSTONE__AUTH_URL", "http://127.0.0.1:1/v3")], &["glance=\"catalog\""])]
fn a_line_of_the_log_says_which_cloud_is_served(
    #[case] settings: &[(&str, &str)],
    #[case] fields: &[&str],
) {
    let settings = [&[("SERVER__LISTEN", "localhost:0")], settings].concat();
    let process = GatewayProcess::spawn(gateway_command!(), &settings);
    let line = wait_for(&process, ": serving ");
    let address = process.base().strip_prefix("http://").unwrap();
    assert!(line.contains(&format!("clients={address}")), "{line}");
    for field in fields {
        assert!(line.contains(field), "{line}");
    }
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
        let mut command = gateway_command!();
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
        let mut command = gateway_command!();
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
#[case("oslo")]
#[tokio::test]
async fn the_log_is_complete_when_the_process_ends(#[case] format: &str) {
    let mut command = gateway_command!();
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
            .filter(|line| line.contains(" INFO access: ") || line.contains("proxy.access ["))
            .filter_map(|line| {
                line.split_once(" request_id=")
                    .or_else(|| line.split_once(" [None "))
            });
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

#[tokio::test]
async fn a_log_file_is_left_and_opened_again_at_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
    let mut command = gateway_command!();
    command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", "127.0.0.1:0");
    command.env("NOVA_IMAGE_PROXY__ADMIN__LISTEN", "127.0.0.1:0");
    command.env("NOVA_IMAGE_PROXY__LOG__FILE", &path);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut ready = String::new();
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    output.read_line(&mut ready).unwrap();
    let base = ready
        .trim()
        .strip_prefix("listening on ")
        .unwrap()
        .to_owned();
    let pid = running.0.id().to_string();
    let signal = |name: &str| {
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |agent: &str| {
        let request = client
            .get(format!("{base}/v2.1/images"))
            .header("User-Agent", agent);
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    let wait_for = async |file: &std::path::Path, text: &str| {
        let read = || std::fs::read_to_string(file).unwrap_or_default();
        for _ in 0..1000 {
            if read().contains(text) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{text} is not in {}: {}", file.display(), read());
    };
    ask("the-first").await;
    wait_for(&path, "the-first").await;
    std::fs::rename(&path, &rotated).unwrap();
    signal("-HUP");
    wait_for(&path, "SIGHUP: log.file is opened again").await;
    ask("the-second").await;
    wait_for(&path, "the-second").await;
    signal("-TERM");
    assert!(running.0.wait().unwrap().success());
    let errors = std::io::read_to_string(running.0.stderr.take().unwrap()).unwrap();
    assert_eq!(errors, "");
    assert!(
        !std::fs::read_to_string(&rotated)
            .unwrap()
            .contains("the-second")
    );
}

#[test]
fn a_log_file_that_cannot_be_opened_is_told_at_start() {
    let mut command = gateway_command!();
    command.env("NOVA_IMAGE_PROXY__LOG__FILE", "/no/such/folder/log");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("log.file: cannot open /no/such/folder/log: No such file or directory"),
        "{error}"
    );
}
