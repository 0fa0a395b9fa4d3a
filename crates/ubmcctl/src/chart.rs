//! What was measured beside a model of it: as lines of text, and as SVG.

use std::fmt::Write as _;

/// Columns and rows of the picture in a terminal.
const COLUMNS: usize = 72;
const ROWS: usize = 14;
/// Of the picture as SVG.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 36.0;

/// The range of both axes; none without points.
struct Frame {
    time: (f64, f64),
    value: (f64, f64),
}

impl Frame {
    fn of(points: &[(f64, f64)], model: impl Fn(f64) -> f64) -> Option<Self> {
        let ((first, _), (last, _)) = points.first().zip(points.last())?;
        let values = points.iter().flat_map(|(at, value)| [*value, model(*at)]);
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        // A line that is flat is drawn in the middle.
        let (low, high) = if high - low < 0.1 { (low - 0.5, high + 0.5) } else { (low, high) };
        (low <= high && last > first).then_some(Self { time: (*first, *last), value: (low, high) })
    }

    /// Where a value is, from 0 at the bottom to 1.
    fn height(&self, value: f64) -> f64 {
        ((value - self.value.0) / (self.value.1 - self.value.0)).clamp(0.0, 1.0)
    }

    /// Where a time is, from 0 at the left to 1.
    fn across(&self, at: f64) -> f64 {
        ((at - self.time.0) / (self.time.1 - self.time.0)).clamp(0.0, 1.0)
    }
}

/// One of so many steps.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "from 0 to 71"
)]
fn place(share: f64, steps: usize) -> usize {
    (share * (steps.saturating_sub(1)) as f64).round() as usize
}

/// Lines for a terminal: what was measured as dots, the model as a line where it is elsewhere, and where the step was.
pub(crate) fn text(points: &[(f64, f64)], model: impl Fn(f64) -> f64) -> Vec<String> {
    let Some(frame) = Frame::of(points, &model) else { return Vec::new() };
    let mut cells = vec![vec![' '; COLUMNS]; ROWS];
    let mut put = |column: usize, value: f64, mark: char| {
        let row = ROWS - 1 - place(frame.height(value), ROWS);
        if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
            *cell = mark;
        }
    };
    let step = place(frame.across(0.0), COLUMNS);
    for row in 0..ROWS {
        let share =
            f64::from(u8::try_from(row).unwrap_or(0)) / f64::from(u8::try_from(ROWS - 1).unwrap_or(1));
        put(step, frame.value.0 + share * (frame.value.1 - frame.value.0), '┊');
    }
    for column in 0..COLUMNS {
        let share =
            f64::from(u8::try_from(column).unwrap_or(0)) / f64::from(u8::try_from(COLUMNS - 1).unwrap_or(1));
        put(column, model(frame.time.0 + share * (frame.time.1 - frame.time.0)), '─');
    }
    for (at, value) in points {
        put(place(frame.across(*at), COLUMNS), *value, '•');
    }
    let (low, high) = (format!("{:.1}", frame.value.0), format!("{:.1}", frame.value.1));
    let margin = low.chars().count().max(high.chars().count());
    let mut lines: Vec<String> = cells
        .into_iter()
        .enumerate()
        .map(|(row, cells)| {
            let label = match row {
                0 => high.as_str(),
                row if row + 1 == ROWS => low.as_str(),
                _ => "",
            };
            let cells: String = cells.into_iter().collect();
            format!("{label:>margin$} ┤{cells}").trim_end().to_owned()
        })
        .collect();
    let ends = format!("{:.0} s", frame.time.1);
    let begins = format!("{:.0} s", frame.time.0);
    let between = COLUMNS.saturating_sub(begins.chars().count() + ends.chars().count());
    lines.push(format!("{:margin$}  {begins}{}{ends}", "", " ".repeat(between)));
    lines.push(format!("{:margin$}  • measured  ─ model  ┊ step", ""));
    lines
}

/// The same as SVG.
pub(crate) fn svg(title: &str, told: &str, points: &[(f64, f64)], model: impl Fn(f64) -> f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{}</text>\n\
         <text x=\"{LEFT}\" y=\"34\" fill=\"#555\">{}</text>\n",
        escaped(title),
        escaped(told)
    );
    if let Some(frame) = Frame::of(points, &model) {
        let x = |at: f64| LEFT + frame.across(at) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| TOP + (1.0 - frame.height(value)) * (HEIGHT - TOP - BOTTOM);
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let value = frame.value.0 + share * (frame.value.1 - frame.value.0);
            let at = y(value);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#e5e5e5\"/>", WIDTH - RIGHT);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
                LEFT - 4.0,
                at + 4.0
            );
        }
        let step = x(0.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{step:.1} {TOP}V{}\" stroke=\"#999\" stroke-dasharray=\"3\"/>",
            HEIGHT - BOTTOM
        );
        let mut line = |values: &mut dyn Iterator<Item = (f64, f64)>, colour: &str| {
            let path: Vec<String> =
                values.map(|(at, value)| format!("{:.1},{:.1}", x(at), y(value))).collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
                path.join(" ")
            );
        };
        line(&mut points.iter().copied(), "#c30");
        line(&mut points.iter().map(|(at, _)| (*at, model(*at))), "#333");
        for (text, at, anchor) in [
            (format!("{:.0} s", frame.time.0), LEFT, "start"),
            (format!("{:.0} s", frame.time.1), WIDTH - RIGHT, "end"),
        ] {
            let _ = writeln!(
                svg,
                "<text x=\"{at}\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text>",
                HEIGHT - BOTTOM + 14.0
            );
        }
        for (index, (colour, text)) in [("#c30", "measured"), ("#333", "model")].into_iter().enumerate() {
            let at = LEFT + if index == 0 { 0.0 } else { 110.0 };
            let bottom = HEIGHT - 10.0;
            let _ = writeln!(svg, "<path d=\"M{at} {bottom}h18\" stroke=\"{colour}\" stroke-width=\"2\"/>");
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{text}</text>", at + 23.0, bottom + 4.0);
        }
    }
    svg + "</svg>\n"
}

/// Names come from a server.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<(f64, f64)> {
        (-20..100).map(|second| (f64::from(second), model(f64::from(second)) + 0.2)).collect()
    }

    fn model(second: f64) -> f64 {
        if second < 0.0 { 70.0 } else { 60.0 + 10.0 * (-second / 20.0).exp() }
    }

    #[test]
    fn a_picture_of_text_has_both_lines_and_its_ends() {
        let lines = text(&points(), model);
        assert_eq!(lines.len(), ROWS + 2);
        assert!(lines[0].starts_with("70.2 ┤•••"), "{lines:#?}");
        assert!(lines[ROWS - 1].starts_with("60.1 ┤"), "{lines:#?}");
        assert!(lines[ROWS].contains("-20 s") && lines[ROWS].ends_with("99 s"), "{lines:#?}");
        assert!(lines[..ROWS].iter().any(|line| line.contains('─')));
        assert!(lines[..ROWS].iter().filter(|line| line.contains('┊')).count() > ROWS / 2);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS + 8));
        assert!(text(&[], model).is_empty());
        assert!(text(&[(0.0, f64::NAN), (1.0, f64::NAN)], |_| f64::NAN).is_empty());
        assert_eq!(text(&[(0.0, 5.0), (1.0, 5.0)], |_| 5.0).len(), ROWS + 2, "a flat line is one");
    }

    #[test]
    fn a_picture_of_svg_is_one_and_its_words_are_words() {
        let svg = svg("a < b & c", "told", &points(), model);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b &amp; c") && svg.matches("<polyline").count() == 2);
        assert!(!svg.contains("NaN"));
    }
}
