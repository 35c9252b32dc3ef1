//! Panels laid out in rows under a heading and a legend, as one SVG picture.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    axis::Axis,
    error::ReportError,
    format::{clean, escape, shorten},
    marks::{Canvas, Drawn, SCALE, colour, line, marker},
};

/// Points of one run (or vertex) in one panel, in the units of the axes.
pub(super) struct Series {
    /// Place of the run in the report, or of the vertex among those shown; decides colour and
    /// marker.
    pub(super) run: usize,
    pub(super) points: Vec<(f64, f64)>,
    /// By point, half of its interval; shorter where points have none.
    pub(super) halves: Vec<f64>,
}

/// One pair of axes with its data.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// Whether the points of a run are joined by a line.
    pub(super) joined: bool,
    /// Draws a line across the panel where x is 1.
    pub(super) line_at_one: bool,
    /// Share of the width of its row.
    pub(super) share: f64,
}

/// Panels side by side.
pub(super) struct Row {
    pub(super) height: u32,
    pub(super) panels: Vec<Panel>,
}

/// A whole picture; sizes are in the units in which it is shown.
pub(super) struct Figure {
    /// A heading above everything; may be empty.
    pub(super) heading: String,
    /// A smaller line under the heading; may be empty.
    pub(super) subheading: String,
    /// What to name in the legend: the place of a [`Series`] and the name.
    pub(super) legend: Vec<(usize, String)>,
    pub(super) rows: Vec<Row>,
    pub(super) width: u32,
    /// What the picture shows, for readers who do not see it.
    pub(super) description: String,
}

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);
const RULE: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const AXIS: RGBColor = RGBColor(0x99, 0x99, 0x99);
const MARGIN: i32 = 14;
const LEGEND_LINE: i32 = 20;
const LEGEND_SIZE: f64 = 12.5;
const TICK_SIZE: f64 = 11.5;
/// More markers than this on a line only hide it.
const MOST_MARKERS: usize = 16;

impl Figure {
    /// Draws the picture.
    pub(super) fn svg(&self) -> Result<String, ReportError> {
        let legend = self.legend_places();
        let mut top = MARGIN;
        let heading = top;
        top += if self.heading.is_empty() { 0 } else { 24 };
        let subheading = top;
        top += if self.subheading.is_empty() { 0 } else { 20 };
        let legend_top = top;
        let lines = legend.iter().map(|place| place.1 + 1).max().unwrap_or(0);
        top += lines * LEGEND_LINE + if lines > 0 { 10 } else { 0 };
        let rows: u32 = self.rows.iter().map(|row| row.height).sum();
        let height = top.unsigned_abs() + rows + 8;

        let mut body = String::new();
        let mut draw = |body: &mut String| -> Drawn {
            let scale = SCALE.unsigned_abs();
            let size = (self.width * scale, height * scale);
            let canvas = SVGBackend::with_string(body, size).into_drawing_area();
            canvas.fill(&WHITE)?;
            let most = |size: f64| (f64::from(self.width) / (0.56 * size)) as usize;
            text(&canvas, &shorten(&self.heading, most(17.0)), (MARGIN, heading), 17.0, INK, true)?;
            let line = shorten(&self.subheading, most(12.5));
            text(&canvas, &line, (MARGIN, subheading), 12.5, GREY, false)?;
            for ((run, name), (x, line)) in self.legend.iter().zip(&legend) {
                let y = legend_top + line * LEGEND_LINE;
                legend_entry(&canvas, *run, &legend_name(name), (*x, y))?;
            }
            for row in &self.rows {
                draw_row(&canvas, row, top, self.width)?;
                top += i32::try_from(row.height).unwrap_or(0);
            }
            canvas.present()
        };
        draw(&mut body).map_err(|error| ReportError::Draw {
            figure: self.description.clone(),
            reason: error.to_string(),
        })?;
        Ok(self.dress(&body, height))
    }

    /// Column (in units) and line of each entry of the legend.
    fn legend_places(&self) -> Vec<(i32, i32)> {
        let (mut x, mut line) = (MARGIN, 0);
        let right = i32::try_from(self.width).unwrap_or(i32::MAX) - MARGIN;
        let mut places = Vec::new();
        for (_, name) in &self.legend {
            let width = 36 + text_width(&legend_name(name), LEGEND_SIZE) + 22;
            if x > MARGIN && x + width > right {
                (x, line) = (MARGIN, line + 1);
            }
            places.push((x, line));
            x += width;
        }
        places
    }

    /// Replaces the opening tag by one with the shown size and a description.
    fn dress(&self, body: &str, height: u32) -> String {
        let inner = body.split_once('>').map_or("", |parts| parts.1);
        let width = self.width;
        let scale = SCALE.unsigned_abs();
        let description = escape(&clean(&self.description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{description}\" \
             stroke-linejoin=\"round\">\n<title>{description}</title>{inner}",
            width * scale,
            height * scale,
        )
    }
}

fn legend_name(name: &str) -> String {
    shorten(name, 60)
}

/// A generous estimate: the reader's fonts are not known here.
fn text_width(text: &str, size: f64) -> i32 {
    (0.56 * size * text.chars().count() as f64).ceil() as i32
}

fn font(size: f64, colour: RGBColor) -> TextStyle<'static> {
    // The backend divides the size by 1.24.
    let size = size * 1.24 * f64::from(SCALE);
    ("sans-serif", size).into_font().color(&colour)
}

fn text(
    canvas: &Canvas,
    what: &str,
    at: (i32, i32),
    size: f64,
    colour: RGBColor,
    bold: bool,
) -> Drawn {
    if what.is_empty() {
        return Ok(());
    }
    let pixels = size * 1.24 * f64::from(SCALE);
    let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let style = TextStyle::from(("sans-serif", pixels, weight).into_font())
        .color(&colour)
        .pos(Pos::new(HPos::Left, VPos::Top));
    canvas.draw_text(what, &style, (at.0 * SCALE, at.1 * SCALE))
}

fn legend_entry(canvas: &Canvas, run: usize, name: &str, (x, y): (i32, i32)) -> Drawn {
    let middle = (y + LEGEND_LINE / 2) * SCALE;
    let ends = vec![(x * SCALE, middle), ((x + 28) * SCALE, middle)];
    canvas.draw(&PathElement::new(ends, line(run)))?;
    marker(canvas, run, ((x + 14) * SCALE, middle))?;
    text(canvas, name, (x + 35, y + 5), LEGEND_SIZE, INK, false)
}

fn draw_row(canvas: &Canvas, row: &Row, top: i32, width: u32) -> Drawn {
    let whole: f64 = row.panels.iter().map(|panel| panel.share).sum();
    let mut used = 0.0;
    for panel in &row.panels {
        let place = |share: f64| (f64::from(width) * share / whole.max(1e-9)) as i32 * SCALE;
        let (left, right) = (place(used), place(used + panel.share));
        used += panel.share;
        let size = (right - left, i32::try_from(row.height).unwrap_or(0) * SCALE);
        draw_panel(canvas, panel, (left, top * SCALE), size)?;
    }
    Ok(())
}

fn draw_panel(canvas: &Canvas, panel: &Panel, corner: (i32, i32), size: (i32, i32)) -> Drawn {
    let area = canvas.clone().shrink(corner, size);
    let described = if panel.y.label.is_empty() { 0 } else { 20 };
    let numbers = i32::try_from(panel.y.longest()).unwrap_or(0) * 65 / 10;
    let left = described + numbers + 12;
    let mut builder = ChartBuilder::on(&area);
    builder
        .margin_left(MARGIN * SCALE)
        .margin_right(16 * SCALE)
        .margin_top(33 * SCALE)
        .margin_bottom(12 * SCALE)
        .x_label_area_size(38 * SCALE)
        .y_label_area_size(left * SCALE);
    let mut chart = builder.build_cartesian_2d(panel.x.clone(), panel.y.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(ShapeStyle::from(&RULE).stroke_width(SCALE.unsigned_abs()))
        .light_line_style(TRANSPARENT)
        .axis_style(ShapeStyle::from(&AXIS).stroke_width(SCALE.unsigned_abs()))
        .set_all_tick_mark_size(3 * SCALE)
        .label_style(font(TICK_SIZE, INK))
        .axis_desc_style(font(12.0, GREY))
        .x_desc(panel.x.label.as_str())
        .y_desc(panel.y.label.as_str())
        .draw()?;
    let plot = chart.plotting_area();
    let (across, down) = plot.get_pixel_range();
    let title = shorten(&panel.title, ((size.0 / SCALE - 30) as f64 / (0.58 * 13.5)) as usize);
    text(canvas, &title, (corner.0 / SCALE + MARGIN, corner.1 / SCALE + 8), 13.5, INK, true)?;
    let place = |(x, y): &(f64, f64)| -> Option<(i32, i32)> {
        Some(chart.backend_coord(&(panel.x.place(*x)?, panel.y.place(*y)?)))
    };
    let mut points = panel.series.iter().flat_map(|series| &series.points);
    let empty = points.all(|point| place(point).is_none());
    let line_at_one = panel.line_at_one && !empty;
    if let Some(at) = panel.x.place(1.0).filter(|_| line_at_one) {
        let x = chart.backend_coord(&(at, panel.y.range().start)).0;
        if across.contains(&x) {
            let style = ShapeStyle::from(&AXIS).stroke_width(2 * SCALE.unsigned_abs());
            canvas.draw(&PathElement::new(vec![(x, down.start), (x, down.end)], style))?;
        }
    }
    if empty {
        let style = font(12.0, GREY).pos(Pos::new(HPos::Center, VPos::Center));
        let middle = ((across.start + across.end) / 2, (down.start + down.end) / 2);
        canvas.draw_text("no values to show", &style, middle)?;
    }
    if panel.joined {
        for series in &panel.series {
            // A point that cannot be shown leaves a gap.
            let places: Vec<Option<(i32, i32)>> = series.points.iter().map(place).collect();
            for piece in places.split(Option::is_none).filter(|piece| piece.len() > 1) {
                let path: Vec<(i32, i32)> = piece.iter().copied().flatten().collect();
                canvas.draw(&PathElement::new(path, line(series.run)))?;
            }
        }
    }
    for series in &panel.series {
        for ((x, y), half) in series.points.iter().zip(&series.halves) {
            let ends = [place(&(*x, y - half)), place(&(*x, y + half))];
            if let [Some(low), Some(high)] = ends
                && *half > 0.0
            {
                canvas.draw(&PathElement::new(vec![low, high], line(series.run.max(1))))?;
            }
        }
    }
    for series in &panel.series {
        for at in marked(&series.points, panel.joined).filter_map(place) {
            marker(canvas, series.run, at)?;
        }
    }
    Ok(())
}

/// The points to mark: all of them, or an even choice with the last where a line shows the rest.
fn marked(points: &[(f64, f64)], joined: bool) -> impl Iterator<Item = &(f64, f64)> {
    let stride = if joined { points.len().div_ceil(MOST_MARKERS).max(1) } else { 1 };
    let last = points.len().saturating_sub(1) % stride;
    let kept = points.iter().enumerate();
    kept.filter(move |(k, _)| k % stride == last).map(|(_, p)| p)
}

/// The colour of the n-th run as CSS.
pub(super) fn css_colour(run: usize) -> String {
    let RGBColor(r, g, b) = colour(run);
    format!("#{r:02x}{g:02x}{b:02x}")
}
