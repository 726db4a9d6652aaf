//! The cost of encryption: an encrypted link, a plain link, and the cipher alone.

use serde_json::json;

use crate::bench_util::child::Failure;
use crate::job::{Contender, Job, Kind};
use crate::measures::Measure;
use crate::options::{Options, Pace};
use crate::rounds::{self, Series};
use crate::summary::Spread;
use crate::table::{rate, verdict};

const MEASURE: Measure = Measure {
    name: "encrypted-32000",
    title: "one link, payloads of 32 000 B, encrypted",
    job: Job { kind: Kind::Encrypted, payload: 32_000, links: 1 },
    bars: &[],
};

/// The goal for an encrypted link, relative to a core that first encrypts a frame and then sends
/// it: 1 / (1 / cipher + 1 / plain link).
const BAR: f64 = 0.8;

pub(crate) fn run(options: &Options, pace: &Pace) -> Result<(), Failure> {
    if !options.wants(MEASURE.name) {
        return Ok(());
    }
    let all = rounds::run(&MEASURE, pace)?;
    if !options.json {
        println!("\n{} ({})", MEASURE.title, MEASURE.name);
    }
    for series in &all {
        let value = Spread::of(series.samples.iter().map(|sample| sample.value));
        let share = match series.with {
            Contender::Encrypted => share(&all, series, Contender::Endpoint),
            Contender::EncryptedOwn => share(&all, series, Contender::EndpointOwn),
            _ => None,
        };
        match options.json {
            true => println!("{}", object(series.with, pace.rounds, value, share)),
            false => println!("{}", row(series.with, value, share)),
        }
    }
    Ok(())
}

/// The rate relative to cipher and plain link in sequence, per round.
fn share(all: &[Series], encrypted: &Series, link: Contender) -> Option<Spread> {
    let of = |with| all.iter().find(|series| series.with == with);
    let (cipher, link) = (of(Contender::Cipher)?, of(link)?);
    let rounds = encrypted.samples.iter().zip(&cipher.samples).zip(&link.samples);
    Some(Spread::of(rounds.map(|((encrypted, cipher), link)| {
        encrypted.value * (1.0 / cipher.value + 1.0 / link.value)
    })))
}

fn row(with: Contender, value: Spread, share: Option<Spread>) -> String {
    let Spread { median, lowest, highest } = value;
    let value = format!("{} ({} to {})", rate(median), rate(lowest), rate(highest));
    let share = share.map_or_else(String::new, |Spread { median, lowest, highest }| {
        let verdict = verdict(median >= BAR);
        let share = format!("{median:.2} ({lowest:.2} to {highest:.2})");
        format!("{share} of 1 / (1 / cipher + 1 / plain link), >= {BAR} {verdict}")
    });
    format!("{:<30}{value:<40}{share}", with.title()).trim_end().to_owned()
}

fn object(
    with: Contender,
    rounds: usize,
    value: Spread,
    share: Option<Spread>,
) -> serde_json::Value {
    json!({
        "measure": MEASURE.name,
        "contender": with.name(),
        "payload": MEASURE.job.payload,
        "links": MEASURE.job.links,
        "rounds": rounds,
        "unit": "frames/s",
        "value": spread(value),
        "of_cipher_and_plain_link": share.map(spread),
        "reached": share.map(|share| share.median >= BAR),
    })
}

fn spread(Spread { median, lowest, highest }: Spread) -> serde_json::Value {
    json!({ "median": median, "lowest": lowest, "highest": highest })
}
