//! Curves as SVG: a page that any browser shows and that a diff can read.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 7] = ["#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#1b7c83", "#57606a"];

/// One line: its name and its points, by ascending x.
pub(in crate::cli) struct Curve {
    pub(in crate::cli) name: String,
    pub(in crate::cli) points: Vec<(f64, f64)>,
}

/// Draws `curves` over common axes; each point's values stand beside the axes. Empty without points.
pub(in crate::cli) fn svg(title: &str, x_label: &str, y_label: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let range = |value: fn(&(f64, f64)) -> f64| {
        let min = points().map(value).fold(f64::INFINITY, f64::min);
        let max = points().map(value).fold(f64::NEG_INFINITY, f64::max);
        // A flat line stands in the middle.
        if max > min { (min, max) } else { (min - 0.5, max + 0.5) }
    };
    if points().next().is_none() {
        return String::new();
    }
    let ((x_min, x_max), (y_min, y_max)) = (range(|point| point.0), range(|point| point.1));
    let x_of = |x: f64| MARGIN + (x - x_min) / (x_max - x_min) * (WIDTH - 2.0 * MARGIN);
    let y_of = |y: f64| HEIGHT - MARGIN - (y - y_min) / (y_max - y_min) * (HEIGHT - 2.0 * MARGIN);
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">"
    ));
    line(format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"));
    line(text(WIDTH / 2.0, 20.0, "middle", title));
    line(text(WIDTH / 2.0, HEIGHT - 8.0, "middle", x_label));
    line(text(8.0, MARGIN - 14.0, "start", y_label));
    let (bottom, right) = (HEIGHT - MARGIN, WIDTH - MARGIN);
    line(format!(
        "<path d=\"M{MARGIN} {MARGIN}V{bottom}H{right}\" fill=\"none\" stroke=\"#57606a\" stroke-width=\"1\"/>"
    ));
    let mut xs: Vec<f64> = points().map(|point| point.0).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    for x in xs {
        line(text(x_of(x), bottom + 18.0, "middle", &format!("{x}")));
    }
    for y in [y_min, f64::midpoint(y_min, y_max), y_max] {
        line(text(MARGIN - 6.0, y_of(y) + 4.0, "end", &format!("{y:.3}")));
    }
    for (ordinal, curve) in curves.iter().enumerate() {
        let colour = COLOURS[ordinal % COLOURS.len()];
        let path: Vec<String> = curve.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y))).collect();
        line(format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join(" ")));
        for (x, y) in &curve.points {
            line(format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x_of(*x), y_of(*y)));
        }
        let y = bottom - 12.0 - 16.0 * ordinal as f64;
        line(format!("<g fill=\"{colour}\">{}</g>", text(right, y, "end", &curve.name)));
    }
    out.push_str("</svg>\n");
    out
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_of_the_data_are_the_corners_of_the_axes() {
        let curve = |name: &str, points: &[(f64, f64)]| Curve { name: name.to_owned(), points: points.to_vec() };
        let drawn = svg("t", "x", "y", &[curve("a<b", &[(20.0, 0.5), (200.0, 0.75)]), curve("flat", &[(20.0, 0.5)])]);
        assert!(drawn.contains("points=\"56.0,304.0 584.0,56.0\""), "{drawn}");
        assert!(drawn.contains("a&lt;b"));
        assert_eq!(svg("t", "x", "y", &[]), "");
        assert!(svg("t", "x", "y", &[curve("one", &[(1.0, 1.0)])]).contains("cx=\"320.0\" cy=\"180.0\""));
    }
}
