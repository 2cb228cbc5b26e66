//! A bar chart in SVG: pure. Enters: measurements, each with its targets' ratios to one of them. Leaves: the drawing.

use std::fmt::Write;

/// One measurement of several targets.
pub(crate) struct Compared {
    /// What was measured.
    pub(crate) title: String,
    /// Each target's ratio to the one that is compared with; more is better.
    pub(crate) ratios: Vec<(String, f64)>,
}

const COLOURS: [&str; 4] = ["#1b6ca8", "#888888", "#d08c2a", "#7a9e3a"];
const LEFT: usize = 400;
/// The width of a ratio of 1.
const UNIT: usize = 400;
const BAR: usize = 14;
const GAP: usize = 12;
/// A bar is cut at this ratio.
const MOST: f64 = 1.4;

/// Bars, a group for each measurement.
pub(crate) fn ratios(heading: &str, rows: &[Compared]) -> String {
    let bars: usize = rows.iter().map(|row| row.ratios.len() * BAR + GAP).sum();
    let (width, height) = (LEFT + UNIT * 3 / 2 + 60, 50 + bars);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"15\">{}</text>\n",
        escaped(heading)
    );
    let mut y = 36;
    // Writing into a String cannot fail.
    for row in rows {
        let _ = writeln!(text, "<text x=\"8\" y=\"{}\">{}</text>", y + BAR - 3, escaped(&row.title));
        for (index, (target, ratio)) in row.ratios.iter().enumerate() {
            let (length, colour) = (ratio.clamp(0.0, MOST) * UNIT as f64, COLOURS[index % COLOURS.len()]);
            let _ = writeln!(
                text,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"{}\" fill=\"{colour}\"/>\n\
                 <text x=\"{:.0}\" y=\"{}\">{} {ratio:.2}</text>",
                BAR - 2,
                LEFT as f64 + length + 4.0,
                y + BAR - 4,
                escaped(target),
            );
            y += BAR;
        }
        y += GAP;
    }
    let one = LEFT + UNIT;
    let _ = writeln!(
        text,
        "<line x1=\"{one}\" x2=\"{one}\" y1=\"28\" y2=\"{y}\" stroke=\"black\" stroke-dasharray=\"2 3\"/>"
    );
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_a_bar() {
        let row = Compared {
            title: "a < b".to_owned(),
            ratios: vec![("xebec".to_owned(), 0.5), ("direct".to_owned(), 1.0), ("far".to_owned(), 9.0)],
        };
        let text = ratios("c & d", &[row]);
        assert_eq!(text.matches("<rect x=").count(), 3);
        assert!(text.contains("a &lt; b") && text.contains("c &amp; d"));
        assert!(text.contains("width=\"200\"") && text.contains("width=\"560\""), "{text}");
    }
}
