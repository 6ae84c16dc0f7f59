//! A Glance v2 on SQLite, for machines without a cloud: development, demonstrations, test suites.
//! It is not a production image service.
//!
//! A request goes `server` → `route` → a call in `images` → `store`, and back through `render` or
//! `error`. What Glance's rules are stands in pure modules: `filters`, `patch`, `policy`, `schema`.
//! It serves the images API with data, members, tags and actions, and the discovery calls. Imports,
//! tasks, the image cache and metadata definitions answer as in a Glance that has none.

mod data;
mod error;
mod escaping_stream;
mod filters;
mod identity;
mod identity_service;
mod images;
mod inspect;
mod json;
mod model;
mod operation;
mod params;
mod patch;
mod policy;
mod render;
mod route;
mod samples;
mod schema;
mod server;
mod settings;
mod sort;
mod store;
mod time;
mod upload;
mod versions;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_http::HttpService;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, Server, ServerHandle};
use actix_web::http::header::HeaderValue;
use actix_web::{App, web};
use tokio::net::TcpStream;
use url::Url;

use escaping_stream::EscapingStream;

pub use data::DataDirError;
pub use identity::{Authentication, AuthenticationError, DEFAULT_PROJECT, DEFAULT_USER, Identity};
pub use identity_service::{Catalog, IdentityService, IdentityStartError};
pub use settings::Settings;
pub use store::OpenError;

/// SQLite takes one call at a time, so more workers would only wait for each other.
const WORKERS: usize = 1;
/// How long an idle connection stays open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a graceful stop waits for the requests that run.
const SHUTDOWN_SECONDS: u64 = 5;

/// Why the embedded Glance does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The folder for the data of images cannot be used.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The address cannot be listened on, or a thread could not be had.
    #[error("the embedded Glance cannot listen on {address}: {source}")]
    Listen {
        /// The address of the settings.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Nothing validates tokens, so every caller is an admin.
    #[error(
        "the embedded Glance lets everybody in, so it listens on loopback addresses only, and {0} is \
         none"
    )]
    NotLoopback(SocketAddr),
    /// What a process before left behind could not be put in order.
    #[error("the embedded Glance cannot restore its store")]
    Recovery,
    /// The sample images could not be written or read.
    #[error("the embedded Glance cannot keep its sample images")]
    Samples,
    /// The address cannot be put into a URL, or the server ended before it began.
    #[error("the embedded Glance did not come up")]
    NotUp,
}

/// Empties a running Glance.
#[derive(Clone)]
pub struct Resetter {
    store: Arc<store::Store>,
    data: Arc<data::DataDir>,
    with_samples: bool,
}

/// The store could not be emptied; the log says why.
#[derive(Debug, thiserror::Error)]
#[error("the embedded Glance could not be emptied")]
pub struct ResetError;

impl Resetter {
    /// Deletes every image with its data, and forgets that there were any; then adds the sample
    /// images, where the settings want them. Blocks.
    pub fn reset(&self) -> Result<(), ResetError> {
        let emptied = self.store.write(|connection| {
            store::images::delete_all(connection)?;
            // Before the commit: afterwards the file of a new image could be among them.
            self.data.clear().map_err(|error| {
                tracing::error!(%error, "cannot remove the data of images");
                error::Fault::internal()
            })?;
            if self.with_samples {
                samples::add_to_empty(connection, &self.data)?;
            }
            Ok(())
        });
        emptied.map_err(|_| ResetError)
    }
}

/// A running Glance. It answers from the moment it is made, and ends when it is stopped or dropped.
pub struct EmbeddedGlance {
    endpoint: Url,
    sample_image: Option<String>,
    resetter: Resetter,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedGlance {
    /// Starts one on a thread and runtime of its own. A caller without a token is an admin of
    /// [`DEFAULT_PROJECT`]; a token may name another caller, as [`Identity::parse`] reads it.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        Self::builder(settings.clone()).start()
    }

    /// For one that tells callers apart.
    #[must_use]
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            authenticator: identity::Authenticator::default(),
        }
    }

    /// `http://127.0.0.1:PORT/`, without the version.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The id of a sample image that a caller without a token may change; none where it was removed,
    /// or never was.
    #[must_use]
    pub fn sample_image(&self) -> Option<&str> {
        self.sample_image.as_deref()
    }

    /// For emptying this one.
    #[must_use]
    pub fn resetter(&self) -> Resetter {
        self.resetter.clone()
    }

    /// Takes no more requests and waits for the end; graceful lets those that run finish.
    pub async fn stop(mut self, graceful: bool) {
        self.handle.stop(graceful).await;
        self.join();
    }

    /// Short: the server's thread ends with its server.
    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the embedded Glance panicked");
        }
    }
}

impl Drop for EmbeddedGlance {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // The command is sent at once; the future only waits for its end, which join does.
            drop(self.handle.stop(false));
            self.join();
        }
    }
}

/// What a Glance is started with.
pub struct Builder {
    settings: Settings,
    authenticator: identity::Authenticator,
}

impl Builder {
    /// Makes a token valid without asking a validator: for tests.
    #[must_use]
    pub fn identity(mut self, token: impl Into<String>, identity: Identity) -> Self {
        self.authenticator.add(token.into(), identity);
        self
    }

    /// Authenticates tokens with `validate`, as Glance does with Keystone. A caller without a token
    /// is then refused.
    #[must_use]
    pub fn authenticate_with(
        mut self,
        validate: impl Fn(&str) -> Authentication + Send + Sync + 'static,
    ) -> Self {
        self.authenticator.validate_with(Box::new(validate));
        self
    }

    /// Opens the database, adds the sample images and serves.
    pub fn start(self) -> Result<EmbeddedGlance, StartError> {
        let address = self.settings.listen;
        if self.authenticator.is_open() && !address.ip().is_loopback() {
            return Err(StartError::NotLoopback(address));
        }
        let store = store::Store::open(self.settings.database.as_deref())?;
        let data = data::DataDir::open(data_dir(&self.settings).as_deref())?;
        recover(&store, &data)?;
        if self.settings.sample_images {
            store
                .write(|connection| samples::add_to_empty(connection, &data))
                .map_err(|_| StartError::Samples)?;
        }
        let sample_image = store
            .read(samples::to_show)
            .map_err(|_| StartError::Samples)?;
        let listen_error = |source| StartError::Listen { address, source };
        let listener = listen(&self.settings).map_err(listen_error)?;
        let base = format!("http://{}", listener.local_addr().map_err(listen_error)?);
        let endpoint = Url::parse(&base).map_err(|_| StartError::NotUp)?;
        let uri = self.settings.www_authenticate_uri.as_deref();
        let www_authenticate = format!("Keystone uri=\"{}\"", uri.unwrap_or(&base));
        let state = server::State {
            store: Arc::new(store),
            data: Arc::new(data),
            authenticator: self.authenticator,
            base,
            www_authenticate: HeaderValue::from_str(&www_authenticate)
                .map_err(|_| StartError::NotUp)?,
            uploads: upload::Uploads::new(self.settings.inspect_formats),
        };
        let resetter = Resetter {
            store: Arc::clone(&state.store),
            data: Arc::clone(&state.data),
            with_samples: self.settings.sample_images,
        };
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("embedded-glance".to_owned())
            .spawn(move || run(listener, state, &sender))
            .map_err(listen_error)?;
        let handle = receiver.recv().map_err(|_| StartError::NotUp)?;
        let handle = handle.map_err(listen_error)?;
        Ok(EmbeddedGlance {
            endpoint,
            sample_image,
            resetter,
            handle,
            thread: Some(thread),
        })
    }
}

fn listen(settings: &Settings) -> std::io::Result<TcpListener> {
    let address = settings.listen;
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && settings.any_port_if_taken => {
            TcpListener::bind((address.ip(), 0))
        }
        bound => bound,
    }
}

/// The folder for data; none is a temporary one.
fn data_dir(settings: &Settings) -> Option<PathBuf> {
    let beside = |database: &PathBuf| {
        let mut path = database.clone().into_os_string();
        path.push(".data");
        PathBuf::from(path)
    };
    let beside = settings.database.as_ref().map(beside);
    settings.data_dir.clone().or(beside)
}

/// Puts in order what a process left that was killed: uploads that did not end, and files of images
/// that are gone.
fn recover(store: &store::Store, data: &data::DataDir) -> Result<(), StartError> {
    let with_data = store
        .write(|connection| {
            store::images::end_uploads(connection)?;
            store::images::with_data(connection)
        })
        .map_err(|_| StartError::Recovery)?;
    Ok(data.clean(|id| with_data.contains(id))?)
}

/// The thread's work: tells that the server is up, or why not, and runs it to its end.
fn run(
    listener: TcpListener,
    state: server::State,
    up: &mpsc::Sender<std::io::Result<ServerHandle>>,
) {
    let state = web::Data::new(state);
    let outcome = actix_web::rt::System::new().block_on(async move {
        let factory = move || {
            let app = App::new()
                .app_data(state.clone())
                .default_service(web::to(server::handle));
            let accept = fn_service(|io: TcpStream| async {
                let peer = io.peer_addr().ok();
                Ok((EscapingStream::new(io), peer))
            });
            let http = HttpService::build()
                .keep_alive(KEEP_ALIVE)
                .h1(map_config(app, |()| AppConfig::default()));
            accept.and_then(http)
        };
        let server = Server::build()
            .workers(WORKERS)
            .shutdown_timeout(SHUTDOWN_SECONDS)
            .disable_signals()
            .listen("embedded-glance", listener, factory);
        let server = match server {
            Ok(server) => server.run(),
            Err(error) => {
                drop(up.send(Err(error)));
                return Ok(());
            }
        };
        drop(up.send(Ok(server.handle())));
        server.await
    });
    if let Err(error) = outcome {
        tracing::error!(%error, "the embedded Glance ended");
    }
}
