//! `PUT /v2/images/{id}/file`: the data goes from the connection to a thread that hashes and writes
//! it, so that other requests do not wait.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Payload};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

use super::data::DataDir;
use super::data::upload::{Piece, UploadError, receive};
use super::error::Fault;
use super::filters::parse_integer;
use super::identity::Identity;
use super::images::{self, Response};
use super::model::Image;
use super::render::STORE;
use super::server::State;
use super::store::Store;

/// How long the next piece of the data may take to arrive.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces that wait for the writer.
const QUEUED_PIECES: usize = 16;
/// Uploads that are written at a time, each on a thread of its own.
const CONCURRENT_UPLOADS: usize = 64;
/// What is still read of a refused upload, so that its client sees the answer: bytes.
const DRAINED: usize = 64 << 20;

/// What all uploads share.
pub(super) struct Uploads {
    permits: Arc<Semaphore>,
    /// Whether data of another format than the image's is refused.
    enforce_formats: bool,
}

impl Uploads {
    pub(super) fn new(enforce_formats: bool) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONCURRENT_UPLOADS)),
            enforce_formats,
        }
    }
}

/// The head of an upload's request.
pub(super) struct Upload {
    pub(super) caller: Identity,
    pub(super) id: String,
    pub(super) content_type: String,
    /// `X-OpenStack-Image-Size`
    pub(super) size: Option<String>,
    /// `X-Image-Meta-Store`
    pub(super) store: Option<String>,
}

impl Upload {
    /// Reads the data to its end. When the future is dropped, or the client goes away, the writer
    /// makes the image wait for data again.
    pub(super) async fn receive(
        self,
        state: &State,
        mut payload: Payload,
    ) -> Result<Response, Fault> {
        let announced = self.check_head()?;
        let permits = Arc::clone(&state.uploads.permits);
        let permit = permits.acquire_owned().await;
        let permit = permit.map_err(|_| Fault::unavailable())?;
        let (sender, pieces) = mpsc::channel(QUEUED_PIECES);
        let writer = Writer {
            store: Arc::clone(&state.store),
            data: Arc::clone(&state.data),
            enforce_formats: state.uploads.enforce_formats,
            announced,
            upload: self,
        };
        let written = web::block(move || {
            let outcome = writer.run(pieces);
            drop(permit);
            outcome
        });
        let forward = async {
            forward(&mut payload, &sender).await;
            drop(sender);
        };
        let (outcome, ()) = tokio::join!(written, forward);
        let outcome = outcome.map_err(|error| {
            tracing::error!(%error, "the writer of an upload did not end");
            Fault::internal()
        })?;
        if outcome.is_err() {
            drain(&mut payload).await;
        }
        outcome.map(|()| Response::empty())
    }

    /// The checks that need no database; the announced size, zero for none.
    fn check_head(&self) -> Result<i64, Fault> {
        let media = self.content_type.split(';').next().unwrap_or_default();
        if media.trim() != "application/octet-stream" {
            return Err(Fault::not_image_data(&self.content_type));
        }
        let announced = match self.size.as_deref() {
            None => 0,
            Some(size) => parse_integer(size).ok_or_else(|| {
                Fault::bad_request("Invalid or missing image size in request headers.")
            })?,
        };
        match self.store.as_deref() {
            None | Some(STORE) => Ok(announced),
            Some(store) => Err(Fault::bad_request(format!(
                "Store for identifier {store} not found"
            ))),
        }
    }
}

/// Sends the data to the writer, until its end or until the writer takes no more.
async fn forward(payload: &mut Payload, sender: &Sender<Piece>) {
    loop {
        let piece = match timeout(PIECE_TIMEOUT, payload.next()).await {
            Ok(Some(Ok(piece))) => Piece::Data(piece),
            Ok(None) => {
                let _refused = sender.send(Piece::End).await;
                return;
            }
            Ok(Some(Err(_))) | Err(_) => return,
        };
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

/// A connection that is closed with unread data may lose the answer that is on its way.
async fn drain(payload: &mut Payload) {
    let mut read = 0;
    while let Ok(Some(Ok(piece))) = timeout(PIECE_TIMEOUT, payload.next()).await {
        read += piece.len();
        if read > DRAINED {
            return;
        }
    }
}

/// The blocking side of an upload.
struct Writer {
    store: Arc<Store>,
    data: Arc<DataDir>,
    enforce_formats: bool,
    announced: i64,
    upload: Upload,
}

impl Writer {
    fn run(self, mut pieces: Receiver<Piece>) -> Result<(), Fault> {
        let id = &self.upload.id;
        let image = self
            .store
            .write(|c| images::data::begin(c, &self.upload.caller, id))?;
        let outcome = self.write(&image, &mut pieces);
        if outcome.is_err() {
            self.store.write(|c| images::data::restore(c, id))?;
        }
        outcome
    }

    /// The data is in its place before the image becomes active.
    fn write(&self, image: &Image, pieces: &mut Receiver<Piece>) -> Result<(), Fault> {
        let id = &image.id;
        let mut incoming = self.data.incoming().map_err(UploadError::from)?;
        let digest = receive(pieces, &mut incoming, self.announced)?;
        let inspected = images::data::inspect(image, &incoming.file, self.enforce_formats);
        let virtual_size = match inspected.map_err(UploadError::from)? {
            Ok(virtual_size) => virtual_size,
            Err(reason) => {
                self.store.write(|c| images::data::refuse(c, id, digest))?;
                return Err(Fault::wrong_data(reason));
            }
        };
        self.data
            .keep(&mut incoming, id)
            .map_err(UploadError::from)?;
        let finished = self
            .store
            .write(|c| images::data::finish(c, id, digest, virtual_size));
        if finished.is_err() {
            self.data.remove(id);
        }
        finished
    }
}
