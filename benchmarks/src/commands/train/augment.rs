//! Pictures that are changed a little before they are learned.

use rand::{RngExt, rngs::ChaCha8Rng};

use crate::{
    contract::{
        details::Preparation,
        train::{Batch, Inputs},
    },
    data::seeded,
};

/// The generator's stream of the first batch of the first epoch; see [`crate::data::seeded`].
const STREAM: u64 = 1 << 61;

/// Batches of an epoch have streams beside each other.
const EPOCH: u64 = 1 << 24;

/// Mirrors and moves the pictures of a batch as asked for. What is drawn depends on the seed, the
/// epoch and the batch's number alone, so that a run that goes on comes to the same bits.
pub(super) fn augment(
    batch: &mut Batch,
    how: &Preparation,
    [channels, height, width]: [usize; 3],
    seed: u64,
    [epoch, number]: [u64; 2],
) {
    let (flips, pad) = (how.flip == Some(true), how.crop.unwrap_or(0));
    let Inputs::Pixels(pixels) = &mut batch.inputs else { return };
    if (!flips && pad == 0 && how.side.is_none()) || width == 0 {
        return;
    }
    let mut draws = seeded(seed, STREAM + epoch * EPOCH + number);
    for picture in pixels.chunks_exact_mut(channels * height * width) {
        if flips && draws.random_bool(0.5) {
            picture.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
        if pad > 0 {
            let (down, right) = (draws.random_range(0..=2 * pad), draws.random_range(0..=2 * pad));
            let whole = picture.to_vec();
            for (place, x) in picture.iter_mut().enumerate() {
                let (plane, within) = (place / (height * width), place % (height * width));
                let row = (within / width + down).checked_sub(pad).filter(|row| *row < height);
                let column = (within % width + right).checked_sub(pad).filter(|at| *at < width);
                let from = row.zip(column).map(|(row, at)| (plane * height + row) * width + at);
                *x = from.and_then(|from| whole.get(from)).copied().unwrap_or(0.0);
            }
        }
    }
    if let Some(side) = how.side {
        *pixels = cut(pixels, [channels, height, width], side, Some(&mut draws));
    }
}

/// Pieces of `side` lines and columns of pictures that are no smaller: at random places, or in the
/// middle where nothing is drawn.
pub(super) fn cut(
    pixels: &[f32],
    [channels, height, width]: [usize; 3],
    side: usize,
    mut draws: Option<&mut ChaCha8Rng>,
) -> Vec<f32> {
    let rooms = [height.saturating_sub(side), width.saturating_sub(side)];
    let plane = (height * width).max(1);
    let mut pieces = Vec::with_capacity(pixels.len() / plane * side * side);
    for picture in pixels.chunks_exact(channels * plane) {
        let [down, right] = rooms.map(|room| match &mut draws {
            Some(draws) => draws.random_range(0..=room),
            None => room / 2,
        });
        for plane in picture.chunks_exact(plane) {
            for line in plane.chunks_exact(width).skip(down).take(side) {
                pieces.extend(line.iter().skip(right).take(side));
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: usize) -> Batch {
        let pixels = (0..count * 12).map(|k| 1.0 + k as f32).collect();
        Batch { inputs: Inputs::Pixels(pixels), labels: vec![0; count], samples: count }
    }

    #[test]
    fn pieces_are_of_random_places_or_of_the_middle() {
        let Inputs::Pixels(before) = batch(64).inputs else { unreachable!() };
        let how = Preparation { side: Some(2), ..Preparation::default() };
        let pieces = |place| {
            let mut changed = batch(64);
            augment(&mut changed, &how, [1, 3, 4], 7, place);
            let Inputs::Pixels(pixels) = changed.inputs else { unreachable!() };
            pixels
        };
        let found = pieces([1, 2]);
        assert!(found == pieces([1, 2]) && found != pieces([1, 3]));
        let mut seen = std::collections::BTreeSet::new();
        for (piece, own) in found.chunks(4).zip(before.chunks(12)) {
            let at = (piece[0] - own[0]) as usize;
            assert_eq!(piece, [own[at], own[at + 1], own[at + 4], own[at + 5]]);
            seen.insert(at);
        }
        assert_eq!(seen, [0, 1, 2, 4, 5, 6].into());
        let two = [before[..12].to_vec(), before[..12].to_vec()].concat();
        let middle = cut(&two, [2, 3, 4], 2, None);
        assert_eq!(middle, [2.0, 3.0, 6.0, 7.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn pictures_are_mirrored_and_moved_and_the_same_numbers_draw_the_same() {
        let how = |flip, crop| Preparation { flip, crop, ..Preparation::default() };
        let after = |how: &Preparation, place| {
            let mut changed = batch(64);
            augment(&mut changed, how, [1, 3, 4], 7, place);
            let Inputs::Pixels(pixels) = changed.inputs else { unreachable!() };
            pixels
        };
        let Inputs::Pixels(before) = batch(64).inputs else { unreachable!() };
        assert_eq!(after(&how(None, None), [0, 0]), before);
        let flipped = after(&how(Some(true), None), [0, 0]);
        let mirrored = flipped.chunks(4).zip(before.chunks(4)).filter(|(a, b)| a != b).count();
        assert!((20 * 3..44 * 3).contains(&mirrored), "{mirrored} rows of 192");
        for (row, own) in flipped.chunks(4).zip(before.chunks(4)) {
            let turned: Vec<f32> = own.iter().rev().copied().collect();
            assert!(row == own || row == turned);
        }
        let moved = after(&how(None, Some(1)), [2, 5]);
        assert_eq!(moved, after(&how(None, Some(1)), [2, 5]));
        assert!(moved != after(&how(None, Some(1)), [2, 6]));
        assert!(moved != after(&how(None, Some(1)), [3, 5]));
        for (picture, own) in moved.chunks(12).zip(before.chunks(12)) {
            // All that is seen is moved by as much, by at most one place either way.
            let shifts: Vec<isize> = picture
                .iter()
                .enumerate()
                .filter(|(_, x)| **x > 0.0)
                .map(|(at, x)| (x - own[0]) as isize - at as isize)
                .collect();
            assert!(shifts.iter().all(|shift| *shift == shifts[0] && shift.abs() <= 5));
        }
    }
}
