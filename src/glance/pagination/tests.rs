//! Lists from a model of Glance whose images come and go between the pages.

use super::*;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;

/// An image of the model; the number is its place in time, and the newest is listed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Shown,
    /// Another project's private image: not listed, and 403 as a marker.
    Hidden,
    /// Not listed, and 400 as a marker.
    Deleted,
}

/// What happens between two calls.
#[derive(Debug, Clone)]
enum Event {
    Set(usize, State),
    Create,
}

#[derive(Debug)]
struct Model {
    /// By time of creation.
    images: Vec<State>,
    /// Before each call one of these happens, if there is one left.
    events: VecDeque<Vec<Event>>,
    /// The length of pages is bounded by Glance, too.
    api_limit: u64,
    calls: usize,
    /// The endpoints of the calls so far.
    requested: Vec<Option<usize>>,
}

#[derive(Debug, Clone)]
struct ModelGlance(Arc<Mutex<Model>>);

impl ModelGlance {
    fn new(images: usize, events: Vec<Vec<Event>>, api_limit: u64) -> Self {
        Self(Arc::new(Mutex::new(Model {
            images: vec![State::Shown; images],
            events: events.into(),
            api_limit,
            calls: 0,
            requested: Vec::new(),
        })))
    }
}

impl Model {
    fn happen(&mut self) {
        for event in self.events.pop_front().unwrap_or_default() {
            match event {
                Event::Set(index, state) => {
                    let count = self.images.len().max(1);
                    if let Some(image) = self.images.get_mut(index % count) {
                        *image = state;
                    }
                }
                Event::Create => self.images.push(State::Shown),
            }
        }
    }

    fn page(&mut self, size: u64, marker: Option<&str>) -> Result<Bytes, GlanceError> {
        let start = match marker {
            None => self.images.len(),
            Some(marker) => {
                let index: usize = marker.parse().unwrap();
                match self.images.get(index) {
                    Some(State::Shown) => index,
                    Some(State::Hidden) => return Err(GlanceError::Forbidden("marker".into())),
                    Some(State::Deleted) | None => {
                        return Err(GlanceError::BadRequest("marker".into()));
                    }
                }
            }
        };
        let size = usize::try_from(size.min(self.api_limit)).unwrap();
        let shown = (0..start).rev().filter(|n| self.images[*n] == State::Shown);
        let ids: Vec<_> = shown.take(size).map(|n| n.to_string()).collect();
        let images: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        let mut page = json!({"images": images});
        if ids.len() == size {
            page["next"] = json!(format!("/v2/images?marker={}", ids.last().unwrap()));
        }
        Ok(page.to_string().into())
    }
}

impl PageSource for ModelGlance {
    async fn page(&self, request: PageRequest<'_>) -> Result<PageResponse, GlanceError> {
        let mut model = self.0.lock();
        if model.calls > 0 {
            model.happen();
        }
        model.calls += 1;
        model.requested.push(request.endpoint);
        let body = model.page(request.size, request.marker)?;
        Ok(PageResponse { body, endpoint: 0 })
    }
}

fn limits(page_size: u64, limit: Option<u64>) -> ListLimits {
    ListLimits {
        page_size,
        max_images: 10_000,
        limit,
        marker: None,
    }
}

async fn listed<S: PageSource>(source: S, limits: ListLimits) -> Result<Vec<usize>, GlanceError> {
    let mut ids = Vec::new();
    PageStream::new(source, limits)
        .for_each(|page| {
            let page = page.images.iter().filter_map(id);
            ids.extend(page.map(|id| id.parse::<usize>().unwrap()));
        })
        .await?;
    Ok(ids)
}

#[tokio::test]
async fn a_list_goes_on_when_its_marker_is_deleted_or_hidden() {
    for state in [State::Deleted, State::Hidden] {
        // The marker of the first page of 30..=20 is 20, and goes; so do two before it.
        let events = vec![vec![
            Event::Set(20, state),
            Event::Set(21, state),
            Event::Set(23, state),
        ]];
        let glance = ModelGlance::new(31, events, 1000);
        let ids = listed(glance.clone(), limits(11, None)).await.unwrap();
        assert_eq!(ids, (0..31).rev().collect::<Vec<_>>());
        assert!(
            glance.0.lock().requested[1..]
                .iter()
                .all(|endpoint| *endpoint == Some(0))
        );
    }
}

#[tokio::test]
async fn a_list_goes_on_when_a_whole_page_is_deleted() {
    let events = vec![
        Vec::new(),
        (10..20).map(|n| Event::Set(n, State::Deleted)).collect(),
    ];
    let glance = ModelGlance::new(30, events, 1000);
    let ids = listed(glance, limits(10, None)).await.unwrap();
    assert_eq!(ids, (0..30).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_list_with_nothing_left_to_go_on_from_is_unavailable() {
    let all = (10..30).map(|n| Event::Set(n, State::Hidden)).collect();
    let glance = ModelGlance::new(30, vec![Vec::new(), all], 1000);
    let error = listed(glance, limits(10, None)).await.unwrap_err();
    assert!(matches!(error, GlanceError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn the_client_s_own_marker_is_not_replaced() {
    let glance = ModelGlance::new(3, Vec::new(), 1000);
    let marker = Some("7".to_owned());
    let error = listed(
        glance.clone(),
        ListLimits {
            marker,
            ..limits(10, None)
        },
    )
    .await;
    assert!(
        matches!(error, Err(GlanceError::BadRequest(_))),
        "{error:?}"
    );
    assert_eq!(glance.0.lock().calls, 1);
}

/// No page is fetched beyond the one after the page in use.
#[tokio::test]
async fn a_slow_consumer_holds_the_list_back() {
    let glance = ModelGlance::new(100, Vec::new(), 1000);
    let mut pages = PageStream::new(glance.clone(), limits(10, None));
    for number in 1..=10 {
        let fetched = pages.fetch().await.unwrap().unwrap();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(glance.0.lock().calls, number);
        assert_eq!(pages.accept(&fetched).unwrap().images.len(), 10);
    }
}

#[test]
fn resume_points_go_back_in_steps_that_double() {
    let shown: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    let points: Vec<_> = resume_points(&shown, Some("start")).collect();
    let expected = [
        (Some("8"), 1),
        (Some("6"), 3),
        (Some("2"), 7),
        (Some("start"), 10),
    ];
    assert_eq!(points, expected);
    assert_eq!(
        resume_points(&shown[..1], None).collect::<Vec<_>>(),
        [(None, 1)]
    );
}

fn event(images: usize) -> impl Strategy<Value = Event> {
    let state = prop_oneof![
        Just(State::Hidden),
        Just(State::Deleted),
        Just(State::Shown)
    ];
    prop_oneof![
        6 => (0..images.max(1), state).prop_map(|(index, state)| Event::Set(index, state)),
        1 => Just(Event::Create),
    ]
}

fn history() -> impl Strategy<Value = (usize, Vec<Vec<Event>>)> {
    (0_usize..60).prop_flat_map(|images| {
        let events = prop::collection::vec(event(images), 0..12);
        (Just(images), prop::collection::vec(events, 0..12))
    })
}

proptest! {
    /// Whatever comes and goes: no image is shown twice, and none is missing that was there all the time; a list
    /// that cannot be completed is a 503 and never a short one.
    #[test]
    fn a_list_is_whole_whatever_comes_and_goes(
        (images, events) in history(),
        page_size in 1_u64..12,
        api_limit in 1_u64..12,
        limit in prop::option::of(0_u64..80),
    ) {
        let touched: HashSet<usize> = events.iter().flatten().filter_map(|event| match event {
            Event::Set(index, _) => Some(index % images.max(1)),
            Event::Create => None,
        }).collect();
        let glance = ModelGlance::new(images, events, api_limit);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let wanted = limit.map(|limit| limit.max(1));
        let outcome = runtime.block_on(listed(glance, limits(page_size, wanted)));
        let ids = match outcome {
            Ok(ids) => ids,
            Err(GlanceError::Unavailable(_)) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
        };
        let unique: HashSet<_> = ids.iter().collect();
        prop_assert_eq!(unique.len(), ids.len(), "shown twice: {:?}", ids);
        let steady: Vec<_> = ids.iter().copied().filter(|id| *id < images && !touched.contains(id)).collect();
        prop_assert!(steady.is_sorted_by(|a, b| a > b), "{:?}", ids);
        let all = (0..images).rev().filter(|id| !touched.contains(id));
        if wanted.is_none_or(|wanted| (ids.len() as u64) < wanted) {
            prop_assert_eq!(steady, all.collect::<Vec<_>>());
        } else {
            // A list that is cut has the first of them.
            let count = steady.len();
            prop_assert_eq!(steady, all.take(count).collect::<Vec<_>>());
            prop_assert!(ids.len() as u64 <= wanted.unwrap());
        }
    }
}
