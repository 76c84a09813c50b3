//! Latencies by percentile, drawn.

use std::path::Path;

use hdrhistogram::Histogram;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 540);
/// Points of a line.
const STEPS: u32 = 400;
/// The right edge: 99.99 %.
const NINES_MAX: f64 = 4.0;

/// A line of the plot.
pub struct Line<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Latencies in us.
    pub histogram: &'a Histogram<u64>,
}

/// Draws the lines into an SVG file. Both axes are logarithmic: to the right there are more and more nines.
///
/// # Errors
/// One sentence: it can't be written.
pub fn draw(path: &Path, title: &str, lines: &[Line<'_>]) -> Result<(), String> {
    draw_svg(path, title, lines).map_err(|e| format!("can't draw {}: {e}", path.display()))
}

fn draw_svg(path: &Path, title: &str, lines: &[Line<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| !line.histogram.is_empty())
        .map(|line| (line.name, points(line.histogram)))
        .collect();
    let values = || lines.iter().flat_map(|(_, points)| points.iter().map(|(_, ms)| *ms));
    let low = values().fold(f64::INFINITY, f64::min).min(1e3) / 1.5;
    let high = values().fold(0.0, f64::max).max(low * 10.0) * 1.5;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..NINES_MAX, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("latency, ms")
        .x_labels(9)
        .x_label_formatter(&|nines| percentile(*nines))
        .y_label_formatter(&|ms| if *ms < 1.0 { format!("{ms:.2}") } else { format!("{ms:.0}") })
        .light_line_style(WHITE)
        .draw()?;
    for (index, (name, points)) in lines.into_iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

/// The latency in ms at more and more nines.
fn points(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let point = |step: u32| {
        let nines = NINES_MAX * f64::from(step) / f64::from(STEPS);
        let us = histogram.value_at_quantile(1.0 - 10f64.powf(-nines));
        (nines, us.max(1) as f64 / 1000.0)
    };
    (0..=STEPS).map(point).collect()
}

/// 0, 50 %, 90 %, 99 %: what a number of nines stands for.
fn percentile(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    let digits = if nines <= 2.0 { 0 } else { (nines - 2.0).ceil() as usize };
    format!("{percent:.digits$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_nines_is_labelled_in_percent() {
        for (nines, label) in [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")]
        {
            assert_eq!(percentile(nines), label);
        }
    }

    #[test]
    fn a_plot_has_a_line_for_each_phase() {
        let mut histogram = Histogram::new(3).unwrap();
        (1..5000).for_each(|us| histogram.record(us * 10).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plot.svg");
        let empty = Histogram::new(3).unwrap();
        let lines = [("closed", &histogram), ("open", &histogram), ("none", &empty)];
        draw(&path, "a node", &lines.map(|(name, histogram)| Line { name, histogram })).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("percentile") && svg.contains("99.9 %"));
        assert!(svg.contains("closed") && svg.contains("open") && !svg.contains("none\n"));
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 4, "two lines and their legend");
        assert!(draw(Path::new("/nowhere/x.svg"), "", &[]).unwrap_err().contains("/nowhere"));
    }
}
