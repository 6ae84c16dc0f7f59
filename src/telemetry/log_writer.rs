//! Where log lines go: into a buffer of bounded size, which a thread of its own writes out.
//!
//! Logging never waits for the reader of the log. When the buffer is full, lines are dropped and
//! counted, and the log says how many as soon as it can be written again. One thread writes whole
//! batches of whole lines, so lines do not run into each other.

use prometheus_client::metrics::counter::Counter;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered: a line is written this much later at most, and a busy process
/// writes this often.
const BATCH_BYTES: Duration = Duration::from_millis(50);
/// Longest wait for the last lines when stopping.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);

/// Takes log lines; clones write to the same place.
#[derive(Debug, Clone, Default)]
pub struct LogWriter(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The buffer has its first line, is half full, or gets no more.
    filled: Condvar,
    ended: Condvar,
    dropped: Counter,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    closing: bool,
    ended: bool,
}

/// Writes what is left when it is dropped.
#[derive(Debug)]
#[must_use = "lines are written as long as this is kept"]
pub struct FlushGuard(Arc<Shared>);

impl LogWriter {
    /// Writes to `out`. The buffer holds `limit` bytes, and as much again is on its way out at most.
    /// `notice` puts a number of dropped lines into words, as a line of the log.
    pub fn start(
        out: impl Write + Send + 'static,
        limit: usize,
        notice: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<(Self, FlushGuard)> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            ended: Condvar::new(),
            dropped: Counter::default(),
            limit,
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_to(out, notice))?;
        Ok((Self(Some(Arc::clone(&shared))), FlushGuard(shared)))
    }

    /// Takes everything and keeps nothing.
    #[must_use]
    pub fn null() -> Self {
        Self(None)
    }

    /// Takes a whole line, its end included, or counts it as dropped.
    pub fn append(&self, line: &[u8]) {
        if let Some(shared) = &self.0 {
            shared.append(line);
        }
    }

    /// Counts dropped lines.
    #[must_use]
    pub fn dropped(&self) -> Counter {
        let shared = self.0.as_ref();
        shared
            .map(|shared| shared.dropped.clone())
            .unwrap_or_default()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, line: &[u8]) {
        let mut state = self.state();
        let before = state.buffer.len();
        let after = before + line.len();
        if state.closing || after > self.limit {
            drop(state);
            self.dropped.inc();
            return;
        }
        state.buffer.extend_from_slice(line);
        drop(state);
        if before == 0 || (!self.is_nearly_full(before) && self.is_nearly_full(after)) {
            self.filled.notify_one();
        }
    }

    fn is_nearly_full(&self, bytes: usize) -> bool {
        bytes >= self.limit / 2
    }

    fn write_to(&self, mut out: impl Write, notice: impl Fn(u64) -> Vec<u8>) {
        let (mut batch, mut reported) = (Vec::new(), 0);
        while self.next(&mut batch) {
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                let lines = batch.split_inclusive(|byte| *byte == b'\n').count();
                self.dropped.inc_by(lines as u64);
            }
            // A line is dropped when the buffer is full, so there is one notice for so many bytes.
            let dropped = self.dropped.get();
            if dropped > reported && out.write_all(&notice(dropped - reported)).is_ok() {
                reported = dropped;
            }
        }
        self.state().ended = true;
        self.ended.notify_all();
    }

    /// Puts the gathered lines into `batch`; false when there will be no more.
    fn next(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        let first = |state: &mut State| state.buffer.is_empty() && !state.closing;
        let waited = self.filled.wait_while(self.state(), first);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        let more = |state: &mut State| !self.is_nearly_full(state.buffer.len()) && !state.closing;
        let waited = self.filled.wait_timeout_while(state, BATCH_BYTES, more);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.buffer, batch);
        !batch.is_empty()
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closing = true;
        self.0.filled.notify_one();
        // A reader that has stopped reading must not keep the process from ending.
        let _ended = self
            .0
            .ended
            .wait_timeout_while(state, FLUSH_INTERVAL, |state| !state.ended);
    }
}

/// One event of `tracing`, which writes each in one piece.
#[derive(Debug)]
pub struct Event<'s>(&'s LogWriter);

impl Write for Event<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'s> MakeWriter<'s> for LogWriter {
    type Writer = Event<'s>;

    fn make_writer(&'s self) -> Self::Writer {
        Event(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// An output that waits for its reader.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn notice(dropped: u64) -> Vec<u8> {
        format!("{dropped} dropped\n").into_bytes()
    }

    fn pipe(limit: usize) -> (LogWriter, FlushGuard, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        let (sink, flush) = LogWriter::start(Pipe(sender), limit, notice).unwrap();
        (sink, flush, receiver)
    }

    fn text(receiver: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(receiver.recv().unwrap()).unwrap()
    }

    #[test]
    fn lines_come_out_whole_and_in_order_and_the_last_ones_too() {
        let (sink, flush, receiver) = pipe(1 << 20);
        let reader = thread::spawn(move || receiver.into_iter().flatten().collect::<Vec<u8>>());
        thread::scope(|scope| {
            for writer in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    for n in 0..500 {
                        sink.append(format!("{writer} {n} {}\n", "x".repeat(n % 100)).as_bytes());
                    }
                });
            }
        });
        drop((sink, flush));
        let log = String::from_utf8(reader.join().unwrap()).unwrap();
        let mut next = [0; 4];
        for line in log.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let writer: usize = words[0].parse().unwrap();
            assert_eq!(words[1], next[writer].to_string());
            assert_eq!(words[2].len(), next[writer] % 100);
            next[writer] += 1;
        }
        assert_eq!(next, [500; 4]);
    }

    #[test]
    fn while_nobody_reads_lines_are_lost_and_counted_and_then_the_log_says_so() {
        let (sink, flush, receiver) = pipe(100);
        let line = [b"x".repeat(19), b"\n".to_vec()].concat();
        sink.append(&line);
        // The writer has taken the first line when there is room for five more.
        while sink.dropped().get() == 0 {
            sink.append(&line);
        }
        while receiver.try_recv().is_err() {
            thread::yield_now();
        }
        // Whatever the writer had when it got stuck, the rest is bounded.
        for _ in 0..1000 {
            sink.append(&line);
        }
        let dropped = sink.dropped().get();
        assert!(dropped >= 995, "{dropped}");
        drop(sink);
        let reader = thread::spawn(move || receiver.into_iter().flatten().collect::<Vec<u8>>());
        drop(flush);
        let log = String::from_utf8(reader.join().unwrap()).unwrap();
        let reported: u64 = log
            .lines()
            .filter_map(|line| line.strip_suffix(" dropped"))
            .map(|dropped| dropped.parse::<u64>().unwrap())
            .sum();
        assert_eq!(reported, dropped, "{log}");
    }

    #[test]
    fn a_reader_that_is_gone_holds_nobody_up() {
        let (sink, flush, receiver) = pipe(1 << 20);
        drop(receiver);
        sink.append(b"one\n");
        sink.append(b"two\n");
        drop(flush);
        sink.append(b"too late\n");
        assert_eq!(sink.dropped().get(), 3);
    }

    #[test]
    fn a_reader_that_reads_nothing_does_not_keep_the_process() {
        let (sink, flush, receiver) = pipe(1 << 20);
        sink.append(b"line\n");
        drop(flush);
        assert_eq!(text(&receiver), "line\n");
    }
}
