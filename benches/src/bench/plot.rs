//! The plot: what a packet costs against sources, slaves and packet size. SVG by hand: three panels
//! of dots and lines need no crate.

use std::fmt::Write;

const PANEL: (f64, f64) = (300.0, 240.0);
const MARGIN: f64 = 64.0;
const GAP: f64 = 44.0;
const TOP: f64 = 56.0;
const HEIGHT: f64 = 370.0;

/// One panel: its axis' name, and a label and a value, nanoseconds a packet, for each dot.
pub(crate) struct Panel<'a> {
    pub(crate) axis: &'a str,
    pub(crate) dots: Vec<(String, f64)>,
}

/// Panels side by side under one scale, with a line at `limit`.
pub(crate) fn svg(title: &str, panels: &[Panel<'_>], limit: (&str, f64)) -> String {
    let highest = panels.iter().flat_map(|panel| panel.dots.iter().map(|dot| dot.1));
    let top = nice(highest.fold(limit.1, f64::max));
    let width = MARGIN + panels.len() as f64 * (PANEL.0 + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    for (at, panel) in (0_u32..).zip(panels) {
        let left = MARGIN + f64::from(at) * (PANEL.0 + GAP);
        draw(&mut out, left, panel, top, limit, at == 0);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(
    out: &mut String,
    left: f64,
    panel: &Panel<'_>,
    top: f64,
    limit: (&str, f64),
    is_first: bool,
) {
    let y = |value: f64| TOP + PANEL.1 * (1.0 - value / top);
    let right = left + PANEL.0;
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let at = y(value);
        line(out, (left, at), (right, at), "#ddd\" stroke-width=\"1");
        if is_first {
            text(out, left - 8.0, at + 4.0, "end", &format!("{value:.0}"));
        }
    }
    if is_first {
        text(out, left - 8.0, TOP - 12.0, "middle", "ns a packet");
    }
    line(out, (left, y(limit.1)), (right, y(limit.1)), "#b3261e\" stroke-dasharray=\"6 4");
    text(out, right, y(limit.1) - 6.0, "end", limit.0);
    let step = PANEL.0 / panel.dots.len() as f64;
    let mut last = None;
    for (at, (label, value)) in (0_u32..).zip(&panel.dots) {
        let (x, at) = (left + step * (f64::from(at) + 0.5), y(*value));
        if let Some(before) = last {
            line(out, before, (x, at), "#1a5fb4\" stroke-width=\"2");
        }
        last = Some((x, at));
        let _infallible =
            writeln!(out, "<circle cx=\"{x}\" cy=\"{at}\" r=\"4\" fill=\"#1a5fb4\"/>");
        text(out, x, at - 10.0, "middle", &format!("{value:.0}"));
        text(out, x, TOP + PANEL.1 + 18.0, "middle", label);
    }
    text(out, left + PANEL.0 / 2.0, TOP + PANEL.1 + 42.0, "middle", panel.axis);
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), stroke: &str) {
    let (x1, y1, x2, y2) = (from.0, from.1, to.0, to.1);
    let _infallible = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _infallible =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// The next number that divides well by four.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value * 1.05);
    step.unwrap_or(12.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_reaches_beyond_its_highest_value() {
        for value in [3.0, 99.0, 1_230.0, 1_999.0, 5_000.0, 9_999.0] {
            assert!(nice(value) > value && nice(value) < 2.0 * value, "{value}");
        }
    }
}
