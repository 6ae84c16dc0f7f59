//! Mistakes in the settings, behind a load balancer that checks `/ready` and has Nova as its backup: no
//! client notices any of them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use test_support::GatewayProcess;
use test_support::client::{self, Response};

use rstest::rstest;

use crate::gateway;
use crate::stack::Stack;
use crate::test_user::{PASSWORD, TestUser};

const LIST: &str = "/v2.1/images?limit=1";
/// `HAProxy` notices within two checks.
const PATIENCE: Duration = Duration::from_secs(20);

/// A `HAProxy` process; it is killed when this is dropped.
struct HaProxy {
    child: Child,
    base: String,
}

impl HaProxy {
    /// In front of a gateway, with Nova as the backup. Each answer says in `X-Served-By` which of
    /// them it comes from.
    fn start(gateway: &GatewayProcess, admin_port: u16, nova: &str) -> Self {
        let port = free_port();
        let (nova, _) = client::split(nova);
        let [gateway, nova] = [gateway.base(), nova].map(client::authority);
        let settings = format!(
            "global\n    log stderr format raw local0\n\
             defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    \
             timeout server 60s\n    timeout check 5s\n\
             listen compute\n    bind 127.0.0.1:{port}\n    option httpchk GET /ready\n    \
             http-response set-header X-Served-By %[srv_name]\n    \
             default-server inter 200ms fall 1 rise 1\n    \
             server gateway {gateway} check port {admin_port}\n    \
             server nova {nova} backup\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), settings).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(file.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed (`.ci/run` installs it)");
        let proxy = Self {
            child,
            base: format!("http://127.0.0.1:{port}"),
        };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "haproxy does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    /// The status and the server that answered.
    fn list(&self, token: &str) -> (u16, String) {
        let answer = client::ask(&self.base, "GET", LIST, &[("X-Auth-Token", token)], None);
        let served_by = answer.header("x-served-by").unwrap_or("haproxy").to_owned();
        (answer.status, served_by)
    }

    /// Waits until `server` answers.
    fn wait_for(&self, server: &str, token: &str) {
        let started = Instant::now();
        while self.list(token).1 != server {
            assert!(started.elapsed() < PATIENCE, "{server} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // Either fails only for a process that is gone already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A gateway, and the port of its admin listener.
fn start(stack: &Stack, settings: &[(&str, &str)]) -> (GatewayProcess, u16) {
    let port = free_port();
    let admin = format!("127.0.0.1:{port}");
    let settings = [settings, &[("ADMIN__LISTEN", &admin)]].concat();
    (gateway::start(stack, &settings), port)
}

fn ready(admin_port: u16) -> Response {
    let admin = format!("http://127.0.0.1:{admin_port}");
    client::ask(&admin, "GET", "/ready", &[], None)
}

fn own_user<'a>(name: &'a str, password: &'a str, project: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("KEYSTONE__USERNAME", name),
        ("KEYSTONE__PASSWORD", password),
        ("KEYSTONE__PROJECT_NAME", project),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Mistake {
    KeystonePath,
    Password,
    Role,
    GlancePrefix,
    Region,
    OwnAddress,
}

#[rstest]
#[case::a_wrong_path_in_keystones_url(Mistake::KeystonePath, "keystone.identity")]
#[case::a_wrong_password(Mistake::Password, "keystone.credentials")]
#[case::a_missing_role(Mistake::Role, "the user needs role service on its project")]
#[case::a_wrong_prefix_of_glance(Mistake::GlancePrefix, "glance.versions")]
#[case::a_typo_in_the_region(Mistake::Region, "keystone.region_name")]
#[case::the_gateways_own_address_as_glance(Mistake::OwnAddress, "perhaps this gateway itself")]
fn with_a_mistake_in_the_settings_nova_answers_every_request(
    #[case] mistake: Mistake,
    #[case] reason: &str,
) {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let nova = stack.compute().expect("the stack has Nova");
    let service = TestUser::in_project(stack, "service", "service");
    let member = TestUser::in_project(stack, "demo", "member");
    let own = format!("127.0.0.1:{}", free_port());
    let (keystone, _) = client::split(stack.identity());
    let (own_url, keystone, glance) = (
        format!("http://{own}"),
        format!("{keystone}/idenity/v3"),
        format!("{}/imgae", stack.image()),
    );
    let good = own_user(service.name(), PASSWORD, "service");
    let settings = match mistake {
        Mistake::KeystonePath => vec![("KEYSTONE__AUTH_URL", keystone.as_str())],
        Mistake::Password => own_user(service.name(), "not-it", "service"),
        Mistake::Role => own_user(member.name(), PASSWORD, "demo"),
        Mistake::GlancePrefix => vec![("GLANCE__ENDPOINTS", glance.as_str())],
        Mistake::Region => [
            good,
            vec![
                ("GLANCE__MODE", "external"),
                ("GLANCE__ENDPOINTS", ""),
                ("KEYSTONE__REGION_NAME", "RegionTwo"),
            ],
        ]
        .concat(),
        Mistake::OwnAddress => vec![
            ("SERVER__LISTEN", own.as_str()),
            ("GLANCE__ENDPOINTS", own_url.as_str()),
        ],
    };
    let (gateway, admin_port) = start(stack, &settings);
    let ready = ready(admin_port);
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains(reason), "{}", ready.text());

    let proxy = HaProxy::start(&gateway, admin_port, nova);
    let token = stack.token("demo");
    proxy.wait_for("nova", &token);
    for _ in 0..20 {
        assert_eq!(proxy.list(&token), (200, "nova".to_owned()));
    }
}

#[test]
fn with_right_settings_the_gateway_answers() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let nova = stack.compute().expect("the stack has Nova");
    let service = TestUser::in_project(stack, "service", "service");
    let (gateway, admin_port) = start(stack, &own_user(service.name(), PASSWORD, "service"));
    // The first token of the gateway's own can take Keystone longer than one check.
    let started = Instant::now();
    while ready(admin_port).status != 200 {
        let text = ready(admin_port).text();
        assert!(started.elapsed() < PATIENCE, "{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let proxy = HaProxy::start(&gateway, admin_port, nova);
    let token = stack.token("demo");
    proxy.wait_for("gateway", &token);
    for _ in 0..20 {
        assert_eq!(proxy.list(&token), (200, "gateway".to_owned()));
    }
}
