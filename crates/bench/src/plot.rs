//! Horizontal bars as SVG, in groups: one group for each load, one bar in it for each subject. Pure text.

use std::fmt::Write as _;

/// Width of the picture, in pixels.
const WIDTH: f64 = 860.0;
/// Where bars begin: names of loads stand before it.
const LEFT: f64 = 230.0;
/// What is left behind the longest bar, for its figure.
const RIGHT: f64 = 70.0;
/// Height of a bar.
const BAR: f64 = 13.0;
/// Height of the title and of the subjects' names.
const TOP: f64 = 56.0;
/// Space between groups.
const GAP: f64 = 9.0;
/// A value of so many medians would make all others too short to be told apart.
const OUT_OF_PROPORTION: f64 = 5.0;
/// Colours of the subjects, in order; they can be told apart without seeing red or green (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#999999", "#e69f00", "#56b4e9", "#cc79a7", "#009e73"];

/// What a picture shows.
pub(crate) struct Bars<'a> {
    /// Above all, with the unit.
    pub(crate) title: &'a str,
    /// Names of the bars of each group.
    pub(crate) subjects: &'a [&'a str],
    /// Each group's name and the values of its bars.
    pub(crate) rows: Vec<(String, Vec<f64>)>,
}

/// What the longest bar stands for: the largest value that is not out of all proportion. Larger ones are drawn as long; their
/// figure says what they are.
fn longest(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let usual = values.get(values.len() / 2).map_or(0.0, |median| median * OUT_OF_PROPORTION);
    values.into_iter().filter(|value| *value <= usual).fold(f64::MIN_POSITIVE, f64::max)
}

/// Draws them. A value that is no number, or below zero, has no bar.
pub(crate) fn bars(bars: &Bars) -> String {
    let group = BAR * bars.subjects.len() as f64 + GAP;
    let height = TOP + group * bars.rows.len() as f64;
    let drawn = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
    let most = longest(bars.rows.iter().flat_map(|(_, values)| values).map(|value| drawn(*value)).collect());
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"20\" font-size=\"14\">{}</text>\n",
        bars.title
    );
    let colour = |n: usize| COLOURS[n % COLOURS.len()];
    for (n, subject) in bars.subjects.iter().enumerate() {
        let x = LEFT + 100.0 * n as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"41\">{subject}</text>",
            colour(n),
            x + 14.0
        );
    }
    for (row, (name, values)) in bars.rows.iter().enumerate() {
        let top = TOP + group * row as f64;
        let middle = top + (group - GAP) / 2.0 + 4.0;
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0);
        for (n, value) in values.iter().enumerate() {
            let (y, width) = (top + BAR * n as f64, (WIDTH - LEFT - RIGHT) * (drawn(*value) / most).min(1.0));
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{}</text>",
                BAR - 2.0,
                colour(n),
                LEFT + width + 4.0,
                y + 9.0,
                if value.is_finite() { format!("{value:.1}") } else { "none".to_owned() }
            );
        }
    }
    svg + "</svg>\n"
}

#[cfg(test)]
#[path = "plot_tests.rs"]
mod tests;
