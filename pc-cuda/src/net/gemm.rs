//! Relaxations of wide nets by grouped products (`relax_gemm`).

use pc_core::Result;

use crate::{
    device::{Address, Family, Launch},
    net::{
        FusedLinearisation, FusedNet, Link,
        operands::{LinkOperands, Operands, Rows},
        recipe::Recipe,
    },
    params::{GemmLayer, Gemms, LAYERS, Pack, PackLayer},
    plan::{Operand, Products},
    tensor::int,
};

/// Threads of a block that multiplies by warps, and by warpgroups.
const THREADS: usize = 128;
const GROUP_THREADS: usize = 512;
/// What it takes of shared memory: four stages of 64 bytes of every row of both operands, or five
/// of 128 with two signals each.
const SHARED: usize = 4 * (128 + 64) * 64;
const GROUP_SHARED: usize = 5 * ((128 + 192) * 128 + 2 * 16);
/// The side of a tile that is packed.
const SIDE: usize = 32;

/// A kernel for either kind of operand by rows, and for those in tiles.
#[derive(Clone, Copy)]
struct Kernels {
    bf16: &'static str,
    tf32: &'static str,
    tiled: &'static str,
}

const ERRORS: Kernels = Kernels {
    bf16: "pc_relax_gemm_errors_bf16",
    tf32: "pc_relax_gemm_errors_tf32",
    tiled: "pc_relax_wgmma_errors",
};
const MOVES: Kernels = Kernels {
    bf16: "pc_relax_gemm_moves_bf16",
    tf32: "pc_relax_gemm_moves_tf32",
    tiled: "pc_relax_wgmma_moves",
};
const FROZEN: Kernels = Kernels {
    bf16: "pc_relax_gemm_frozen_bf16",
    tf32: "pc_relax_gemm_frozen_tf32",
    tiled: "pc_relax_wgmma_frozen",
};
const PACK: Kernels =
    Kernels { bf16: "pc_pack_bf16", tf32: "pc_pack_tf32", tiled: "pc_pack_tiled" };

impl Kernels {
    fn of(self, products: Products) -> &'static str {
        match products {
            Products::Warps(Operand::Bf16 { .. }) => self.bf16,
            Products::Warps(Operand::Tf32 { .. }) => self.tf32,
            Products::Warpgroups => self.tiled,
        }
    }
}

impl FusedNet {
    /// Makes room for operands, where there is none yet.
    pub(super) fn make_operands(
        &self,
        products: Products,
        live: bool,
        at: &mut FusedLinearisation,
    ) -> Result<()> {
        if at.operands.as_ref().is_some_and(|held| held.products == products && held.live == live) {
            return Ok(());
        }
        // A recording has the addresses of those that go.
        at.recorded = None;
        at.operands = None;
        let links = self.links.iter().skip(1).map(|link| {
            let rows =
                |rows, columns, second| Rows::new(&self.device, products, rows, columns, second);
            let pulls = (0..if live { 1 } else { 2 })
                .map(|_| rows(at.batch, link.outputs, false))
                .collect::<Result<Vec<_>>>()?;
            let turned = (products != Products::Warpgroups)
                .then(|| rows(link.inputs, link.outputs, true))
                .transpose()?;
            Ok(LinkOperands {
                weight: rows(link.outputs, link.inputs, true)?,
                turned,
                moves: live.then(|| rows(at.batch, link.inputs, false)).transpose()?,
                pulls,
            })
        });
        at.operands = Some(Operands { links: links.collect::<Result<Vec<_>>>()?, products, live });
        self.device.check()
    }

    /// Steps of live predictions, and the errors after the last.
    pub(super) fn gemm_live(&self, recipe: &Recipe, operands: &Operands) -> Result<()> {
        let last = self.links.len() - 1;
        let driven = recipe.top.loss() != 0;
        let mut packs = self.weights(operands, true);
        for (index, own) in operands.links.iter().enumerate() {
            let (from, columns) = (recipe.below[index + 1], self.links[index + 1].inputs);
            packs.extend(own.moves.as_ref().map(|to| pack(from, recipe.batch, columns, to)));
        }
        self.pack(operands, &packs)?;
        for step in 0..=recipe.steps {
            let done = step == recipe.steps;
            let errors: Vec<GemmLayer> =
                (1..=last).map(|index| self.errors(recipe, operands, index, done)).collect();
            self.multiply(ERRORS, operands, recipe.rate, &errors)?;
            if done {
                break;
            }
            if driven {
                self.drive(recipe)?;
                let to = &operands.links[last - 1].pulls[0];
                let columns = self.links[last].outputs;
                self.pack(operands, &[pack(recipe.layers[last].g, recipe.batch, columns, to)])?;
            }
            let moves: Vec<GemmLayer> = (0..last)
                .map(|index| GemmLayer {
                    v: if step + 1 == recipe.steps { recipe.layers[index].v } else { 0 },
                    ..self.moves(recipe, operands, index, 0)
                })
                .collect();
            self.multiply(MOVES, operands, recipe.rate, &moves)?;
        }
        self.fused("pc_errors", recipe.rate, &recipe.layers[..1])
    }

    /// Steps of errors whose predictions are frozen.
    pub(super) fn gemm_frozen(&self, recipe: &Recipe, operands: &Operands) -> Result<()> {
        let last = self.links.len() - 1;
        self.fused("pc_gate", recipe.rate, &recipe.layers)?;
        let mut packs = self.weights(operands, false);
        for (index, own) in operands.links.iter().enumerate() {
            let (g, columns) = (recipe.layers[index + 1].g, self.links[index + 1].outputs);
            // The output's stays as it is, in both places.
            let places = if index + 1 == last { 2 } else { 1 };
            packs
                .extend(own.pulls.iter().take(places).map(|to| pack(g, recipe.batch, columns, to)));
        }
        self.pack(operands, &packs)?;
        for step in 0..recipe.steps {
            let layers: Vec<GemmLayer> = (0..last)
                .map(|index| {
                    let next = index.checked_sub(1).map(|own| &operands.links[own].pulls);
                    let out = next.and_then(|places| places.get((step + 1) % 2));
                    let layer = GemmLayer {
                        r: 0,
                        e: recipe.layers[index].e,
                        slope: recipe.layers[index].slope,
                        precision: recipe.layers[index].precision,
                        ..self.moves(recipe, operands, index, step % 2)
                    };
                    into(out, layer)
                })
                .collect();
            self.multiply(FROZEN, operands, recipe.rate, &layers)?;
        }
        Ok(())
    }

    /// The weights, to be packed: for pulls, and `both` ways.
    fn weights(&self, operands: &Operands, both: bool) -> Vec<PackLayer> {
        let layer = |(link, own): (&Link, &LinkOperands)| {
            let (by_output, turned) = (&own.weight, own.turned.as_ref());
            PackLayer {
                columns_to: turned.map_or(0, Rows::address),
                column_row: turned.map_or(0, |rows| int(rows.row)),
                column_part: turned.map_or(0, |rows| int(rows.part)),
                second: 1,
                rows_to: if both || turned.is_none() { by_output.address() } else { 0 },
                ..pack(self.weight(link).address(), link.outputs, link.inputs, by_output)
            }
        };
        self.links.iter().skip(1).zip(&operands.links).map(layer).collect()
    }

    /// The errors of link `index`, at least the second; `done` after the last step, when nothing
    /// is pulled any more and the slopes are wanted.
    fn errors(&self, recipe: &Recipe, operands: &Operands, index: usize, done: bool) -> GemmLayer {
        let (link, own, layer) =
            (&self.links[index], &operands.links[index - 1], &recipe.layers[index]);
        // What drives an output is found after its prediction, with its slope.
        let waits = index + 1 == self.links.len() && recipe.top.loss() != 0;
        let out = own.pulls.first().filter(|_| !done && !waits);
        let layer = GemmLayer {
            a: own.moves.as_ref().map_or(0, Rows::address),
            b: own.weight.address(),
            z: layer.z,
            r: layer.r,
            d: layer.d,
            e: if done || waits { layer.e } else { 0 },
            // Where it moves, by half.
            v: if done || index + 1 == self.links.len() { 0 } else { layer.d },
            slope: if done || waits { layer.slope } else { 0 },
            precision: layer.precision,
            act: layer.act,
            rows: int(recipe.batch),
            columns: int(link.outputs),
            chunks: int(own.weight.chunks),
            across: int(link.outputs.div_ceil(operands.products.columns())),
            a_chunk: own.moves.as_ref().map_or(0, |rows| int(rows.row)),
            b_chunk: int(own.weight.row),
            ..GemmLayer::default()
        };
        into(out, layer)
    }

    /// The moves of the vertex of link `index`, by what the next link pulls.
    fn moves(&self, recipe: &Recipe, operands: &Operands, index: usize, place: usize) -> GemmLayer {
        let (link, above, layer) =
            (&self.links[index], &operands.links[index], &recipe.layers[index]);
        let (pulls, weight) =
            (above.pulls.get(place), above.turned.as_ref().unwrap_or(&above.weight));
        let layer = GemmLayer {
            a: pulls.map_or(0, Rows::address),
            b: weight.address(),
            // The first link's error is its vertex's displacement and the residual; what others'
            // errors move is moved already.
            r: if index == 0 { layer.r } else { 0 },
            precision: if index == 0 { layer.precision } else { 0.0 },
            reference: layer.reference,
            d: layer.d,
            rows: int(recipe.batch),
            columns: int(link.outputs),
            chunks: pulls.map_or(0, |rows| int(rows.chunks)),
            across: int(link.outputs.div_ceil(operands.products.columns())),
            a_chunk: pulls.map_or(0, |rows| int(rows.row)),
            b_chunk: int(weight.row),
            ..GemmLayer::default()
        };
        into(above.moves.as_ref(), layer)
    }

    fn multiply(
        &self,
        kernels: Kernels,
        operands: &Operands,
        rate: f32,
        layers: &[GemmLayer],
    ) -> Result<()> {
        let products = operands.products;
        let split = i32::from(products.parts() > 1);
        let (family, block, shared) = match products {
            Products::Warps(_) => (Family::RelaxGemm, THREADS, SHARED),
            Products::Warpgroups => (Family::RelaxWgmma, GROUP_THREADS, GROUP_SHARED),
        };
        // Two tiles of the same columns bring the second operand to both.
        let paired = products == Products::Warpgroups
            && layers
                .iter()
                .all(|layer| (layer.rows as usize).div_ceil(products.rows()).is_multiple_of(2));
        for group in layers.chunks(LAYERS) {
            let mut params = Gemms { layers: int(group.len()), split, rate, ..Gemms::default() };
            let mut tiles = 0;
            for (slot, layer) in params.layer.iter_mut().zip(group) {
                *slot = GemmLayer { first: int(tiles), ..*layer };
                tiles += (layer.rows as usize).div_ceil(products.rows()) * layer.across as usize;
            }
            let launch = Launch {
                family,
                kernel: kernels.of(products),
                grid: tiles,
                block,
                cluster: if paired { 2 } else { 1 },
                shared,
            };
            self.device.launch(&launch, &params)?;
        }
        Ok(())
    }

    fn pack(&self, operands: &Operands, layers: &[PackLayer]) -> Result<()> {
        let kernel = PACK.of(operands.products);
        let split = i32::from(operands.products.parts() > 1);
        for group in layers.chunks(LAYERS) {
            let mut params = Pack { layers: int(group.len()), split, ..Pack::default() };
            let mut tiles = 0;
            for (slot, layer) in params.layer.iter_mut().zip(group) {
                *slot = PackLayer { first: int(tiles), ..*layer };
                tiles += (layer.rows as usize).div_ceil(SIDE) * layer.across as usize;
            }
            let launch = Launch {
                family: Family::RelaxGemm,
                kernel,
                grid: tiles,
                block: 256,
                cluster: 1,
                shared: 4 * SIDE * (SIDE + 1),
            };
            self.device.launch(&launch, &params)?;
        }
        Ok(())
    }
}

/// A layer whose result goes to these rows; nowhere where there are none.
fn into(out: Option<&Rows>, layer: GemmLayer) -> GemmLayer {
    let Some(rows) = out else { return layer };
    GemmLayer { out: rows.address(), out_row: int(rows.row), out_part: int(rows.part), ..layer }
}

/// A matrix to be packed by rows, as the first operand of a product.
fn pack(from: Address, rows: usize, columns: usize, to: &Rows) -> PackLayer {
    PackLayer {
        from,
        rows_to: to.address(),
        rows: int(rows),
        columns: int(columns),
        across: int(columns.div_ceil(SIDE)),
        row: int(to.row),
        part: int(to.part),
        ..PackLayer::default()
    }
}
