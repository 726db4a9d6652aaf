//! Summarizes the samples of all rounds.

use crate::job::Contender;
use crate::measures::{Bar, Measure};
use crate::rounds::{Sample, Series};

/// Median and extremes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// The summary of a contender.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) with: Contender,
    pub(crate) value: Spread,
    /// Ratios to the contenders that are compared with.
    pub(crate) beside: Vec<(Contender, Spread)>,
    /// Listener and dialer.
    pub(crate) cpu: Option<[f64; 2]>,
    pub(crate) slowest: Option<[f64; 2]>,
    pub(crate) load: Option<f64>,
    /// The goals, each with its ratio.
    pub(crate) bars: Vec<(Bar, f64)>,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (half, last) = (values.len() / 2, values.len().saturating_sub(1));
        let median = match values.len() % 2 {
            0 => (at(half.saturating_sub(1)) + at(half)) / 2.0,
            _ => at(half),
        };
        Spread { median, lowest: at(0), highest: at(last) }
    }
}

pub(crate) fn summarize(measure: &Measure, all: &[Series]) -> Vec<Line> {
    all.iter().map(|series| line(measure, series, all)).collect()
}

fn line(measure: &Measure, series: &Series, all: &[Series]) -> Line {
    let with = series.with;
    let others = all
        .iter()
        .filter(|other| matches!(other.with, Contender::Plain | Contender::Codec))
        .filter(|other| other.with != with && with != Contender::Plain);
    let beside: Vec<_> = others.map(|other| (other.with, ratio(series, other))).collect();
    let judge = |bar: &Bar| {
        let (_, ratio) = beside.iter().find(|(other, _)| *other == bar.beside)?;
        Some((*bar, ratio.median))
    };
    Line {
        with,
        value: Spread::of(series.samples.iter().map(|sample| sample.value)),
        cpu: pair(series, |sample| sample.cpu),
        slowest: pair(series, |sample| sample.slowest),
        load: median(series, |sample| sample.load),
        bars: measure.bars.iter().filter(|bar| bar.who == with).filter_map(judge).collect(),
        beside,
    }
}

/// Ratios per round, since the speed of the machine varies.
fn ratio(series: &Series, other: &Series) -> Spread {
    let rounds = series.samples.iter().zip(&other.samples);
    Spread::of(rounds.map(|(own, other)| own.value / other.value))
}

fn pair(series: &Series, of: impl Fn(&Sample) -> Option<[f64; 2]>) -> Option<[f64; 2]> {
    let at = |index: usize| median(series, |sample| of(sample).map(|pair| pair[index]));
    at(0).zip(at(1)).map(|(first, second)| [first, second])
}

fn median(series: &Series, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    let values: Option<Vec<f64>> = series.samples.iter().map(of).collect();
    values.map(|values| Spread::of(values).median)
}
