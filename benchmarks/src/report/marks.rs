//! Colours and markers that stay distinct for colour-blind readers and in black and white.

use plotters::coord::Shift;
use plotters::prelude::*;

/// Colours after Okabe and Ito, without the yellow that does not show on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x4d, 0x4d, 0x4d),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];

/// Shapes repeat with another period than colours, so that pairs stay unique for long.
const SHAPES: usize = 6;

/// How many pairs of a colour and a shape there are.
pub(super) const LOOKS: usize = COLOURS.len() * SHAPES;

/// Pixels of the drawing per unit of its shown size; coordinates are whole numbers.
pub(super) const SCALE: i32 = 4;

pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The colour of the n-th run.
pub(super) fn colour(run: usize) -> RGBColor {
    COLOURS.get(run % COLOURS.len()).copied().unwrap_or(BLACK)
}

/// The line of the n-th run: the first is wide, so that it shows under a line that covers it.
pub(super) fn line(run: usize) -> ShapeStyle {
    let tenths = if run == 0 { 42 } else { 19 };
    ShapeStyle {
        color: if run == 0 { colour(run).mix(0.45) } else { colour(run).to_rgba() },
        filled: false,
        stroke_width: (tenths * SCALE / 10).unsigned_abs(),
    }
}

/// Draws the marker of the n-th run, centred, with a thin white edge.
pub(super) fn marker(canvas: &Canvas, run: usize, at: (i32, i32)) -> Drawn {
    let radius = if run == 0 { 46 } else { 38 };
    shape(canvas, run, at, radius + 10, WHITE)?;
    shape(canvas, run, at, radius, colour(run))
}

/// Draws a shape whose radius is given in tenths of a unit.
fn shape(canvas: &Canvas, run: usize, at: (i32, i32), radius: i32, colour: RGBColor) -> Drawn {
    let size = |part: f64| (part * f64::from(radius * SCALE) / 10.0).round() as i32;
    if run.is_multiple_of(SHAPES) {
        return canvas.draw(&Circle::new(at, size(1.0), colour.filled()));
    }
    let (half, arm) = (size(0.9), size(0.42));
    let points: Vec<(i32, i32)> = match run % SHAPES {
        1 => vec![(-half, -half), (half, -half), (half, half), (-half, half)],
        2 => vec![(0, -size(1.2)), (size(1.1), half), (-size(1.1), half)],
        3 => vec![(0, -size(1.3)), (size(1.3), 0), (0, size(1.3)), (-size(1.3), 0)],
        4 => vec![(0, size(1.2)), (size(1.1), -half), (-size(1.1), -half)],
        _ => vec![
            (-arm, -size(1.1)),
            (arm, -size(1.1)),
            (arm, -arm),
            (size(1.1), -arm),
            (size(1.1), arm),
            (arm, arm),
            (arm, size(1.1)),
            (-arm, size(1.1)),
            (-arm, arm),
            (-size(1.1), arm),
            (-size(1.1), -arm),
            (-arm, -arm),
        ],
    };
    let moved: Vec<(i32, i32)> = points.into_iter().map(|(x, y)| (at.0 + x, at.1 + y)).collect();
    canvas.draw(&Polygon::new(moved, colour.filled()))
}
