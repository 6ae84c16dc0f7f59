//! A list of any length, page by page.

use super::client::{CallContext, GlanceClient};
use super::error::GlanceError;
use super::model::{ImagePage, text};
use super::query::ImageQuery;
use bytes::Bytes;
use std::collections::HashSet;
use tokio::task::JoinSet;

impl GlanceClient {
    /// The pages of a list, one at a time. They may come from different endpoints: all of them
    /// show the same images, and a marker says where to go on at any of them.
    #[must_use]
    pub fn pages(&self, caller: CallContext, query: ImageQuery) -> PageStream {
        PageStream {
            glance: self.clone(),
            caller,
            left: query.limit.unwrap_or(u64::MAX),
            query,
            count: 0,
            markers: HashSet::new(),
            next: Next::Fetch(None),
        }
    }
}

/// The pages of one list. A page's successor is fetched while the page is in use.
#[derive(Debug)]
pub struct PageStream {
    glance: GlanceClient,
    caller: CallContext,
    query: ImageQuery,
    /// Images the client still wants.
    left: u64,
    /// Images seen so far.
    count: u64,
    /// Where pages have begun, to notice a circle.
    markers: HashSet<String>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// To be asked for, after this marker.
    Fetch(Option<String>),
    /// Under way; aborted when the stream is dropped.
    Pending(JoinSet<Result<Bytes, GlanceError>>),
    End,
}

impl PageStream {
    /// Calls `visit` with each page in turn. The page is gone when `visit` returns, and its
    /// successor is on its way meanwhile.
    pub async fn for_each(
        mut self,
        mut visit: impl FnMut(ImagePage<'_>),
    ) -> Result<(), GlanceError> {
        while let Some(body) = self.body().await? {
            let mut page = ImagePage::parse(&body)?;
            page.images
                .truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.advance(&page)?;
            visit(page);
        }
        Ok(())
    }

    async fn body(&mut self) -> Result<Option<Bytes>, GlanceError> {
        let size = self.page_size();
        match std::mem::replace(&mut self.next, Next::End) {
            Next::End => Ok(None),
            Next::Fetch(marker) => self
                .glance
                .page(
                    &self.caller,
                    &self.query,
                    size,
                    marker.as_deref().or(self.first_marker()),
                )
                .await
                .map(Some),
            Next::Pending(mut task) => match task.join_next().await {
                Some(Ok(body)) => body.map(Some),
                Some(Err(_)) | None => Err(GlanceError::Unavailable(
                    "the call to it ended early".to_owned(),
                )),
            },
        }
    }

    fn first_marker(&self) -> Option<&str> {
        self.query.marker.as_deref()
    }

    /// Counts `page` and starts the next one, when there is one to come.
    fn advance(&mut self, page: &ImagePage<'_>) -> Result<(), GlanceError> {
        let images = page.images.len() as u64;
        self.count += images;
        self.left -= images;
        if self.count > self.glance.call.max_images {
            return Err(GlanceError::TooManyImages(self.glance.call.max_images));
        }
        if self.left == 0 || images == 0 || page.next.is_none() {
            self.next = Next::End;
            return Ok(());
        }
        let marker = marker_of(page).ok_or_else(|| {
            GlanceError::InvalidResponse(
                "a page with a next and no marker to go on from".to_owned(),
            )
        })?;
        if !self.markers.insert(marker.clone()) {
            return Err(GlanceError::InvalidResponse(
                "the pages of the list go in a circle".to_owned(),
            ));
        }
        let mut task = JoinSet::new();
        let (glance, caller, query) =
            (self.glance.clone(), self.caller.clone(), self.query.clone());
        let size = self.page_size();
        task.spawn(async move { glance.page(&caller, &query, size, Some(&marker)).await });
        self.next = Next::Pending(task);
        Ok(())
    }

    /// One image more than allowed is asked for, to tell a list that just fits from one too long.
    fn page_size(&self) -> u64 {
        let allowed = self
            .glance
            .call
            .max_images
            .saturating_sub(self.count)
            .saturating_add(1);
        self.glance
            .call
            .page_size
            .min(self.left)
            .min(allowed)
            .max(1)
    }
}

/// The marker `next` names; its host and path are never followed. A `next` without one goes on
/// after the page's last image.
fn marker_of(page: &ImagePage<'_>) -> Option<String> {
    let next = text(page.next?).unwrap_or_default();
    let query = next
        .split_once('?')
        .map(|(_, query)| query)
        .unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "marker")
        .map(|(_, marker)| marker.into_owned())
        .or_else(|| text(page.images.last()?.id?).map(std::borrow::Cow::into_owned))
}
