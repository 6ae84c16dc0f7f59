//! Which of several equal servers is asked next. Pure: the caller says what time it is.
//!
//! A server that fails several times in a row is left out for a while ("ejected"), a while that
//! doubles up to a bound as long as it goes on failing. When the while is over, one request at a
//! time tries it; a success takes it back in. With all of them out, the one with the least to do
//! that failed longest ago is asked: a request is never refused here without a try, so nothing has
//! to be waited for once a server is back. A lone server is never left out.

use std::time::Duration;
use tokio::time::Instant;

/// When a server is left out, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Ejection {
    /// Failures in a row that it takes.
    pub after: u32,
    /// The first time it lasts so long; each failed trial doubles that.
    pub first: Duration,
    /// It never lasts longer.
    pub longest: Duration,
}

/// A choice, to be given back to [`Pool::done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The server's place in the list.
    pub index: usize,
    /// The server was left out, and this request is to tell whether it is back.
    pub trial: bool,
}

/// What an exchange says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// Nothing: the request was given up by its client, say.
    Unknown,
}

/// What became of a server by a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is left out for so long.
    Ejected(Duration),
    /// It was left out and is back.
    Readmitted,
}

/// The servers and how they have been doing.
#[derive(Debug)]
pub struct Pool {
    ejection: Ejection,
    members: Vec<Member>,
    /// Whose turn it is among equals.
    turn: usize,
}

#[derive(Debug, Default)]
struct Member {
    in_flight: usize,
    /// Failures since the last success.
    failures: u32,
    last_failure: Option<Instant>,
    out: Option<Out>,
}

#[derive(Debug)]
struct Out {
    since: Instant,
    lasts: Duration,
    trial: bool,
}

impl Member {
    /// It was left out long enough, and nobody is trying it.
    fn is_due(&self, now: Instant) -> bool {
        self.out
            .as_ref()
            .is_some_and(|out| !out.trial && now.saturating_duration_since(out.since) >= out.lasts)
    }
}

impl Pool {
    /// A pool of `size` servers that have not failed yet.
    #[must_use]
    pub fn new(size: usize, ejection: Ejection) -> Self {
        Self {
            ejection,
            members: (0..size).map(|_| Member::default()).collect(),
            turn: 0,
        }
    }

    /// Chooses a server for a request that has been to those in `tried` already. A request that
    /// may be repeated elsewhere (`repeatable`) is the one to try a server that may be back.
    /// `None` only for an empty pool.
    pub fn choose(&mut self, now: Instant, tried: &[usize], repeatable: bool) -> Option<Pick> {
        let fresh = tried.is_empty();
        let index = (repeatable && fresh)
            .then(|| self.longest_due(now))
            .flatten()
            .or_else(|| self.best(now, tried))?;
        self.turn = index + 1;
        let member = self.members.get_mut(index)?;
        member.in_flight += 1;
        let trial = member.is_due(now);
        if let Some(out) = member.out.as_mut().filter(|_| trial) {
            out.trial = true;
        }
        Some(Pick { index, trial })
    }

    fn longest_due(&self, now: Instant) -> Option<usize> {
        let due = self.members.iter().enumerate();
        due.filter(|(_, member)| member.is_due(now))
            .min_by_key(|(_, member)| member.out.as_ref().map(|out| out.since + out.lasts))
            .map(|(index, _)| index)
    }

    /// A server that works and was not tried, then one that may work again, then one that works
    /// but failed this request once, then one that is out.
    fn best(&self, now: Instant, tried: &[usize]) -> Option<usize> {
        let size = self.members.len();
        let members = self.members.iter().enumerate();
        members
            .min_by_key(|(index, member)| {
                let times = tried.iter().filter(|tried| *tried == index).count();
                let health = match &member.out {
                    None => 0,
                    Some(_) if member.is_due(now) => 1,
                    Some(_) => 3,
                };
                let failed = member.out.as_ref().and(member.last_failure);
                // In turn: the distance from the one whose turn it is.
                let distance = (index + size - self.turn % size) % size;
                (2 * times + health, member.in_flight, failed, distance)
            })
            .map(|(index, _)| index)
    }

    /// Gives a choice back, with what it told about the server.
    pub fn done(&mut self, pick: Pick, verdict: Verdict, now: Instant) -> Option<Change> {
        let alone = self.members.len() == 1;
        let ejection = self.ejection;
        let member = self.members.get_mut(pick.index)?;
        member.in_flight = member.in_flight.saturating_sub(1);
        if let Some(out) = member.out.as_mut().filter(|_| pick.trial) {
            out.trial = false;
        }
        match verdict {
            Verdict::Unknown => None,
            Verdict::Good => {
                member.failures = 0;
                member.out.take().map(|_| Change::Readmitted)
            }
            Verdict::Bad => {
                member.failures = member.failures.saturating_add(1);
                member.last_failure = Some(now);
                let lasts = match &member.out {
                    // What was under way when it was left out says nothing new.
                    Some(_) if !pick.trial => return None,
                    Some(out) => (out.lasts * 2).min(ejection.longest),
                    None if alone || member.failures < ejection.after => return None,
                    None => ejection.first.min(ejection.longest),
                };
                member.out = Some(Out {
                    since: now,
                    lasts,
                    trial: false,
                });
                Some(Change::Ejected(lasts))
            }
        }
    }
}

#[cfg(test)]
mod tests;
