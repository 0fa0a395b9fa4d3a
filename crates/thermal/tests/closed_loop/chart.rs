//! A run as a picture.

use std::fmt::Write as _;

use crate::rig::{CRITICAL, FULL_AT, Run, TARGET};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
/// Top and height of the panel of temperatures, and of that of the fans.
const HEAT: (f64, f64) = (44.0, 170.0);
const FANS: (f64, f64) = (250.0, 90.0);
const DEGREES: (f64, f64) = (20.0, 110.0);
/// A point for so many seconds.
const EVERY: usize = 3;

/// The picture: temperatures above, fans below, what happened as lines from top to bottom.
pub(crate) fn chart(run: &Run, title: &str, told: &str, marks: &[(u64, &str)]) -> String {
    let (first, last) = (run.samples[0].second as f64, run.samples[run.samples.len() - 1].second as f64);
    let x = |second: f64| LEFT + (second - first) / (last - first) * (WIDTH - LEFT - RIGHT);
    let heat = |degrees: f64| HEAT.0 + HEAT.1 * (DEGREES.1 - degrees) / (DEGREES.1 - DEGREES.0);
    let fans = |percent: f64| FANS.0 + FANS.1 * (100.0 - percent) / 100.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 372\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"16\" font-size=\"14\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"32\" fill=\"#555\">{told}</text>\n"
    );
    let mut rule = |y: f64, text: &str, colour: &str| {
        let end = WIDTH - RIGHT;
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.0}H{end}\" stroke=\"{colour}\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{text}</text>",
            LEFT - 4.0,
            y + 4.0
        );
    };
    for degrees in [20.0, 40.0, 60.0, 80.0] {
        rule(heat(degrees), &format!("{degrees}"), "#e5e5e5");
    }
    rule(heat(TARGET), &format!("{TARGET}"), "#8a8");
    rule(heat(FULL_AT), &format!("{FULL_AT}"), "#da6");
    rule(heat(CRITICAL), &format!("{CRITICAL}"), "#c33");
    for percent in [0.0, 50.0, 100.0] {
        rule(fans(percent), &format!("{percent} %"), "#e5e5e5");
    }
    let bottom = FANS.0 + FANS.1;
    for (second, text) in marks {
        let at = x(*second as f64);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.0} {}V{bottom}\" stroke=\"#999\" stroke-dasharray=\"3\"/>",
            HEAT.0
        );
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"#555\">{text}</text>",
            at + 3.0,
            HEAT.0 + 10.0
        );
    }
    let mut line = |points: Vec<(f64, f64)>, colour: &str| {
        let path: Vec<String> = thinned(&points).iter().map(|(x, y)| format!("{x:.0},{y:.0}")).collect();
        let path = path.join(" ");
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{path}\"/>"
        );
    };
    let of = |y: &dyn Fn(&crate::rig::Sample) -> f64| -> Vec<(f64, f64)> {
        run.samples
            .iter()
            .step_by(EVERY)
            .map(|sample| (x(sample.second as f64).round(), y(sample).round()))
            .collect()
    };
    line(of(&|sample| heat(sample.memory)), "#69c");
    line(of(&|sample| heat(sample.hottest)), "#c30");
    line(of(&|sample| fans(sample.speed)), "#9bd");
    line(of(&|sample| fans(sample.duty)), "#333");
    let legend =
        [("#c30", "hottest processor, °C"), ("#69c", "memory, °C"), ("#333", "duty"), ("#9bd", "mean speed")];
    for (index, (colour, text)) in legend.into_iter().enumerate() {
        let at = LEFT + 150.0 * index as f64;
        let _ = writeln!(svg, "<path d=\"M{at} 360h18\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"364\">{text}</text>", at + 23.0);
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"364\" text-anchor=\"end\">{} s</text>",
        WIDTH - RIGHT,
        last - first
    );
    svg + "</svg>\n"
}

/// Without the points between two of the same height.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keeps = |index: usize| {
        let height = |index: usize| points.get(index).map(|point| point.1);
        index == 0 || height(index - 1) != height(index) || height(index + 1) != height(index)
    };
    (0..points.len()).filter(|index| keeps(*index)).map(|index| points[index]).collect()
}

/// Whether two texts are the same but for what rounding does: every number within `by`, everything else equal. Points of lines may be left
/// out differently, so of a line only its ends and extremes are looked at.
pub(crate) fn is_near(one: &str, other: &str, by: f64) -> bool {
    let (one, other): (Vec<_>, Vec<_>) = (one.lines().collect(), other.lines().collect());
    one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| line_is_near(one, other, by))
}

fn line_is_near(one: &str, other: &str, by: f64) -> bool {
    let close =
        |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= by);
    match (one.split_once("points=\""), other.split_once("points=\"")) {
        (Some((head, one)), Some((head_of_other, other))) => {
            head == head_of_other && close(&corners(one), &corners(other))
        }
        _ => {
            let ((words, numbers), (other_words, other_numbers)) = (split(one), split(other));
            words == other_words && close(&numbers, &other_numbers)
        }
    }
}

/// The heights of a line at its ends, and the lowest and highest.
fn corners(points: &str) -> Vec<f64> {
    let (_, numbers) = split(points);
    let heights: Vec<f64> = numbers.iter().skip(1).step_by(2).copied().collect();
    let ends = [heights.first(), heights.last()].into_iter().flatten().copied();
    let extremes =
        [heights.iter().copied().fold(f64::MAX, f64::min), heights.iter().copied().fold(f64::MIN, f64::max)];
    ends.chain(extremes).collect()
}

/// The text without its numbers, and the numbers.
fn split(text: &str) -> (String, Vec<f64>) {
    let (mut words, mut numbers, mut digits) = (String::new(), Vec::new(), String::new());
    for letter in text.chars().chain([' ']) {
        if letter.is_ascii_digit() || (letter == '.' && !digits.is_empty()) {
            digits.push(letter);
        } else {
            numbers.extend(digits.trim_end_matches('.').parse::<f64>());
            digits.clear();
            words.push(letter);
        }
    }
    (words, numbers)
}

#[test]
fn what_rounding_does_is_no_difference_and_anything_else_is() {
    let one = "peak 74.8 °C\n<p points=\"1,20 2,40 3,30\"/>";
    assert!(is_near(one, "peak 75.1 °C\n<p points=\"1,20 3,41 9,35 3,31\"/>", 1.0));
    assert!(!is_near(one, "peak 77 °C\n<p points=\"1,20 2,40 3,30\"/>", 1.0));
    assert!(!is_near(one, "low 74.8 °C\n<p points=\"1,20 2,40 3,30\"/>", 1.0));
    assert!(!is_near(one, "peak 74.8 °C\n<p points=\"1,20 2,50 3,30\"/>", 1.0));
    assert!(!is_near(one, "peak 74.8 °C", 1.0));
}
