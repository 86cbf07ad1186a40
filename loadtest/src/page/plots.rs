//! The plots of a run: what happened second by second, how latencies spread, and how they grow with
//! the load.

use hdrhistogram::Histogram;
use maud::{Markup, html};

use super::plot::{Axis, Band, Hint, Plot, Scale, Shape, Trace};
use super::{latencies, latency_name, rank};
use crate::moment::{GAP, Moment};
use crate::result::{ACKNOWLEDGE, END_TO_END, Phase, RunResult, Second};
use crate::units::{NONE, clock, duration, fixed, megabytes, millis, short};

/// A plot has no more moments than it can show.
const MOMENTS_MAX: usize = 400;
/// A band that is narrower, as a share of the plot, has no room for its name.
const NAMED: f64 = 0.05;
/// What happened second by second, below each other: all have the same time.
pub(super) fn over_time(result: &RunResult) -> Markup {
    let moments = moments(result);
    if moments.is_empty() {
        return html! {};
    }
    let time = Time { result, moments: &moments };
    let all = [time.requests(), time.events(), time.latency(), time.processor(), time.memory()];
    html! {
        section {
            h2 { "Over time" }
            @for (n, plot) in all.into_iter().flatten().enumerate() {
                (time.named(plot, n == 0).draw())
            }
        }
    }
}

/// Each with its phase.
fn moments(result: &RunResult) -> Vec<(&Phase, Moment<'_>)> {
    let seconds: usize = result.phases.iter().map(|phase| phase.series.len()).sum();
    let each = seconds.div_ceil(MOMENTS_MAX).max(1);
    let mut moments = Vec::new();
    for phase in &result.phases {
        let mut begin = phase.begin;
        for seconds in phase.series.chunks(each) {
            if let Some(moment) = Moment::new(begin, seconds) {
                begin = moment.to;
                moments.push((phase, moment));
            }
        }
    }
    moments
}

/// What plots over time share.
struct Time<'a> {
    result: &'a RunResult,
    moments: &'a [(&'a Phase, Moment<'a>)],
}

impl Time<'_> {
    fn requests(&self) -> Option<Plot> {
        let mut traces = vec![
            self.trace("offered", "offered", Shape::Area, |at| at.rate(|second| second.offered)),
            self.trace("acknowledged", "answer", Shape::Line, |at| {
                at.rate(|second| second.acknowledged)
            }),
        ];
        let rate = |at: &Moment<'_>| at.rate(Second::failed);
        if self.moments.iter().any(|(_, at)| rate(at) > 0.0) {
            // A line along the bottom would look like trouble where there is none.
            let rate = |at: &Moment<'_>| Some(rate(at)).filter(|rate| *rate > 0.0);
            let rate = |at: &Moment<'_>| rate(at).unwrap_or(f64::NAN);
            traces.push(self.trace("refused or unknown", "bad", Shape::Line, rate));
        }
        let hint = |at: &Moment<'_>| {
            let rate = |of: fn(&Second) -> u64| fixed(at.rate(of), 0);
            let (offered, done) =
                (rate(|second| second.offered), rate(|second| second.acknowledged));
            format!("{offered} offered, {done} acknowledged")
        };
        self.plot("Requests", "a second", traces, hint)
    }

    fn events(&self) -> Option<Plot> {
        let rate = |at: &Moment<'_>| at.rate(|second| second.delivered);
        let traces = vec![self.trace("delivered", "event", Shape::Line, rate)];
        let is_any = self.moments.iter().any(|(_, at)| rate(at) > 0.0);
        let hint = |at: &Moment<'_>| format!("{} delivered", fixed(rate(at), 0));
        self.plot("Events at subscribers", "a second", traces, hint).filter(|_| is_any)
    }

    fn latency(&self) -> Option<Plot> {
        type Of = fn(&Second) -> Option<u64>;
        let figures: [(&str, &'static str, u32, Of); 4] = [
            ("acknowledge p50", "answer", 60, |second| second.acknowledge_p50_us),
            ("p99", "answer", 100, |second| second.acknowledge_p99_us),
            ("end to end p50", "event", 60, |second| second.end_to_end_p50_us),
            ("p99", "event", 100, |second| second.end_to_end_p99_us),
        ];
        let traces = figures.map(|(name, class, strength, of)| {
            let point = |at: &Moment<'_>| at.most(of).map_or(f64::NAN, millis);
            Trace { strength, ..self.trace(name, class, Shape::Line, point) }
        });
        let hint = |at: &Moment<'_>| {
            let of = |of: Of| at.most(of).map_or(NONE.to_owned(), |micros| short(millis(micros)));
            let [a50, a99, e50, e99] = figures.map(|(.., figure)| of(figure));
            format!("acknowledge p50 {a50} ms, p99 {a99} ms\nend to end p50 {e50} ms, p99 {e99} ms")
        };
        self.plot("Latency", "ms", traces.into(), hint).map(Plot::by_powers)
    }

    fn processor(&self) -> Option<Plot> {
        let user = |at: &Moment<'_>| at.cores(|second| second.server_user_us);
        let traces = vec![
            self.trace("kernel", "system", Shape::Area, |at| at.cores(Second::server_us)),
            self.trace("program", "user", Shape::Area, user),
        ];
        let hint = |at: &Moment<'_>| {
            let (all, own) = (at.cores(Second::server_us), user(at));
            format!("{} processors, {} of it the program", fixed(all, 2), fixed(own, 2))
        };
        self.plot("Server’s processor", "processors busy", traces, hint)
    }

    fn memory(&self) -> Option<Plot> {
        let resident =
            |at: &Moment<'_>| at.most(|second| second.server_rss_bytes).map_or(f64::NAN, megabytes);
        let traces = vec![self.trace("resident", "memory", Shape::Area, resident)];
        let hint = |at: &Moment<'_>| format!("{} MB", fixed(resident(at), 0));
        self.plot("Server’s memory", "MB", traces, hint)
    }

    fn trace(
        &self,
        name: &str,
        class: &'static str,
        shape: Shape,
        of: impl Fn(&Moment<'_>) -> f64,
    ) -> Trace {
        let mut points = Vec::with_capacity(self.moments.len());
        let mut last = f64::NEG_INFINITY;
        for (_, moment) in self.moments {
            if moment.from - last > GAP {
                points.push((f64::NAN, f64::NAN));
                points.push((moment.from, of(moment)));
            }
            points.push((moment.to, of(moment)));
            last = moment.to;
        }
        Trace { name: name.to_owned(), class, strength: 100, shape, points }
    }

    /// None when there is nothing to draw.
    fn plot(
        &self,
        title: &'static str,
        unit: &'static str,
        traces: Vec<Trace>,
        hint: impl Fn(&Moment<'_>) -> String,
    ) -> Option<Plot> {
        let traces: Vec<Trace> = traces.into_iter().filter(Trace::is_any).collect();
        let hints = self.moments.iter().map(|(phase, at)| {
            let text = format!("{}, {}\n{}", duration(at.to), phase.name, hint(at));
            Hint { from: at.from, to: at.to, text }
        });
        let plot = Plot {
            title: title.to_owned(),
            unit,
            x: time(self.end()),
            bands: self.bands(),
            marks: self.result.kills.clone(),
            hints: hints.collect(),
            traces,
            ..Plot::default()
        };
        let scale = Scale::up_to(plot.values());
        (!plot.traces.is_empty()).then(|| Plot { y: Axis::new(scale), ..plot })
    }

    fn end(&self) -> f64 {
        self.moments.iter().map(|(_, at)| at.to).fold(0.0, f64::max)
    }

    fn bands(&self) -> Vec<Band> {
        let phases = self.result.phases.iter().filter(|phase| !phase.series.is_empty());
        let band = |phase: &Phase| Band {
            from: phase.begin,
            to: phase.series.last().map_or(phase.begin, |second| second.at),
            name: Some(phase.name.clone()),
            is_valid: phase.valid,
        };
        phases.map(band).collect()
    }

    /// Phases and kills are named once, on top, and phases where there is room.
    fn named(&self, mut plot: Plot, is_first: bool) -> Plot {
        plot.marked = is_first.then_some("server killed");
        for band in &mut plot.bands {
            let has_room = band.to - band.from >= NAMED * self.end();
            band.name.take_if(|_| !is_first || !has_room);
        }
        plot
    }
}

impl Plot {
    fn by_powers(self) -> Self {
        let scale = Scale::powers(self.values());
        Self { y: Axis::new(scale), ..self }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.traces.iter().flat_map(|trace| trace.points.iter().map(|(_, value)| *value))
    }
}

impl Trace {
    fn is_any(&self) -> bool {
        self.points.iter().any(|(_, value)| value.is_finite())
    }
}

/// Whole minutes or seconds from the begin.
fn time(end: f64) -> Axis {
    let steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 43_200];
    let step = steps.into_iter().find(|step| f64::from(*step) * 6.0 >= end).unwrap_or(86_400);
    let ticks = (0..=6).map(|n| n * step).map(|at| (f64::from(at), clock(at))).collect();
    Axis { scale: Scale::between(0.0, end), ticks }
}

/// How latencies spread, each kind in a plot of its own with a line for each phase.
pub(super) fn by_percentile(result: &RunResult) -> Markup {
    let names = result.phases.iter().flat_map(|phase| latencies(phase).map(|(name, _)| name));
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| (rank(name), *name));
    names.dedup();
    let plots: Vec<Plot> = names.into_iter().filter_map(|name| percentiles(result, name)).collect();
    html! {
        @if !plots.is_empty() {
            section {
                h2 { "Latency by percentile" }
                p.note {
                    "Each step to the right is ten times rarer. The darker a line, the later its \
                     phase; latencies of a dashed one do not count."
                }
                div.plots { @for plot in &plots { (plot.draw()) } }
            }
        }
    }
}

fn percentiles(result: &RunResult, name: &str) -> Option<Plot> {
    let phases = result.phases.iter();
    let taken: Vec<_> = phases.filter_map(|phase| Some((phase, phase.latency(name)?))).collect();
    let most = taken.iter().map(|(_, taken)| taken.len()).max()?;
    // Beyond one in all there is nothing.
    let nines = (most as f64).log10().max(1.0);
    let traces = taken.iter().enumerate().map(|(n, (phase, of))| {
        let own = (of.len() as f64).log10().min(nines);
        let places = (0..=120).map(|n| f64::from(n) / 120.0 * own);
        let point = |x: f64| (x, millis(of.value_at_quantile(1.0 - 10_f64.powf(-x))));
        Trace {
            name: phase.name.clone(),
            class: class(name),
            strength: strength(n, taken.len()),
            shape: if phase.valid { Shape::Line } else { Shape::Dashed },
            points: places.map(point).collect(),
        }
    });
    let traces: Vec<Trace> = traces.collect();
    let texts = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"];
    let ticks = (0..).zip(texts).map(|(n, text)| (f64::from(n), format!("{text} %")));
    let plot = Plot {
        title: latency_name(name),
        unit: "ms",
        x: Axis { scale: Scale::between(0.0, nines), ticks: ticks.collect() },
        traces,
        ..Plot::default()
    };
    Some(plot.by_powers())
}

/// How latencies grow with the load, where a phase ran at a share of the maximum.
pub(super) fn by_load(result: &RunResult) -> Markup {
    let plots: Vec<Plot> =
        [ACKNOWLEDGE, END_TO_END].iter().filter_map(|name| load(result, name)).collect();
    html! {
        @if !plots.is_empty() {
            section {
                h2 { "Latency by load" }
                p.note { "Of phases that are valid." }
                div.plots { @for plot in &plots { (plot.draw()) } }
            }
        }
    }
}

fn load(result: &RunResult, name: &str) -> Option<Plot> {
    let phases = result.phases.iter().filter(|phase| phase.valid);
    let loads = phases.filter_map(|phase| Some((phase.load?, phase.latency(name)?)));
    let mut loads: Vec<_> = loads.filter(|(load, _)| load.is_finite()).collect();
    loads.sort_by(|one, other| one.0.total_cmp(&other.0));
    let ((least, _), (most, _)) = (loads.first()?, loads.last()?);
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
    let traces = quantiles.iter().enumerate().map(|(n, (text, quantile))| {
        let at = |of: &Histogram<u64>| millis(of.value_at_quantile(*quantile));
        Trace {
            name: (*text).to_owned(),
            class: class(name),
            strength: strength(n, quantiles.len()),
            shape: Shape::Dotted,
            points: loads.iter().map(|(load, of)| (*load, at(of))).collect(),
        }
    });
    let traces = traces.collect();
    let ticks = loads.iter().map(|(load, _)| (*load, format!("{:.0} %", load * 100.0)));
    let plot = Plot {
        title: latency_name(name),
        unit: "ms, by share of the maximum",
        x: Axis { scale: Scale::between(least - 0.1, most + 0.1), ticks: ticks.collect() },
        traces,
        ..Plot::default()
    };
    (loads.len() > 1).then(|| plot.by_powers())
}

/// The colour of what a histogram is about.
fn class(name: &str) -> &'static str {
    if name.starts_with(END_TO_END) { "event" } else { "answer" }
}

/// Of so many shades the n-th: the last is the full colour.
fn strength(n: usize, of: usize) -> u32 {
    let share = (n + 1) as f64 / of.max(1) as f64;
    (25.0 + 75.0 * share) as u32
}
