//! Draws what grows, as lines over logarithmic axes and as a table.

use std::fmt::Write as _;

use super::{Samples, Spread, digits, escaped, opened};

/// Lines of measured points.
#[derive(Debug)]
pub struct Chart {
    /// The picture's.
    pub file: &'static str,
    pub title: &'static str,
    /// The measured quantity, as in the names of samples.
    pub what: &'static str,
    /// The quantity that grows from point to point.
    pub axis: &'static str,
    /// The points, from 1 up.
    pub points: &'static [usize],
    pub lines: &'static [&'static str],
}

impl Chart {
    /// Returns the name of a point's samples.
    pub fn name(&self, line: &str, point: usize) -> String {
        format!("{}, {point} {}: {line}", self.what, self.axis)
    }

    /// Returns each line that was measured, with those of its points that were.
    fn measured(&self, samples: &Samples) -> Vec<(&'static str, Vec<(usize, Spread)>)> {
        let line = |&line| {
            let at = |&point| Some((point, Spread::of(samples.get(&self.name(line, point))?.to_vec())));
            (line, self.points.iter().filter_map(at).collect::<Vec<_>>())
        };
        self.lines.iter().map(line).filter(|(_, points)| !points.is_empty()).collect()
    }

    /// Writes the medians, in Markdown: a row for each point. Empty if nothing was measured.
    pub fn table(&self, samples: &Samples) -> String {
        let lines = self.measured(samples);
        if lines.is_empty() {
            return String::new();
        }
        let heads: String = lines.iter().map(|(line, _)| format!(" {line} |")).collect();
        let mut text = format!("\n| {}: {} |{heads}\n|--:|{}\n", self.what, self.axis, "--:|".repeat(lines.len()));
        for point in self.points {
            let cell = |(_, points): &(_, Vec<(usize, Spread)>)| {
                let found = points.iter().find(|(at, _)| at == point);
                format!(" {} |", found.map_or("–".into(), |(_, spread)| digits(spread.median)))
            };
            let cells: String = lines.iter().map(cell).collect();
            let _ = writeln!(text, "| {point} |{cells}");
        }
        text
    }

    /// Draws the medians, with a line from the least to the most at each; all are above 0. None if nothing was measured.
    pub fn picture(&self, samples: &Samples) -> Option<String> {
        const COLOURS: [&str; 6] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf"];
        const LEFT: f64 = 80.0;
        const TOP: f64 = 40.0;
        const WIDTH: f64 = 480.0;
        const HEIGHT: f64 = 300.0;
        const LEGEND: f64 = 230.0;
        let lines = self.measured(samples);
        let spreads = || lines.iter().flat_map(|(_, points)| points.iter().map(|(_, spread)| spread));
        let low = spreads().map(|spread| spread.least).reduce(f64::min)?.log10().floor();
        let high = spreads().map(|spread| spread.most).reduce(f64::max)?.log10().ceil().max(low + 1.0);
        let end = self.points.last().map_or(1.0, |&point| point as f64).ln();
        let x = |point: usize| LEFT + WIDTH * (point as f64).ln() / end;
        let y = |value: f64| TOP + HEIGHT * (high - value.log10()) / (high - low);

        let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
        let mut svg = opened(right + LEGEND, bottom + 50.0, self.title);
        for power in low as i32..=high as i32 {
            let (value, text) = (10_f64.powi(power), LEFT - 8.0);
            let height = y(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {height:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{text}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                height + 4.0
            );
        }
        for &point in self.points {
            let (place, text) = (x(point), bottom + 18.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{place:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
                 <text x=\"{place:.1}\" y=\"{text}\" text-anchor=\"middle\">{point}</text>"
            );
        }
        let (middle, text) = (LEFT + WIDTH / 2.0, bottom + 38.0);
        let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{text}\" text-anchor=\"middle\">{}</text>", self.axis);
        for ((index, (line, points)), colour) in lines.iter().enumerate().zip(COLOURS.iter().cycle()) {
            let way: Vec<_> =
                points.iter().map(|(point, spread)| format!("{:.1} {:.1}", x(*point), y(spread.median))).collect();
            let _ =
                write!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", way.join("L"));
            for (point, Spread { least, median, most }) in points {
                let place = x(*point);
                let _ = write!(
                    svg,
                    "<path d=\"M{place:.1} {:.1}V{:.1}\" stroke=\"{colour}\"/>\
                     <circle cx=\"{place:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    y(*least),
                    y(*most),
                    y(*median)
                );
            }
            let (text, height) = (right + 16.0, TOP + 14.0 + 20.0 * index as f64);
            let _ = writeln!(svg, "<text x=\"{text}\" y=\"{height}\" fill=\"{colour}\">{}</text>", escaped(line));
        }
        Some(svg + "</svg>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: Chart = Chart {
        file: "chart.svg",
        title: "Rates",
        what: "rate",
        axis: "callers",
        points: &[1, 10, 100],
        lines: &["one", "other"],
    };

    #[test]
    fn what_was_not_measured_is_shown_as_such() {
        let mut samples = Samples::default();
        assert_eq!((CHART.table(&samples), CHART.picture(&samples)), (String::new(), None));
        for (line, point, value) in [("one", 1, 10.0), ("one", 100, 1000.0), ("one", 100, 2000.0), ("other", 10, 50.0)]
        {
            samples.add(CHART.name(line, point), value);
        }
        let rows = "| 1 | 10.0 | – |\n| 10 | – | 50.0 |\n| 100 | 1500 | – |\n";
        assert!(CHART.table(&samples).ends_with(rows), "{}", CHART.table(&samples));
        let picture = CHART.picture(&samples).unwrap();
        // Three decades high, and two wide: 1 and 10 are in the lower left corner, 100 is at the right.
        assert!(picture.contains("cx=\"80.0\" cy=\"340.0\"") && picture.contains("M80.0 340.0L560.0"), "{picture}");
    }
}
