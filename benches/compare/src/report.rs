//! Writes medians and their spread, as tables and as pictures.

mod chart;

use std::fmt::Write as _;
use std::path::Path;

pub use self::chart::Chart;

use crate::Group;

/// The measured numbers by name, one number a round.
#[derive(Debug, Default)]
pub struct Samples(Vec<(String, Vec<f64>)>);

impl Samples {
    /// Adds a round's number.
    pub fn add(&mut self, name: String, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name, vec![value])),
        }
    }

    /// Adds all numbers of a round.
    pub fn append(&mut self, round: Samples) {
        for (name, values) in round.0 {
            values.into_iter().for_each(|value| self.add(name.clone(), value));
        }
    }

    fn get(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, values)| values.as_slice())
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    group: Group,
    what: &'static str,
    value: Value,
    aim: Option<Aim>,
}

/// The aim of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

impl Aim {
    /// Returns the aim in words, and if a figure has reached it.
    fn of(self, figure: f64) -> (String, bool) {
        match self {
            Aim::AtMost(most) => (format!("{most} or less"), figure <= most),
            Aim::AtLeast(least) => (format!("{least} or more"), figure >= least),
        }
    }
}

#[derive(Debug)]
enum Value {
    /// The number as it was measured.
    Plain,
    /// One's by the other's, round by round.
    Ratio(&'static str, &'static str),
    /// One's less the other's, round by round.
    Excess(&'static str, &'static str),
}

impl Row {
    pub const fn plain(group: Group, what: &'static str, aim: Option<Aim>) -> Row {
        Row { group, what, value: Value::Plain, aim }
    }

    pub const fn ratio(
        group: Group,
        what: &'static str,
        one: &'static str,
        other: &'static str,
        aim: Option<Aim>,
    ) -> Row {
        Row { group, what, value: Value::Ratio(one, other), aim }
    }

    pub const fn excess(
        group: Group,
        what: &'static str,
        one: &'static str,
        other: &'static str,
        aim: Option<Aim>,
    ) -> Row {
        Row { group, what, value: Value::Excess(one, other), aim }
    }

    fn label(&self) -> String {
        match self.value {
            Value::Plain => self.what.to_owned(),
            Value::Ratio(one, other) => format!("{}: {one} / {other}", self.what),
            Value::Excess(one, other) => format!("{}: {one} - {other}", self.what),
        }
    }

    /// Returns the spread; none if it was not measured.
    fn spread(&self, samples: &Samples) -> Option<Spread> {
        let pairs = |one, other| {
            let of = |who| samples.get(&format!("{}: {who}", self.what));
            Some(of(one)?.iter().zip(of(other)?))
        };
        Some(Spread::of(match self.value {
            Value::Plain => samples.get(self.what)?.to_vec(),
            Value::Ratio(one, other) => pairs(one, other)?.map(|(one, other)| one / other).collect(),
            Value::Excess(one, other) => pairs(one, other)?.map(|(one, other)| one - other).collect(),
        }))
    }
}

/// The median of the rounds, and the least and the most.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// Makes the spread of at least one value.
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        Spread { least: values[0], median: (values[low] + values[high]) / 2.0, most: values[values.len() - 1] }
    }
}

/// Writes the tables, in Markdown: what is aimed at, what grows, and all that was measured.
pub fn table(samples: &Samples, rows: &[Row], charts: &[Chart]) -> String {
    let mut text =
        "| what | median | least to most | aim | | after `cargo run --release --` |\n|---|--:|--:|---|---|---|\n"
            .to_owned();
    for (row, spread) in rows.iter().filter_map(|row| Some((row, row.spread(samples)?))) {
        let Spread { least, median, most } = spread;
        let (aim, reached) = row.aim.map(|aim| aim.of(median)).unzip();
        let met = reached.map(|reached| if reached { "met" } else { "missed" }).unwrap_or_default();
        let aim = aim.unwrap_or_default();
        let (least, median, most) = (digits(least), digits(median), digits(most));
        let command = format!("--only {}", row.group.name());
        let _ = writeln!(text, "| {} | {median} | {least} to {most} | {aim} | {met} | `{command}` |", row.label());
    }
    text.extend(charts.iter().map(|chart| chart.table(samples)));
    text += "\n| measured | median | least to most |\n|---|--:|--:|\n";
    for (name, values) in &samples.0 {
        let Spread { least, median, most } = Spread::of(values.clone());
        let _ = writeln!(text, "| {name} | {} | {} to {} |", digits(median), digits(least), digits(most));
    }
    text
}

/// Writes a number with three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Draws the ratios into one picture, what was measured into one for each kind and unit, and what grows.
pub fn draw(samples: &Samples, rows: &[Row], charts: &[Chart], folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let ratios = rows.iter().filter(|row| matches!(row.value, Value::Ratio(..)));
    let bars: Vec<_> = ratios.filter_map(|row| Some((row.label(), row.spread(samples)?))).collect();
    if !bars.is_empty() {
        std::fs::write(folder.join("ratios.svg"), picture("Ratios, round by round: median, least and most", &bars))?;
    }
    for (file, title, prefix) in [
        ("cycles.svg", "Cycles a second", "cycles/s"),
        ("cpu.svg", "CPU of the server for each cycle, µs", "CPU µs"),
        ("alone.svg", "One caller, nobody in the way: acquire, p50, µs", "acquire alone"),
        ("hand-over.svg", "Release sent to next grant received, µs", "hand-over"),
        ("disconnect.svg", "Connection ended to next grant received, µs", "disconnect"),
        ("memory.svg", "Memory for each held lock, KiB", "KiB a lock"),
    ] {
        let of = samples.0.iter().filter(|(name, _)| name.starts_with(prefix));
        let bars: Vec<_> = of.map(|(name, values)| (name.clone(), Spread::of(values.clone()))).collect();
        if !bars.is_empty() {
            std::fs::write(folder.join(file), picture(title, &bars))?;
        }
    }
    for chart in charts {
        if let Some(picture) = chart.picture(samples) {
            std::fs::write(folder.join(chart.file), picture)?;
        }
    }
    Ok(())
}

/// Draws horizontal bars as long as the medians, with a line from the least to the most.
fn picture(title: &str, bars: &[(String, Spread)]) -> String {
    const LEFT: f64 = 430.0;
    const WIDTH: f64 = 420.0;
    const RIGHT: f64 = 80.0;
    const LINE: f64 = 22.0;
    let most = bars.iter().map(|(_, spread)| spread.most).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| LEFT + WIDTH * value.max(0.0) / most;
    let (width, height) = (LEFT + WIDTH + RIGHT, LINE * (bars.len() as f64 + 2.0));
    let mut svg = opened(width, height, title);
    for (line, (label, Spread { least, median, most })) in bars.iter().enumerate() {
        let top = LINE * (line as f64 + 1.5);
        let (text, middle) = (top + 14.0, top + 9.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"12\" fill=\"#7aa6c2\"/>\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#222\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{}</text>",
            LEFT - 8.0,
            escaped(label),
            top + 3.0,
            at(*median) - LEFT,
            at(*least),
            at(*most),
            at(*most) + 6.0,
            digits(*median),
        );
    }
    svg + "</svg>\n"
}

/// Begins a picture.
fn opened(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_made_round_by_round() {
        let mut samples = Samples::default();
        for (one, other) in [(10.0, 5.0), (30.0, 10.0), (4.0, 4.0)] {
            samples.add("rate: one".into(), one);
            samples.add("rate: other".into(), other);
        }
        let row = Row::ratio(Group::Session, "rate", "one", "other", None);
        assert_eq!(row.spread(&samples), Some(Spread { least: 1.0, median: 2.0, most: 3.0 }));
        assert_eq!(Row::plain(Group::Session, "not measured", None).spread(&samples), None);
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
    }
}
