//! One direction of a simulated connection.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::primitives::clock::{self, Timer};

/// Maximum number of unread bytes.
const WINDOW: usize = 64 << 10;

/// One direction: written, but unread data.
#[derive(Debug, Default)]
pub(crate) struct Simplex {
    /// Segments and their arrival times. `None`: delayed indefinitely.
    segments: VecDeque<(Option<Instant>, Vec<u8>)>,
    bytes: usize,
    /// When all that was written is transmitted, if the rate is limited.
    transmitted_at: Option<Instant>,
    /// Set once the writer has closed, with the time at which the reader notices.
    end: Option<Option<Instant>>,
    /// When the reader sees a reset. Nothing arrives afterwards.
    failure: Option<Instant>,
    /// Whether the reader has shut down.
    is_shut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Wakes the reader at the next arrival.
    alarm: Option<(Instant, Timer)>,
}

fn is_past(time: Option<Instant>) -> bool {
    time.is_some_and(|time| time <= clock::now())
}

impl Simplex {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn has_failed(&self) -> bool {
        is_past(self.failure)
    }

    pub(crate) fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        arrival: Option<Instant>,
        rate: Option<u32>,
    ) -> io::Result<usize> {
        if self.end.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let window_left = WINDOW - self.bytes;
        let bytes: Vec<u8> =
            slices.iter().flat_map(|slice| slice.iter()).take(window_left).copied().collect();
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = bytes.len();
        self.bytes += written;
        let delay = self.transmission_delay(written, rate);
        let arrival = arrival.map(|arrival| arrival + delay);
        self.segments.push_back((self.in_order(arrival), bytes));
        self.wake_reader();
        Ok(written)
    }

    /// Time until so many more bytes are transmitted, at this many bytes per second.
    fn transmission_delay(&mut self, bytes: usize, rate: Option<u32>) -> Duration {
        let now = clock::now();
        let transmitted_at = rate.map(|rate| {
            let start = self.transmitted_at.map_or(now, |before| before.max(now));
            start + Duration::from_secs_f64(bytes as f64 / f64::from(rate))
        });
        self.transmitted_at = transmitted_at;
        transmitted_at.map_or(Duration::ZERO, |at| at - now)
    }

    /// Clamps an arrival time so that nothing overtakes earlier segments.
    fn in_order(&self, arrival: Option<Instant>) -> Option<Instant> {
        match self.segments.back() {
            Some((last, _)) => arrival.zip(*last).map(|(arrival, last)| arrival.max(last)),
            None => arrival,
        }
    }

    pub(crate) fn end(&mut self, arrival: Option<Instant>) {
        if self.end.is_none() {
            self.end = Some(self.in_order(arrival));
            self.wake_reader();
            self.wake_writer();
        }
    }

    pub(crate) fn fail(&mut self, at: Instant) {
        self.failure = Some(self.failure.map_or(at, |before| before.min(at)));
        self.wake_reader();
        self.wake_writer();
    }

    pub(crate) fn shut(&mut self) {
        self.is_shut = true;
        self.wake_reader();
    }

    /// Delays everything that has not arrived yet.
    pub(crate) fn stall(&mut self) {
        let stall = |arrival: &mut Option<Instant>| arrival.take_if(|time| *time > clock::now());
        for (arrival, _) in &mut self.segments {
            stall(arrival);
        }
        self.end.as_mut().map(stall);
    }

    /// Releases delayed data. Returns whether there was any.
    pub(crate) fn release_stalled(&mut self, arrival: Instant) -> bool {
        let mut times: Vec<&mut Option<Instant>> =
            self.segments.iter_mut().map(|(at, _)| at).collect();
        times.extend(self.end.as_mut());
        let mut was_stalled = false;
        for time in times.into_iter().filter(|time| time.is_none()) {
            *time = Some(arrival);
            was_stalled = true;
        }
        self.wake_reader();
        was_stalled
    }

    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if self.is_shut {
            return Ok(0);
        }
        let spare = buffer.capacity() - buffer.len();
        let mut spare_left = spare;
        while spare_left > 0 && self.is_next_readable() {
            let Some((_, bytes)) = self.segments.front_mut() else { break };
            let rest = bytes.split_off(spare_left.min(bytes.len()));
            spare_left -= bytes.len();
            buffer.extend_from_slice(bytes);
            *bytes = rest;
            if bytes.is_empty() {
                self.segments.pop_front();
            }
        }
        let read = spare - spare_left;
        self.bytes -= read;
        match read {
            0 if self.has_failed() => Err(io::ErrorKind::ConnectionReset.into()),
            0 if self.is_at_end() => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => {
                self.wake_writer();
                Ok(read)
            }
        }
    }

    fn is_next_readable(&self) -> bool {
        let Some((arrival, _)) = self.segments.front() else { return false };
        let is_before_failure = self.failure.is_none_or(|failure| *arrival < Some(failure));
        is_past(*arrival) && is_before_failure
    }

    fn is_at_end(&self) -> bool {
        self.segments.is_empty() && self.end.is_some_and(is_past)
    }

    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.is_shut || self.is_next_readable() || self.has_failed() || self.is_at_end() {
                return Poll::Ready(Ok(()));
            }
            self.reader = Some(cx.waker().clone());
            let next = match self.segments.front() {
                Some((arrival, _)) => *arrival,
                None => self.end.flatten(),
            };
            let Some(next) = next.into_iter().chain(self.failure).min() else {
                return Poll::Pending;
            };
            if self.alarm.as_ref().is_none_or(|(time, _)| *time != next) {
                self.alarm = Some((next, clock::at(next)));
            }
            let alarm = self.alarm.as_mut().map(|(_, timer)| Pin::new(timer).poll(cx));
            match alarm {
                Some(Poll::Ready(_)) => self.alarm = None,
                _ => return Poll::Pending,
            }
        }
    }

    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bytes < WINDOW || self.end.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}
