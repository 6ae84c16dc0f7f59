//! A list of any length, page by page.
//!
//! A page begins after a marker, the last image of the page before it. When that image is deleted or hidden
//! from the caller meanwhile, Glance answers 400 or 403 to the marker. The list then goes on from an
//! earlier image and skips those already shown; see `resume_points`.

use super::client::{CallContext, GlanceClient};
use super::error::GlanceError;
use super::model::{Image, ImagePage, json_str};
use super::page::{PageRequest, PageResponse};
use super::query::ImageQuery;
use crate::telemetry::trace_context::TaskScope;
use bytes::Bytes;
use std::collections::HashSet;
use std::future::Future;
use tokio::task::JoinSet;

/// How often one list goes back to an earlier image.
const MAX_RESUMES: u32 = 32;

/// Where the pages of one list come from.
pub(super) trait PageSource: Clone + Send + Sync + 'static {
    /// Fetches one page.
    fn page(
        &self,
        request: PageRequest<'_>,
    ) -> impl Future<Output = Result<PageResponse, GlanceError>> + Send;
}

/// Fetches the pages of one list from Glance.
#[derive(Debug, Clone)]
pub struct GlancePages {
    glance: GlanceClient,
    caller: CallContext,
    query: ImageQuery,
}

impl PageSource for GlancePages {
    async fn page(&self, request: PageRequest<'_>) -> Result<PageResponse, GlanceError> {
        self.glance.page(&self.caller, &self.query, request).await
    }
}

/// Limits of one list.
#[derive(Debug, Clone)]
struct ListLimits {
    /// Images requested in one page.
    page_size: u64,
    /// Most images in all; a longer list is an error.
    max_images: u64,
    /// Most images wanted; a longer list is cut.
    limit: Option<u64>,
    /// The image that the list begins after.
    marker: Option<String>,
}

impl GlanceClient {
    /// The pages of a list. All come from one endpoint while that works: another one may not know the
    /// marker yet, or any more.
    #[must_use]
    pub fn pages(&self, caller: CallContext, query: ImageQuery) -> PageStream {
        let limits = ListLimits {
            page_size: self.call.page_size,
            max_images: self.call.max_images,
            limit: query.limit,
            marker: query.marker.clone(),
        };
        let source = GlancePages {
            glance: self.clone(),
            caller,
            query,
        };
        PageStream::new(source, limits)
    }
}

/// The pages of one list, one at a time, with backpressure: while a page is in use its successor is fetched, and no page
/// beyond that: a slow consumer holds two pages in memory at most.
#[derive(Debug)]
pub struct PageStream<S = GlancePages> {
    source: S,
    limits: ListLimits,
    /// Images the client still wants.
    left: u64,
    /// Images shown so far.
    count: u64,
    /// The markers of all pages, to notice a circle.
    markers: HashSet<String>,
    /// The index of the endpoint that gave the page in use.
    endpoint: Option<usize>,
    /// Pages that began at an earlier image than their marker.
    resumes: u32,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// To be fetched.
    First,
    /// Being fetched; aborted when the stream is dropped.
    Pending(JoinSet<Result<FetchedPage, GlanceError>>),
    End,
}

/// A page on its way into use.
#[derive(Debug)]
pub struct FetchedPage {
    body: Bytes,
    endpoint: usize,
    /// Most images on it.
    size: u64,
    /// Where it began.
    start: Option<String>,
    /// Images that were shown already: the list has gone back to an earlier image.
    skip: HashSet<String>,
    /// The page began at an earlier image than its marker.
    resumed: bool,
}

/// Where a page begins, and where it may begin instead if Glance does not know that image any more.
#[derive(Debug)]
struct Position {
    marker: String,
    /// The ids of the page before, in order.
    page: Vec<String>,
    /// Images that the page before skipped, and this one has to skip.
    skip: HashSet<String>,
    /// Where that one began.
    start: Option<String>,
}

#[expect(private_bounds, reason = "the sources of pages are this module's own")]
impl<S: PageSource> PageStream<S> {
    fn new(source: S, limits: ListLimits) -> Self {
        Self {
            source,
            left: limits.limit.unwrap_or(u64::MAX),
            count: 0,
            markers: HashSet::new(),
            limits,
            endpoint: None,
            resumes: 0,
            next: Next::First,
        }
    }

    /// Calls `visit` with each page in turn.
    pub async fn for_each(
        mut self,
        mut visit: impl FnMut(ImagePage<'_>),
    ) -> Result<(), GlanceError> {
        while let Some(fetched) = self.fetch().await? {
            visit(self.accept(&fetched)?);
        }
        Ok(())
    }

    /// Waits for the next page; `None` after the last one. The page goes to [`Self::accept`], which starts the
    /// fetch of its successor: a consumer that does not call it holds the list there.
    pub async fn fetch(&mut self) -> Result<Option<FetchedPage>, GlanceError> {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::End => Ok(None),
            Next::First => {
                let size = self.page_size();
                let request = PageRequest {
                    size,
                    marker: self.limits.marker.as_deref(),
                    endpoint: None,
                };
                let PageResponse { body, endpoint } = self.source.page(request).await?;
                Ok(Some(FetchedPage {
                    body,
                    endpoint,
                    size,
                    start: self.limits.marker.clone(),
                    skip: HashSet::new(),
                    resumed: false,
                }))
            }
            Next::Pending(mut task) => match task.join_next().await {
                Some(Ok(page)) => page.map(Some),
                Some(Err(_)) | None => Err(GlanceError::Unavailable(
                    "the call to it ended early".to_owned(),
                )),
            },
        }
    }

    /// Parses `fetched` and starts the fetch of the page after it, if there is one.
    pub fn accept<'p>(&mut self, fetched: &'p FetchedPage) -> Result<ImagePage<'p>, GlanceError> {
        let max_images = usize::try_from(fetched.size).unwrap_or(usize::MAX);
        let mut page = ImagePage::parse(&fetched.body, max_images)?;
        self.endpoint = Some(fetched.endpoint);
        let last = page.images.last().and_then(id);
        let is_empty = page.images.is_empty();
        let ids: Vec<String> = page.images.iter().filter_map(id).collect();
        if fetched.resumed {
            self.resumes += 1;
            // The markers since the earlier image come again.
            self.markers.clear();
        }
        if self.resumes > MAX_RESUMES {
            let reason = "too many images of the list are deleted while it is made";
            return Err(GlanceError::Unavailable(reason.to_owned()));
        }
        if !fetched.skip.is_empty() {
            page.images
                .retain(|image| id(image).is_none_or(|id| !fetched.skip.contains(&id)));
        }
        page.images
            .truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        let images = page.images.len() as u64;
        self.count += images;
        self.left -= images;
        if self.count > self.limits.max_images {
            return Err(GlanceError::TooManyImages(self.limits.max_images));
        }
        if self.left > 0 && !is_empty && page.next.is_some() {
            let marker = marker_of(&page, last).ok_or_else(|| {
                GlanceError::InvalidResponse(
                    "a page with a next link and no marker to go on from".to_owned(),
                )
            })?;
            if !self.markers.insert(marker.clone()) {
                return Err(GlanceError::InvalidResponse(
                    "the pages of the list go in a circle".to_owned(),
                ));
            }
            self.prefetch(Position {
                marker,
                page: ids,
                skip: fetched.skip.clone(),
                start: fetched.start.clone(),
            });
        }
        Ok(page)
    }

    fn prefetch(&mut self, position: Position) {
        let (source, endpoint) = (self.source.clone(), self.endpoint);
        let (page_size, mut task) = (self.limits.page_size, JoinSet::new());
        let size = if position.skip.is_empty() {
            self.page_size()
        } else {
            page_size
        };
        let fetch = async move { position.fetch(&source, size, page_size, endpoint).await };
        task.spawn(TaskScope::current().run(fetch));
        self.next = Next::Pending(task);
    }

    /// One image more than allowed is requested, to tell a list that just fits from one that is too long.
    fn page_size(&self) -> u64 {
        let allowed = self.limits.max_images.saturating_sub(self.count);
        let allowed = allowed.saturating_add(1);
        self.limits.page_size.min(self.left).min(allowed).max(1)
    }
}

impl Position {
    /// Fetches the page that begins here. The ids of the page before stay known until it is there.
    async fn fetch(
        self,
        source: &impl PageSource,
        size: u64,
        page_size: u64,
        endpoint: Option<usize>,
    ) -> Result<FetchedPage, GlanceError> {
        let request = |size, marker| PageRequest {
            size,
            marker,
            endpoint,
        };
        let refused = match source.page(request(size, Some(&self.marker))).await {
            Ok(PageResponse { body, endpoint }) => {
                return Ok(FetchedPage {
                    body,
                    endpoint,
                    size,
                    start: Some(self.marker),
                    skip: self.skip,
                    resumed: false,
                });
            }
            Err(refused) if is_marker_refused(&refused) => refused,
            Err(error) => return Err(error),
        };
        for (marker, repeated) in resume_points(&self.page, self.start.as_deref()) {
            let is_whole = repeated == self.page.len();
            let repeated = u64::try_from(repeated).unwrap_or(u64::MAX);
            let size = size.saturating_add(repeated).min(page_size);
            match source.page(request(size, marker)).await {
                // An endpoint that knows no image of the page may not know the next ones either.
                Ok(response) if is_whole && Some(response.endpoint) != endpoint => break,
                Ok(PageResponse { body, endpoint }) => {
                    tracing::debug!("a list goes on from an earlier image: its marker is gone");
                    return Ok(FetchedPage {
                        body,
                        endpoint,
                        size,
                        start: marker.map(str::to_owned),
                        skip: self.shown(),
                        resumed: true,
                    });
                }
                Err(error) if is_marker_refused(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let reason = format!("no image is left to go on from in the list ({refused})");
        Err(GlanceError::Unavailable(reason))
    }

    /// All images that may be shown again when the list goes back.
    fn shown(&self) -> HashSet<String> {
        self.page.iter().chain(&self.skip).cloned().collect()
    }
}

/// Glance's answers to a marker that is gone, or that the caller may not see any more. The rest of the
/// request was good for the page before.
fn is_marker_refused(error: &GlanceError) -> bool {
    matches!(
        error,
        GlanceError::BadRequest(_) | GlanceError::Forbidden(_)
    )
}

/// Where a list can go on when the last image of a page is gone, and how many of the page's images it shows
/// again there at most: from earlier images of the page, in steps that double, and from its start.
fn resume_points<'s>(
    page: &'s [String],
    start: Option<&'s str>,
) -> impl Iterator<Item = (Option<&'s str>, usize)> {
    let steps = std::iter::successors(Some(1_usize), |step| step.checked_mul(2));
    let back = steps.scan(0, |back, step| {
        *back += step;
        Some(*back)
    });
    let earlier = back.map_while(|back| {
        let index = page.len().checked_sub(back + 1)?;
        Some((Some(page.get(index)?.as_str()), back))
    });
    // Without ids the images already shown cannot be told from others.
    let whole = (!page.is_empty()).then_some((start, page.len()));
    earlier.chain(whole)
}

fn id(image: &Image<'_>) -> Option<String> {
    json_str(image.id?).map(std::borrow::Cow::into_owned)
}

/// The marker in the page's next link, whose host and path are ignored. A link without one means the page's
/// last image.
fn marker_of(page: &ImagePage<'_>, last: Option<String>) -> Option<String> {
    let next = json_str(page.next?).unwrap_or_default();
    let query = next
        .split_once('?')
        .map(|(_, query)| query)
        .unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "marker")
        .map(|(_, marker)| marker.into_owned())
        .or(last)
}

#[cfg(test)]
mod tests;
