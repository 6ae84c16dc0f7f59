//! What Glance held when, as every caller saw it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// No request takes longer, so nobody asks about a state that ended before.
const KEPT: Duration = Duration::from_secs(120);

/// What of an image is compared. `mark` is its property `mark`, which no other image ever has.
#[derive(Debug, Clone)]
pub struct Image {
    pub id: String,
    pub name: Option<String>,
    /// Of one that is being removed nobody knows.
    pub updated: Option<String>,
    pub mark: Option<String>,
    /// Its place in the order of creation; 0 for those that were there before.
    pub rank: usize,
}

/// What one caller sees: its list, in order, and whatever it can see of the test's own images by id,
/// which is more.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub list: Vec<Image>,
    pub shown: HashMap<String, Image>,
}

/// One of the test's own images, which may be gone.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: String,
    /// The id of its project.
    pub owner: String,
}

/// A change of the cloud.
#[derive(Debug, Clone)]
pub struct Change {
    pub image: String,
    /// In words, for whoever reads of a failure.
    pub what: String,
    pub through_gateway: bool,
}

/// What everybody sees at one moment, and which of the test's own images there are.
#[derive(Debug)]
pub struct Moment {
    pub views: Vec<View>,
    pub alive: HashSet<String>,
}

/// The time between two changes, or between two steps of one.
#[derive(Debug)]
pub struct State {
    number: usize,
    change: Change,
    /// When the change that began it was sent, and when that was answered.
    sent: Instant,
    answered: Instant,
    moment: Moment,
    /// The test's own images, those gone too, in the order of creation.
    images: Arc<Vec<Made>>,
}

pub type Epoch = Arc<State>;

impl State {
    pub fn change(&self) -> &Change {
        &self.change
    }

    pub fn view(&self, caller: usize) -> &View {
        &self.moment.views[caller]
    }

    pub fn images(&self) -> &[Made] {
        &self.images
    }

    pub fn holds(&self, image: &str) -> bool {
        self.moment.alive.contains(image)
    }
}

#[derive(Default)]
struct Past {
    states: VecDeque<Epoch>,
    under_way: Option<Instant>,
}

/// All states that a request still under way could have met.
#[derive(Default)]
pub struct History {
    past: Mutex<Past>,
    changed: Condvar,
}

impl History {
    /// To be called before a change is sent.
    pub fn begin(&self) {
        let mut past = self.past.lock().unwrap();
        past.under_way = Some(Instant::now());
    }

    /// The moments that the change begun last, which was answered at `answered`, led to.
    pub fn end(
        &self,
        change: &Change,
        answered: Instant,
        images: &Arc<Vec<Made>>,
        moments: Vec<Moment>,
    ) {
        let mut past = self.past.lock().unwrap();
        let sent = past.under_way.take().unwrap();
        while past
            .states
            .get(1)
            .is_some_and(|next| next.answered.elapsed() > KEPT)
        {
            past.states.pop_front();
        }
        for moment in moments {
            let number = past.states.back().map_or(0, |last| last.number + 1);
            past.states.push_back(Arc::new(State {
                number,
                change: change.clone(),
                sent,
                answered,
                moment,
                images: Arc::clone(images),
            }));
        }
        self.changed.notify_all();
    }

    pub fn newest(&self) -> Epoch {
        Arc::clone(self.past.lock().unwrap().states.back().unwrap())
    }

    /// The states that an answer may show, to a request that was sent and answered then: those that
    /// were Glance's at some moment of that time, or up to `ttl` before; but none from before a change
    /// made through the gateway that was over by then, to the image asked for or to any for a list.
    pub fn possible(
        &self,
        sent: Instant,
        answered: Instant,
        ttl: Duration,
        image: Option<&str>,
    ) -> Vec<Epoch> {
        let past = self.past.lock().unwrap();
        // A change sent before the answer may be what the answer shows; what it led to is known soon.
        let (past, late) = self
            .changed
            .wait_timeout_while(past, KEPT, |past| {
                past.under_way.is_some_and(|begun| begun <= answered)
            })
            .unwrap();
        assert!(!late.timed_out(), "a change never ended");
        let states = &past.states;
        let written = states.iter().rev().find(|state| {
            state.change.through_gateway
                && state.answered <= sent
                && image.is_none_or(|image| state.change.image == image)
        });
        let first = written.map_or(0, |state| state.number);
        let over_before = |state: &State| {
            let next = states.get(state.number + 1 - states[0].number);
            next.is_some_and(|next| next.answered + ttl < sent)
        };
        states
            .iter()
            .filter(|state| state.number >= first && state.sent <= answered && !over_before(state))
            .cloned()
            .collect()
    }
}
