//! The benchmarks and their goals.

use crate::job::{Contender, Job, Kind};

/// A benchmark of all contenders.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) job: Job,
    pub(crate) bars: &'static [Bar],
}

/// The goal of a contender, relative to another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    pub(crate) who: Contender,
    pub(crate) beside: Contender,
    pub(crate) goal: Goal,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// A multiple of the other's rate.
    AtLeast(f64),
    /// A multiple of the other's time.
    AtMost(f64),
}

impl Goal {
    pub(crate) fn is_reached(self, ratio: f64) -> bool {
        match self {
            Goal::AtLeast(figure) => ratio >= figure,
            Goal::AtMost(figure) => ratio <= figure,
        }
    }
}

const fn at_least(who: Contender, beside: Contender, figure: f64) -> Bar {
    Bar { who, beside, goal: Goal::AtLeast(figure) }
}

const fn at_most(who: Contender, beside: Contender, figure: f64) -> Bar {
    Bar { who, beside, goal: Goal::AtMost(figure) }
}

const fn job(kind: Kind, payload: usize, links: usize) -> Job {
    Job { kind, payload, links }
}

use Contender::{Codec, Endpoint, EndpointOwn, Plain};

pub(crate) const MEASURES: [Measure; 12] = [
    Measure {
        name: "one-64",
        title: "one link, payloads of 64 B",
        job: job(Kind::Stream, 64, 1),
        bars: &[
            at_least(Endpoint, Plain, 0.25),
            at_least(Endpoint, Codec, 3.0),
            at_least(EndpointOwn, Plain, 0.40),
        ],
    },
    Measure {
        name: "singles-64",
        title: "the same, each handed over with a call of its own",
        job: job(Kind::Singles, 64, 1),
        bars: &[
            at_least(Endpoint, Plain, 0.25),
            at_least(Endpoint, Codec, 3.0),
            at_least(EndpointOwn, Plain, 0.40),
        ],
    },
    Measure {
        name: "one-1024",
        title: "one link, payloads of 1 KiB",
        job: job(Kind::Stream, 1024, 1),
        bars: &[
            at_least(Endpoint, Plain, 0.70),
            at_least(Endpoint, Codec, 2.0),
            at_least(EndpointOwn, Plain, 0.90),
        ],
    },
    Measure {
        name: "one-4096",
        title: "one link, payloads of 4 KiB",
        job: job(Kind::Stream, 4096, 1),
        bars: &[
            at_least(Endpoint, Plain, 0.70),
            at_least(Endpoint, Codec, 2.0),
            at_least(EndpointOwn, Plain, 0.95),
        ],
    },
    Measure {
        name: "one-32000",
        title: "one link, payloads of 32 000 B",
        job: job(Kind::Stream, 32_000, 1),
        bars: &[
            at_least(Endpoint, Plain, 0.70),
            at_least(Endpoint, Codec, 1.5),
            at_least(EndpointOwn, Plain, 0.95),
        ],
    },
    Measure {
        name: "both-1024",
        title: "one link, both directions at once, 1 KiB",
        job: job(Kind::Both, 1024, 1),
        bars: &[],
    },
    Measure {
        name: "eight-1024",
        title: "eight links at once to one node, 1 KiB",
        job: job(Kind::Stream, 1024, 8),
        bars: &[],
    },
    Measure {
        name: "trip-idle",
        title: "round trip of 64 B, idle",
        job: job(Kind::Trip, 64, 1),
        bars: &[
            at_most(Endpoint, Plain, 1.3),
            at_most(Endpoint, Codec, 1.0),
            at_most(EndpointOwn, Plain, 1.3),
            at_most(EndpointOwn, Codec, 1.0),
        ],
    },
    Measure {
        name: "trip-loaded",
        title: "round trip of 64 B, beside a busy link",
        job: job(Kind::BusyTrip, 64, 2),
        bars: &[],
    },
    Measure {
        name: "flood-10",
        title: "a frame of 1 KiB to 10 peers",
        job: job(Kind::Flood, 1024, 10),
        bars: &[],
    },
    Measure {
        name: "flood-100",
        title: "a frame of 1 KiB to 100 peers",
        job: job(Kind::Flood, 1024, 100),
        bars: &[],
    },
    Measure {
        name: "flood-1000",
        title: "a frame of 1 KiB to 1 000 peers",
        job: job(Kind::Flood, 1024, 1000),
        bars: &[at_most(Endpoint, Plain, 1.5), at_most(EndpointOwn, Plain, 1.5)],
    },
];
