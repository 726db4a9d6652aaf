//! Draws the comparison: for each benchmark the speed relative to plain TCP.

use std::fmt::Write;

use crate::job::Contender;
use crate::measures::{Goal, Measure};
use crate::summary::Line;

// Pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 300.0;
const TOP: f64 = 70.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;

/// The end of the scale. Longer bars are truncated and labelled with their value.
const MOST: f64 = 1.25;

const PLAIN: &str = "#333333";
const GOAL: &str = "#d62728";

/// A bar and its goal.
struct Speed {
    with: Contender,
    /// Speed relative to plain TCP.
    speed: f64,
    goal: Option<f64>,
}

/// Draws the chart as SVG.
pub(crate) fn draw(all: &[(&Measure, Vec<Line>)]) -> String {
    let (mut body, mut y) = (String::new(), TOP);
    for (measure, lines) in all {
        let speeds: Vec<Speed> = lines.iter().filter_map(|line| speed(measure, line)).collect();
        let middle = y + BAR * speeds.len() as f64 / 2.0;
        text(&mut body, LEFT - 10.0, middle + 4.0, "end", measure.title);
        for speed in &speeds {
            bar(&mut body, y, speed);
            y += BAR;
        }
        y += GAP;
    }
    legend(&mut body);
    let scale = scale(y);
    let height = y + 30.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{scale}{body}</svg>\n"
    )
}

fn speed(measure: &Measure, line: &Line) -> Option<Speed> {
    let (_, ratio) = line.beside.iter().find(|(other, _)| *other == Contender::Plain)?;
    let bar = line.bars.iter().find(|(bar, _)| bar.beside == Contender::Plain);
    let goal = bar.map(|(bar, _)| match bar.goal {
        Goal::AtLeast(figure) => figure,
        Goal::AtMost(figure) => 1.0 / figure,
    });
    // Speed is the inverse of time.
    let speed = if measure.job.kind.is_rate() { ratio.median } else { 1.0 / ratio.median };
    Some(Speed { with: line.with, speed, goal })
}

fn color(with: Contender) -> &'static str {
    match with {
        Contender::Plain => PLAIN,
        Contender::Codec => "#b8b8b8",
        Contender::Endpoint => "#2a7ab8",
        Contender::EndpointOwn => "#1b9e77",
        // Not drawn.
        Contender::Cipher | Contender::Encrypted | Contender::EncryptedOwn => GOAL,
    }
}

fn x(speed: f64) -> f64 {
    LEFT + (WIDTH - LEFT - 60.0) * speed.min(MOST) / MOST
}

fn bar(body: &mut String, y: f64, Speed { with, speed, goal }: &Speed) {
    let (color, width, height) = (color(*with), x(*speed) - LEFT, BAR - 2.0);
    rect(body, LEFT, y, width, height, color);
    text(body, x(*speed) + 4.0, y + 10.0, "start", &format!("{speed:.2}"));
    if let Some(goal) = goal {
        rect(body, x(*goal) - 1.0, y - 1.0, 2.0, BAR, GOAL);
    }
}

/// Grid lines at every quarter. The one of plain TCP is darkest.
fn scale(bottom: f64) -> String {
    let mut body = String::new();
    for quarter in 0..=5 {
        let speed = f64::from(quarter) / 4.0;
        let color = if quarter == 4 { PLAIN } else { "#e4e4e4" };
        rect(&mut body, x(speed), TOP - 6.0, 1.0, bottom - TOP, color);
        text(&mut body, x(speed), bottom + 12.0, "middle", &format!("{speed}"));
    }
    body
}

fn legend(body: &mut String) {
    text(body, 20.0, 24.0, "start", "Speed beside plain TCP = 1, more is better");
    let mut at = 20.0;
    let shown = [Contender::Codec, Contender::Endpoint, Contender::EndpointOwn];
    let entries = shown.map(|with| (color(with), with.title()));
    for (color, title) in entries.into_iter().chain([(GOAL, "goal")]) {
        rect(body, at, 36.0, 10.0, 10.0, color);
        text(body, at + 15.0, 45.0, "start", title);
        at += 175.0;
    }
}

fn rect(body: &mut String, x: f64, y: f64, width: f64, height: f64, color: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         fill=\"{color}\"/>"
    );
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" paint-order=\"stroke\" \
         stroke=\"white\" stroke-width=\"3\">{text}</text>"
    );
}
