//! A plot as inline SVG. Its lines stretch with the page and its labels, which are text of the
//! page, do not: it can be read on a telephone.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::units::tick;

/// A range of values, and where in it one lies.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    is_log: bool,
}

#[derive(Default)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) ticks: Vec<(f64, String)>,
}

#[derive(Default)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) bands: Vec<Band>,
    pub(super) traces: Vec<Trace>,
    /// Where something happened, and what.
    pub(super) marks: Vec<f64>,
    pub(super) marked: Option<&'static str>,
    pub(super) hints: Vec<Hint>,
}

/// A stretch of the way with a name of its own.
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) name: Option<String>,
    pub(super) is_valid: bool,
}

/// What one figure does. A point that is no number leaves a gap.
pub(super) struct Trace {
    pub(super) name: String,
    /// Its colour, by the style sheet.
    pub(super) class: &'static str,
    /// How much of that colour there is, in percent.
    pub(super) strength: u32,
    pub(super) shape: Shape,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Line,
    Dashed,
    /// A line with a dot on every point.
    Dotted,
    /// Filled down to the bottom.
    Area,
}

/// What a stretch says when it is pointed at.
pub(super) struct Hint {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) text: String,
}

/// A tick so near to the end, in percent, would have its text beside the page.
const LAST: f64 = 96.0;
/// Ticks of an axis, about.
const TICKS: f64 = 4.0;
/// The drawing's own width and height, whatever the page makes of them.
const SIZE: f64 = 1000.0;

impl Default for Scale {
    fn default() -> Self {
        Self::between(0.0, 1.0)
    }
}

impl Scale {
    /// From one value to another.
    pub(super) fn between(from: f64, to: f64) -> Self {
        let to = if to > from && to.is_finite() { to } else { from + 1.0 };
        Self { from, to, is_log: false }
    }

    /// From nothing to a round value that has room for all.
    pub(super) fn up_to(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let step = step(most);
        Self::between(0.0, (most / step).ceil() * step)
    }

    /// Between round values, each power of ten as wide as the next.
    pub(super) fn powers(values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (least, most) = (least.min(value), most.max(value));
        }
        if most == 0.0 {
            (least, most) = (1.0, 10.0);
        }
        let from = round(least).rfind(|round| *round <= least).unwrap_or(least);
        let to = round(most).find(|round| *round >= most && *round > from).unwrap_or(most);
        Self { from, to, is_log: true }
    }

    /// Where a value lies: 0 is where the scale begins, 1 where it ends. None beside it.
    fn place(&self, value: f64) -> Option<f64> {
        let (from, to, value) = match self.is_log {
            true => (self.from.log10(), self.to.log10(), value.log10()),
            false => (self.from, self.to, value),
        };
        let place = (value - from) / (to - from);
        (-1e-9..=1.0 + 1e-9).contains(&place).then_some(place)
    }

    fn ticks(&self) -> Vec<f64> {
        let has = |value: &f64| self.place(*value).is_some();
        if !self.is_log {
            let step = step(self.to - self.from);
            let first = (self.from / step).ceil();
            return (0..20).map(|n| (first + f64::from(n)) * step).filter(has).collect();
        }
        let exponents = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let powers: Vec<f64> = exponents.map(|n| 10_f64.powi(n)).collect();
        let round = powers.iter().flat_map(|power| [1.0, 2.0, 5.0].map(|first| first * power));
        let round: Vec<f64> = round.filter(has).collect();
        let powers: Vec<f64> = powers.into_iter().filter(has).collect();
        match (round.len(), powers.len()) {
            (..=7, _) => round,
            (_, ..=6) => powers,
            _ => powers.into_iter().step_by(2).collect(),
        }
    }
}

/// The round step that divides a range into a few.
fn step(range: f64) -> f64 {
    let wanted = if range > 0.0 { range / TICKS } else { 1.0 };
    round(wanted).find(|step| *step >= wanted * 0.999).unwrap_or(wanted)
}

/// The values 1, 2 and 5 of the powers of ten around a value, the least first.
fn round(value: f64) -> impl DoubleEndedIterator<Item = f64> {
    let exponent = value.log10().floor() as i32;
    let powers = [exponent - 1, exponent, exponent + 1];
    powers.into_iter().flat_map(|n| [1.0, 2.0, 5.0].map(|first| first * 10_f64.powi(n)))
}

impl Axis {
    pub(super) fn new(scale: Scale) -> Self {
        let ticks = scale.ticks().into_iter().map(|value| (value, tick(value))).collect();
        Self { scale, ticks }
    }

    /// Ticks that are on it, in percent of it.
    fn places(&self) -> impl Iterator<Item = (f64, &str)> {
        let ticks = self.ticks.iter();
        ticks.filter_map(|(value, text)| Some((self.scale.place(*value)? * 100.0, text.as_str())))
    }

    /// From where to where a stretch goes, in percent; what is beside the axis is cut off.
    fn stretch(&self, from: f64, to: f64) -> Option<(f64, f64)> {
        let within = |value: f64| value.clamp(self.scale.from, self.scale.to);
        let from = self.scale.place(within(from))? * 100.0;
        let to = self.scale.place(within(to))? * 100.0;
        (to > from).then_some((from, to - from))
    }
}

impl Plot {
    pub(super) fn draw(&self) -> Markup {
        let label = format!("{}, {}", self.title, self.unit);
        html! {
            figure.plot {
                figcaption {
                    span { b { (self.title) } " " span.unit { (self.unit) } }
                    (self.legend())
                }
                div.frame {
                    @for band in &self.bands { (self.band(band)) }
                    svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img"
                        aria-label=(label) {
                        path.grid d=(self.grid()) {}
                        @for trace in &self.traces { (self.trace(trace)) }
                        @for x in self.marks.iter().filter_map(|at| self.x.scale.place(*at)) {
                            path.mark d=(format!("M{:.0} 0V1000", x * SIZE)) {}
                        }
                        @for hint in &self.hints {
                            @if let Some((from, width)) = self.x.stretch(hint.from, hint.to) {
                                rect.hint x=(at(from)) y="0" width=(at(width)) height="1000" {
                                    title { (hint.text) }
                                }
                            }
                        }
                    }
                    @for (y, text) in self.y.places() {
                        span.y style=(format!("top:{:.2}%", 100.0 - y)) { (text) }
                    }
                    @for (x, text) in self.x.places() {
                        span.x.last[x > LAST] style=(format!("left:{x:.2}%")) { (text) }
                    }
                }
            }
        }
    }

    fn legend(&self) -> Markup {
        let marked = self.marked.filter(|_| !self.marks.is_empty());
        html! {
            span.legend {
                @for trace in &self.traces {
                    span.(trace.class) style=(trace.style()) {
                        i.line[trace.shape != Shape::Area].dashed[trace.shape == Shape::Dashed] {}
                        (trace.name)
                    }
                }
                @if let Some(marked) = marked { span.mark { i.line {} (marked) } }
            }
        }
    }

    fn band(&self, band: &Band) -> Markup {
        let Some((from, width)) = self.x.stretch(band.from, band.to) else { return html! {} };
        html! {
            div.band.invalid[!band.is_valid]
                style=(format!("left:{from:.2}%;width:{width:.2}%")) {
                @if let Some(name) = &band.name { span { (name) } }
            }
        }
    }

    fn grid(&self) -> String {
        let places = self.y.places();
        places.map(|(y, _)| format!("M0 {:.0}H1000", (100.0 - y) / 100.0 * SIZE)).collect()
    }

    fn trace(&self, trace: &Trace) -> Markup {
        let points = trace.points.iter().map(|(x, y)| {
            let (x, y) = (self.x.scale.place(*x)?, self.y.scale.place(*y)?);
            Some((x * SIZE, (1.0 - y) * SIZE))
        });
        let points: Vec<Option<(f64, f64)>> = points.collect();
        let pieces = || points.split(Option::is_none).filter(|piece| !piece.is_empty());
        let is_area = trace.shape == Shape::Area;
        let path: String = pieces().map(|piece| path(piece.iter().flatten(), is_area)).collect();
        let dots = points.iter().flatten().map(|(x, y)| format!("M{x:.0} {y:.0}h0"));
        html! {
            g.(trace.class) style=(trace.style()) {
                path.area[is_area].line[!is_area].dashed[trace.shape == Shape::Dashed] d=(path) {}
                @if trace.shape == Shape::Dotted { path.dots d=(dots.collect::<String>()) {} }
            }
        }
    }
}

impl Trace {
    fn style(&self) -> String {
        format!("--strength:{}%", self.strength)
    }
}

/// Percent as the drawing's own width.
fn at(percent: f64) -> String {
    format!("{:.1}", percent / 100.0 * SIZE)
}

/// Through points that follow each other. One alone is a dot.
fn path<'a>(points: impl Iterator<Item = &'a (f64, f64)>, is_area: bool) -> String {
    let (mut path, mut last) = (String::new(), None);
    for (x, y) in points {
        let pen = if last.is_none() { 'M' } else { 'L' };
        write!(path, "{pen}{x:.0} {y:.0}").expect("a string takes what is written");
        last = Some(last.map_or((*x, *x), |(first, _)| (first, *x)));
    }
    match last {
        Some((first, last)) if is_area => {
            write!(path, "L{last:.0} {SIZE}L{first:.0} {SIZE}Z")
                .expect("a string takes what is written");
        }
        Some((first, last)) if first == last => path.push_str("h0"),
        _ => {}
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{Axis, Scale, path};

    fn ticks(scale: Scale) -> Vec<String> {
        Axis::new(scale).ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn an_axis_has_a_few_round_ticks_and_room_for_all() {
        assert_eq!(ticks(Scale::up_to([3.0, 870.0].into_iter())), ["0", "500", "1,000"]);
        assert_eq!(ticks(Scale::up_to([1.7].into_iter())), ["0", "0.5", "1", "1.5", "2"]);
        let millis = [0.31, 470.0];
        assert_eq!(ticks(Scale::powers(millis.into_iter())), ["1", "10", "100"]);
        assert_eq!(ticks(Scale::powers([3.0, 8.0].into_iter())), ["2", "5", "10"]);
        let scale = Scale::powers(millis.into_iter());
        assert!(millis.iter().all(|value| scale.place(*value).is_some()));
    }

    #[test]
    fn an_axis_of_nothing_is_one_all_the_same() {
        for none in [vec![], vec![0.0], vec![f64::NAN, f64::INFINITY], vec![-3.0]] {
            assert_eq!(ticks(Scale::up_to(none.iter().copied())), ["0", "0.5", "1"], "{none:?}");
            assert_eq!(ticks(Scale::powers(none.into_iter())), ["1", "2", "5", "10"]);
        }
        assert_eq!(Scale::between(3.0, f64::NAN).place(3.5), Some(0.5));
        assert_eq!(Scale::between(0.0, 1.0).place(f64::NAN), None);
    }

    #[test]
    fn a_line_goes_through_its_points_and_one_alone_is_a_dot() {
        assert_eq!(path([(0.0, 1.0), (5.0, 2.0)].iter(), false), "M0 1L5 2");
        assert_eq!(path([(7.0, 1.0)].iter(), false), "M7 1h0");
        assert_eq!(path([(0.0, 1.0), (5.0, 2.0)].iter(), true), "M0 1L5 2L5 1000L0 1000Z");
        assert_eq!(path([].iter(), true), "");
    }
}
