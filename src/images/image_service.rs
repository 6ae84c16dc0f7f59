//! Glance, the response cache and the queues for writes in one.

use super::error::WriteError;
use super::metadata_update::{MetadataUpdate, properties};
use super::transitional::Transitional;
use super::write_locks::{Lane, LockError, Turn, WriteLocks};
use crate::cache::coherence::InvalidationBus;
use crate::cache::{InvalidatedImages, Invalidation, PendingWrite, ResponseCache};
use crate::glance::{
    CallContext, GlanceClient, GlanceError, Image, ImageDocument, ImageId, ImageQuery, PageStream,
    PatchOp, json_str, patch,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Reads and changes images on behalf of every legacy API.
#[derive(Debug)]
pub struct ImageService {
    glance: GlanceClient,
    cache: Arc<ResponseCache>,
    bus: Arc<dyn InvalidationBus>,
    locks: WriteLocks,
    transitional_window: Duration,
}

/// A client that changes an image.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'w> {
    /// On whose behalf Glance is called.
    pub caller: &'w CallContext,
    /// The project of the caller's validated token; `None` where only Glance knows it.
    pub project_id: Option<&'w str>,
    /// Canceled when the client leaves: a write of which nothing was sent ends then.
    pub cancellation: &'w CancellationToken,
}

impl ImageService {
    /// A service without a cached response and without a write. `transitional_window` is
    /// `cache.transitional_window`.
    #[must_use]
    pub fn new(
        glance: GlanceClient,
        cache: Arc<ResponseCache>,
        bus: Arc<dyn InvalidationBus>,
        transitional_window: Duration,
    ) -> Self {
        Self {
            glance,
            cache,
            bus,
            locks: WriteLocks::default(),
            transitional_window,
        }
    }

    /// The client of Glance.
    #[must_use]
    pub fn glance(&self) -> &GlanceClient {
        &self.glance
    }

    /// The cache that every write invalidates.
    #[must_use]
    pub fn cache(&self) -> &Arc<ResponseCache> {
        &self.cache
    }

    /// Which images are in a transitional state, as of now.
    #[must_use]
    pub fn transitional(&self) -> Transitional {
        Transitional::now(self.transitional_window)
    }

    /// One image, read from Glance.
    pub async fn show(
        &self,
        caller: &CallContext,
        id: &ImageId,
    ) -> Result<ImageDocument, GlanceError> {
        self.glance.show(caller, id).await
    }

    /// The pages of a list, read from Glance.
    #[must_use]
    pub fn pages(&self, caller: CallContext, query: ImageQuery) -> PageStream {
        self.glance.pages(caller, query)
    }

    /// Deletes an image. The write does not wait for other writes: it depends on nothing that they
    /// change. It is never sent twice.
    pub async fn delete(&self, writer: Writer<'_>, id: &ImageId) -> Result<(), WriteError> {
        if writer.cancellation.is_cancelled() {
            return Err(WriteError::Canceled);
        }
        let mut write = self.begin_write(id);
        let deadline = self.glance.deadline(writer.caller);
        let call = self.glance.delete(writer.caller, id);
        let deleted = write.track(deadline, call).await;
        write.commit().await;
        Ok(deleted?)
    }

    /// Changes the image's properties and returns the image as it is then; `max_items` is the most
    /// properties it may have, or -1.
    ///
    /// Other writers of this image in this process wait meanwhile. A writer elsewhere that gets in
    /// between is noticed by Glance as a conflict. Then, and when the exchange broke so that the
    /// write may have been applied, the image is read again, and the write is sent once more unless
    /// the image is as wanted.
    pub async fn update_metadata(
        &self,
        writer: Writer<'_>,
        id: &ImageId,
        update: &MetadataUpdate,
        max_items: i64,
    ) -> Result<ImageDocument, WriteError> {
        let turn = writer
            .cancellation
            .run_until_cancelled(self.take_turn(writer, id));
        let (current, lane, mut turn) = turn.await.ok_or(WriteError::Canceled)??;
        let ops = operations(&current, update, max_items)?;
        let mut write = self.begin_write(id);
        let result = if ops.is_empty() {
            // Its client was told of the image as it is now, and must not be shown an older one. For
            // an outsider Glance has judged nothing, so that others' responses stay.
            if lane == Lane::Member {
                write.state_shown();
            }
            Ok(current)
        } else {
            turn.sending();
            self.patch(&mut write, writer.caller, id, &ops, |current| {
                operations(current, update, max_items)
            })
            .await
        };
        write.commit().await;
        result
    }

    /// Waits for the image's turn, with the image as it is then. A caller who may not see it learns
    /// that before: no write waits for callers who cannot write.
    async fn take_turn(
        &self,
        writer: Writer<'_>,
        id: &ImageId,
    ) -> Result<(ImageDocument, Lane, Turn<'_>), WriteError> {
        let queue = self.locks.queue(id);
        let version = queue.version();
        let document = self.show(writer.caller, id).await?;
        let lane = lane(&document.image()?, writer.project_id);
        let turn = queue.lock(lane, writer.caller.deadline).await?;
        if turn.is_unchanged_since(version) {
            return Ok((document, lane, turn));
        }
        Ok((self.show(writer.caller, id).await?, lane, turn))
    }

    async fn patch(
        &self,
        write: &mut PendingWrite,
        caller: &CallContext,
        id: &ImageId,
        ops: &[PatchOp],
        operations: impl Fn(&ImageDocument) -> Result<Vec<PatchOp>, WriteError>,
    ) -> Result<ImageDocument, WriteError> {
        let deadline = self.glance.deadline(caller);
        let call = self.glance.patch(caller, id, ops);
        match write.track(deadline, call).await {
            Err(error) if error.is_resolved_by_reading() => {}
            result => return Ok(result?),
        }
        let current = self.show(caller, id).await?;
        let ops = operations(&current)?;
        if ops.is_empty() {
            write.state_shown();
            return Ok(current);
        }
        let deadline = self.glance.deadline(caller);
        let call = self.glance.patch(caller, id, &ops);
        Ok(write.track(deadline, call).await?)
    }

    /// Images were made or removed by another service: all lists are old when this returns.
    pub async fn invalidate_lists(&self) {
        let invalidation = Invalidation::of_lists();
        self.cache.invalidate(invalidation);
        self.bus.publish(invalidation).await;
    }

    /// A write to `images` that a client sends to Glance itself, through this gateway.
    #[must_use]
    pub fn begin_passed_write(&self, images: InvalidatedImages) -> PendingWrite {
        PendingWrite::passed_through(Arc::clone(&self.cache), Arc::clone(&self.bus), images)
    }

    /// Waits for the image's turn, for a PATCH that a client sends to Glance itself. Nothing is known of its rights,
    /// so it waits as a caller of another project does.
    pub async fn lock_for_passed_patch(
        &self,
        id: &ImageId,
        deadline: Instant,
    ) -> Result<Turn<'_>, LockError> {
        self.locks.queue(id).lock(Lane::Outsider, deadline).await
    }

    fn begin_write(&self, id: &ImageId) -> PendingWrite {
        PendingWrite::new(Arc::clone(&self.cache), Arc::clone(&self.bus), id)
    }
}

/// The fewest operations that make `update` of the image.
fn operations(
    document: &ImageDocument,
    update: &MetadataUpdate,
    max_items: i64,
) -> Result<Vec<PatchOp>, WriteError> {
    let before = properties(&document.image()?);
    let after = update.apply(&before, max_items)?;
    Ok(patch::diff(&before, &after))
}

fn lane(image: &Image<'_>, project_id: Option<&str>) -> Lane {
    match (image.owner.and_then(json_str), project_id) {
        (Some(owner), Some(project_id)) if owner != project_id => Lane::Outsider,
        (Some(_) | None, _) => Lane::Member,
    }
}
