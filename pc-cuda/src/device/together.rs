//! What of collected work can be done at the same time, and is then one launch or one call of the
//! library for all: the same step of an LSTM's gates at every time, of a residual net's blocks, of
//! attention's heads.
//!
//! Every work gets a *level*: one more than that of the last work before it that it has to wait
//! for, because one of the two writes an allocation that the other touches. Works of one level
//! touch nothing that another of them writes, so their order is free, and those of one kind and
//! size are put together. All works that wait for one another keep their order, and so sums keep
//! theirs.

use std::collections::{BTreeMap, HashMap};

use crate::device::{
    Address, Gemm, Launch, MANY, Touches,
    works::{Work, Works},
};

/// Where memory has been allocated, and how many bytes.
pub(crate) type Allocations = BTreeMap<Address, usize>;

/// Products of more results than this fill a device by themselves, and stay alone.
const LARGEST: usize = 1 << 20;

/// The allocation that an address lies in.
pub(super) fn allocation(memory: &Allocations, address: Address) -> Option<Address> {
    let (start, bytes) = memory.range(..=address).next_back()?;
    (address - start < *bytes as u64).then_some(*start)
}

/// The addresses that a launch takes, with whether it writes there.
pub(super) fn addresses(touches: Touches, params: &[u8]) -> Option<Vec<(Address, bool)>> {
    let word = |at: usize| {
        let bytes = params.get(at..at + 8)?.try_into().ok()?;
        Some(Address::from_ne_bytes(bytes))
    };
    touches?.iter().map(|touch| Some((word(touch.at)?, touch.writes))).collect()
}

/// What a work touches, by allocation; none where it may be anything.
fn touched(work: &Work, params: &[u8], memory: &Allocations) -> Option<Vec<(Address, bool)>> {
    let mut all = match work {
        Work::Launch(_, _, touches) => addresses(*touches, params)?,
        Work::Gemm(Gemm { a, b, c, .. }) => vec![(*a, false), (*b, false), (*c, true)],
        Work::Copy { to, from, .. } => vec![(*from, false), (*to, true)],
        Work::Many(..) | Work::Gemms(_) => return None,
    };
    all.retain(|(address, _)| *address != 0);
    for (address, _) in &mut all {
        *address = allocation(memory, *address)?;
    }
    Some(all)
}

/// The levels so far.
#[derive(Default)]
struct Levels {
    /// Of the last work that wrote an allocation, and of the last that read it.
    written: HashMap<Address, usize>,
    read: HashMap<Address, usize>,
    /// Nothing more comes at or below this one.
    floor: usize,
    top: usize,
}

impl Levels {
    /// The level of the next work.
    fn of(&mut self, touched: Option<&[(Address, bool)]>) -> usize {
        let level = |map: &HashMap<Address, usize>, at| map.get(at).copied().unwrap_or(0);
        let own = match touched {
            Some(all) => {
                let waits = all.iter().map(|(at, writes)| {
                    let read = if *writes { level(&self.read, at) } else { 0 };
                    level(&self.written, at).max(read)
                });
                1 + waits.fold(self.floor, usize::max)
            }
            None => {
                self.floor = 1 + self.top;
                self.floor
            }
        };
        for (at, writes) in touched.into_iter().flatten() {
            let map = if *writes { &mut self.written } else { &mut self.read };
            let last = map.entry(*at).or_default();
            *last = own.max(*last);
        }
        self.top = self.top.max(own);
        own
    }
}

/// Works of one level that become one.
#[derive(PartialEq, Eq, Hash)]
enum Kind {
    Launch(Launch, usize),
    Gemm(Gemm),
    /// One that stays alone, by its number.
    Alone(usize),
}

fn kind(number: usize, work: &Work) -> Kind {
    match work {
        Work::Launch(launch, length, Some(_)) if launch.cluster == 1 && *length > 0 => {
            Kind::Launch(*launch, *length)
        }
        // The library cannot see addresses that lie on the device, and asks for whole vectors.
        Work::Gemm(gemm)
            if gemm.m * gemm.n <= LARGEST && (gemm.a | gemm.b | gemm.c).is_multiple_of(16) =>
        {
            Kind::Gemm(Gemm { a: 0, b: 0, c: 0, ..*gemm })
        }
        _ => Kind::Alone(number),
    }
}

/// A work with its parameters.
type Asked<'a> = (&'a Work, &'a [u8]);

/// The same work in fewer launches.
pub(crate) fn together(piece: &Works, memory: &Allocations) -> Works {
    let mut levels = Levels::default();
    let mut groups: Vec<(usize, Vec<Asked<'_>>)> = Vec::new();
    let mut known: HashMap<(usize, Kind), usize> = HashMap::new();
    for (number, (work, params)) in piece.each().enumerate() {
        let level = levels.of(touched(work, params, memory).as_deref());
        let group = *known.entry((level, kind(number, work))).or_insert_with(|| {
            groups.push((level, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push((work, params));
    }
    groups.sort_by_key(|(level, _)| *level);
    let mut made = Works::default();
    for (_, group) in &groups {
        match group.as_slice() {
            [(Work::Launch(launch, length, _), _), _, ..] => {
                for part in group.chunks((MANY / length).max(1)) {
                    match part {
                        [(Work::Launch(launch, _, touches), own)] => {
                            made.launch(launch, own, *touches);
                        }
                        part => made.many(launch, *length, part.iter().map(|(_, own)| *own)),
                    }
                }
            }
            [(Work::Gemm(_), _), _, ..] => {
                let gemms = group.iter().filter_map(|(work, _)| match work {
                    Work::Gemm(gemm) => Some(*gemm),
                    _ => None,
                });
                made.gemms(gemms.collect());
            }
            alone => alone.iter().for_each(|(work, own)| made.push(work, own)),
        }
    }
    made
}

#[cfg(all(test, feature = "simulation"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use pc_core::Tensor;
    use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};

    use crate::{
        device::{Device, Gemm, Launches, Layout, Simulation},
        precision::Precision,
        tensor::DeviceTensor,
    };

    const SIDE: usize = 4;

    /// One thing, chosen by chance, with tensors chosen by chance.
    fn ask(random: &mut impl Rng, device: &Device, all: &mut [DeviceTensor]) {
        let [to, a, b] = [(); 3].map(|()| random.random_range(0..all.len()));
        // Another handle of the same memory: a clone would copy it.
        let [first, second] = [a, b].map(|k| all[k].same());
        let to = &mut all[to];
        match random.random_range(0..6) {
            0 => to.scale(0.5),
            1 => to.axpy(0.25, &first),
            2 => to.set_difference(&first, &second),
            3 => to.copy_from(&first),
            4 => to.multiply(&first),
            // From within a tensor to its end, too.
            which => {
                let rows = if random.random() { SIDE } else { SIDE / 2 };
                let skip = 4 * ((SIDE - rows) * SIDE) as u64;
                let add = which == 5;
                let gemm = Gemm {
                    layout: Layout::Plain,
                    m: rows,
                    n: SIDE,
                    k: SIDE,
                    a: first.address() + skip,
                    b: second.address(),
                    c: to.address() + skip,
                    add,
                    precision: Precision::F32,
                    halves: false,
                };
                device.machine().gemm(&gemm).unwrap();
            }
        }
    }

    fn tensors(device: &Device) -> Vec<DeviceTensor> {
        let numbers = |k: usize| (0..SIDE * SIDE).map(move |i| ((7 * i + 3 * k) % 11) as f32 * 0.1);
        let tensor = |k| device.tensor(&[SIDE, SIDE], &numbers(k).collect::<Vec<_>>()).unwrap();
        (0..9).map(tensor).collect()
    }

    /// Pieces by chance: together they do what they do one by one, whatever comes first in a
    /// launch.
    #[test]
    fn the_same_comes_out() {
        let mut saved = 0;
        for seed in 0..60 {
            let device = Device::simulated(&Simulation::new(seed % 4)).unwrap();
            let plain = Device::simulated(&Simulation::new(0)).unwrap();
            let (mut found, mut wanted) = (tensors(&device), tensors(&plain));
            for _ in 0..3 {
                // The same pieces again, so that they are recorded and replayed.
                device.flush().unwrap();
                for own in 0..40 {
                    let random = || ChaCha8Rng::seed_from_u64(1000 * seed + own);
                    ask(&mut random(), &device, &mut found);
                    ask(&mut random(), &plain, &mut wanted);
                    plain.flush().unwrap();
                }
                for (found, wanted) in found.iter().zip(&wanted) {
                    let [found, wanted] = [found, wanted].map(|t| t.numbers().unwrap());
                    let same = found.iter().zip(&wanted).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "seed {seed}: {found:?} and {wanted:?}");
                }
            }
            let Launches { asked, made } = device.launches();
            saved += asked - made;
        }
        assert!(saved > 500, "{saved} launches were saved");
    }
}
