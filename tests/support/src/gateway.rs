//! The gateway in the process of the test, on a thread of its own, built as `main` builds it.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use nova_image_proxy::application::Application;
use nova_image_proxy::config;
use nova_image_proxy::telemetry::log_writer::LogWriter;
use tokio::sync::oneshot;

/// A running gateway; it stops when this is dropped.
pub struct TestGateway {
    address: SocketAddr,
    base: String,
    admin: String,
    image: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestGateway {
    /// Starts one on a free port. `settings` are environment variables without their prefix, such
    /// as `("CACHE__ENABLED", "false")`.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::logging(settings, LogWriter::null())
    }

    /// Starts one whose access lines go to `log`.
    pub fn logging(settings: &[(&str, &str)], log: LogWriter) -> Self {
        let usual = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__WORKERS", "2"),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("IMAGE__LISTEN", "off"),
            ("SERVER__DRAIN_GRACE", "50ms"),
        ];
        let environment = usual
            .iter()
            .chain(settings)
            .map(|(name, value)| (format!("NOVA_IMAGE_PROXY__{name}"), (*value).to_owned()));
        let settings = config::load(&[], environment).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let application = Application::build(&settings, &log).unwrap();
                let (admin, image) = (application.admin_address(), application.image_address());
                let stop = async {
                    // Sent or dropped, it is over.
                    let _stopped = stopped.await;
                };
                application
                    .run(stop, |address| ready.send((address, admin, image)).unwrap())
                    .await
                    .unwrap();
            });
        });
        let (address, admin, image) = address.recv().unwrap();
        let url = |address| format!("http://{address}");
        let [admin, image] = [admin, image].map(|address| address.map(url).unwrap_or_default());
        Self {
            address,
            base: format!("http://{address}"),
            admin,
            image,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The image listener, the same way.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The admin listener, the same way.
    pub fn admin(&self) -> &str {
        &self.admin
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the gateway panicked"
            );
        }
    }
}
