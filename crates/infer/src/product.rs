//! Linear layers: weights packed once, products, and what follows them while it is hot.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, Range};

use rayon::prelude::*;

use crate::InferError;
use crate::attention::sized;
use crate::isa::Isa;
use crate::kernels::{
    Columns, PANEL, Panel, QUAD, QUANTIZED_ROWS, QUANTIZED_STEP, Quantized, ROWS, Rows, RowsMut, Then, finish_bytes,
    finish_floats, multiply_bytes, multiply_floats, parts,
};
use crate::quantize::int8_rows;
use crate::weights::{Table, Weights};

/// How products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Numbers {
    /// All in 32-bit floats.
    #[default]
    F32,
    /// Weights as int8 with a scale for each output, activations as 8 bits with a scale and a zero for each token, found as
    /// they come; integer sums. Everything between the products, and attention, stays in floats.
    Int8,
}

/// Which threads compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// The calling thread alone.
    Alone,
    /// All threads of the current rayon pool.
    Pool,
}

impl Spread {
    /// How many threads that are.
    pub(crate) fn threads(self) -> usize {
        match self {
            Spread::Alone => 1,
            Spread::Pool => rayon::current_num_threads(),
        }
    }
}

/// Rows that a thread takes at least where rows are split among threads; of fewer, each thread takes all, for some outputs.
pub(crate) const SPLIT_ROWS_MIN: usize = 24;

/// Inputs beyond which a sum of products of bytes might leave 32 bits.
const INT8_INPUTS_MAX: usize = 1 << 15;

/// `x * weight^T + bias`
///
/// The outputs come in blocks of equal width, `[block][row][width]`: one block of all, or one for each head of attention, which
/// then finds its rows next to each other.
#[derive(Debug)]
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    /// Outputs of a block.
    width: usize,
    weight: Packed,
    /// Padded to whole panels.
    bias: Vec<[f32; PANEL]>,
}

/// Weights in panels of 32 outputs; those beyond the last are zeros.
#[derive(Debug)]
enum Packed {
    F32(Aligned<f32>),
    Int8 { codes: Aligned<i8>, scales: Vec<[f32; PANEL]>, sums: Vec<[i32; PANEL]> },
}

/// A matrix as it is stored, `[outputs, inputs]`, and its bias.
#[derive(Debug)]
pub(crate) struct Stored {
    weight: Table,
    bias: Vec<f32>,
}

impl Stored {
    /// Reads `<name>.weight` and `<name>.bias`.
    ///
    /// # Errors
    /// One is missing or of another shape.
    pub(crate) fn read(weights: &Weights<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Stored, InferError> {
        Ok(Stored {
            weight: weights.table(&format!("{name}.weight"), outputs, inputs)?,
            bias: weights.vector(&format!("{name}.bias"), outputs)?,
        })
    }

    /// The same with all outputs `factor` times as large.
    pub(crate) fn scaled(mut self, factor: f32) -> Stored {
        let numbers = match &mut self.weight {
            Table::F32(rows) => rows,
            Table::Int8 { scales, .. } => scales,
        };
        numbers.iter_mut().chain(&mut self.bias).for_each(|number| *number *= factor);
        self
    }

    /// The same with outputs that are always 0 after each `width`, so that there are whole panels of them.
    pub(crate) fn padded(self, inputs: usize, width: usize) -> Stored {
        let weight = match self.weight {
            Table::F32(rows) => Table::F32(padded(&rows, width * inputs, PANEL * inputs)),
            Table::Int8 { codes, scales } => Table::Int8 {
                codes: padded(&codes, width * inputs, PANEL * inputs),
                scales: padded(&scales, width, PANEL),
            },
        };
        Stored { weight, bias: padded(&self.bias, width, PANEL) }
    }
}

thread_local! {
    /// The rows that this thread is about to multiply as int8.
    static QUANTIZED: RefCell<Quantized> = RefCell::default();

    /// What the threads have computed for this one, each some columns of all rows.
    static COLUMNS: Cell<Vec<f32>> = Cell::default();
}

impl Linear {
    /// Packs a layer.
    ///
    /// # Errors
    /// More inputs than int8 can sum.
    pub(crate) fn pack(numbers: Numbers, inputs: usize, layer: Stored) -> Result<Linear, InferError> {
        let width = layer.bias.len();
        Linear::pack_blocks(numbers, inputs, width, vec![layer])
    }

    /// Packs layers of the same inputs as one, whose outputs stand one after the other, in blocks of `width`: a multiple of 32,
    /// or all there are.
    ///
    /// # Errors
    /// More inputs than int8 can sum.
    pub(crate) fn pack_blocks(
        numbers: Numbers,
        inputs: usize,
        width: usize,
        layers: Vec<Stored>,
    ) -> Result<Linear, InferError> {
        let bias: Vec<f32> = layers.iter().flat_map(|layer| layer.bias.iter().copied()).collect();
        let weight = match numbers {
            Numbers::F32 => {
                let rows: Vec<f32> = layers.into_iter().flat_map(|layer| layer.weight.into_floats(inputs)).collect();
                Packed::F32(pack(&rows, inputs, inputs, 1))
            }
            Numbers::Int8 if inputs > INT8_INPUTS_MAX => {
                return Err(InferError::Unsupported {
                    what: format!("a layer of {inputs} inputs in int8"),
                    way_out: "run the model in f32",
                });
            }
            Numbers::Int8 => {
                let (mut codes, mut scales) = (Vec::new(), Vec::new());
                for layer in layers {
                    let (more_codes, more_scales) = match layer.weight {
                        Table::F32(rows) => int8_rows(&rows, inputs),
                        Table::Int8 { codes, scales } => (codes, scales),
                    };
                    codes.extend(more_codes);
                    scales.extend(more_scales);
                }
                let sum = |row: &[i8]| row.iter().map(|code| i32::from(*code)).sum();
                let sums: Vec<i32> = codes.chunks_exact(inputs).map(sum).collect();
                let codes = pack(&codes, inputs, inputs.next_multiple_of(QUANTIZED_STEP), QUAD);
                Packed::Int8 { codes, scales: in_panels(&scales), sums: in_panels(&sums) }
            }
        };
        Ok(Linear { inputs, outputs: bias.len(), width, weight, bias: in_panels(&bias) })
    }

    /// How many outputs there are.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The product of the rows of `x` (`inputs` floats each), and `then`, into the blocks of `out`. A row's result depends on
    /// that row alone, to the last bit.
    pub(crate) fn apply(&self, isa: Isa, x: &[f32], then: Then, out: &mut [f32], spread: Spread) {
        let rows = x.len() / self.inputs;
        debug_assert_eq!(rows * self.outputs, out.len());
        let threads = spread.threads();
        if threads == 1 {
            self.product(isa, x, 0..self.outputs, self.width, then, out);
        } else if self.width < self.outputs {
            let share = (self.outputs / self.width).div_ceil(threads) * self.width;
            let split = out.par_chunks_mut(rows * share).enumerate();
            split.for_each(|(part, out)| {
                let outputs = part * share..self.outputs.min((part + 1) * share);
                self.product(isa, x, outputs, self.width, then, out);
            });
        } else if rows >= threads * SPLIT_ROWS_MIN {
            let share = rows.div_ceil(threads);
            let split = x.par_chunks(share * self.inputs).zip(out.par_chunks_mut(share * self.outputs));
            split.for_each(|(x, out)| self.product(isa, x, 0..self.outputs, self.width, then, out));
        } else {
            self.apply_by_columns(isa, x, then, out, threads);
        }
    }

    /// Each of the threads takes all rows, for some of the outputs; then each puts some rows together.
    fn apply_by_columns(&self, isa: Isa, x: &[f32], then: Then, out: &mut [f32], threads: usize) {
        let rows = x.len() / self.inputs;
        let share = self.outputs.div_ceil(threads).next_multiple_of(PANEL);
        // Not borrowed but taken: while this thread waits for the others, it may compute something else.
        let mut columns = COLUMNS.take();
        let parts = sized(&mut columns, rows * self.outputs);
        parts.par_chunks_mut(rows * share).enumerate().for_each(|(part, out)| {
            let outputs = part * share..self.outputs.min((part + 1) * share);
            // What is to be added to is in `out`; the part is added to it below.
            let then = if then == Then::Add { Then::Store } else { then };
            self.product(isa, x, outputs.clone(), outputs.len(), then, out);
        });
        let rows_of_thread = rows.div_ceil(threads);
        out.par_chunks_mut(rows_of_thread * self.outputs).enumerate().for_each(|(thread, out)| {
            for (row, out) in (thread * rows_of_thread..).zip(out.chunks_exact_mut(self.outputs)) {
                for (out, part) in out.chunks_mut(share).zip(parts.chunks(rows * share)) {
                    let part = &part[row * out.len()..][..out.len()];
                    match then {
                        Then::Store | Then::Gelu => out.copy_from_slice(part),
                        Then::Add => out.iter_mut().zip(part).for_each(|(out, part)| *out += part),
                    }
                }
            }
        });
        COLUMNS.set(columns);
    }

    /// The product for some of the outputs, which start with a panel's first and end with a panel's last, or with the last, in
    /// blocks of `width`.
    fn product(&self, isa: Isa, x: &[f32], outputs: Range<usize>, width: usize, then: Then, out: &mut [f32]) {
        let all_rows = x.len() / self.inputs;
        let panels = outputs.start / PANEL..outputs.end.div_ceil(PANEL);
        let columns = |panel: usize| PANEL.min(outputs.end - panel * PANEL);
        // Where a panel's columns of a row go.
        let place = |panel: usize, row: usize| {
            let column = panel * PANEL - outputs.start;
            (column / width * all_rows + row) * width + column % width
        };
        match &self.weight {
            Packed::F32(weight) => {
                let mut sums = [0.0; ROWS * PANEL];
                let size = self.inputs * PANEL;
                for panel in panels {
                    let (weight, next) = weight[panel * size..].split_at(size);
                    let next = &next[..next.len().min(size)];
                    let (steps, columns) = (Rows { data: weight, stride: PANEL }, columns(panel));
                    for (first, rows) in parts(all_rows, ROWS) {
                        let left = Rows { data: &x[first * self.inputs..], stride: self.inputs };
                        // The next panel comes a piece with each part of the rows.
                        let ahead = &next[first * next.len() / all_rows..(first + rows) * next.len() / all_rows];
                        let weight = Panel { steps, inner: self.inputs, columns, ahead };
                        multiply_floats(isa, rows, left, weight, RowsMut { data: &mut sums, stride: PANEL });
                        let out = RowsMut { data: &mut out[place(panel, first)..], stride: width };
                        finish_floats(isa, &sums[..rows * PANEL], &self.bias[panel], columns, then, out);
                    }
                }
            }
            Packed::Int8 { codes, scales, sums } => QUANTIZED.with_borrow_mut(|left| {
                let size = self.inputs.next_multiple_of(QUANTIZED_STEP) * PANEL;
                let codes = &codes[panels.start * size..panels.end * size];
                for (block, x) in x.chunks(QUANTIZED_ROWS * self.inputs).enumerate() {
                    left.fill(isa, x, self.inputs);
                    multiply_bytes(isa, left, codes, |number, products| {
                        let panel = panels.start + number;
                        let of = Columns { scales: &scales[panel], sums: &sums[panel], bias: &self.bias[panel] };
                        let start = place(panel, block * QUANTIZED_ROWS);
                        let out = RowsMut { data: &mut out[start..], stride: width };
                        finish_bytes(isa, products, left, of, columns(panel), then, out);
                    });
                }
            }),
        }
    }
}

/// Rows of `inputs` elements as panels of 32 rows: `[panel][step][row][step_len]`, `padded` elements of each row.
fn pack<T: Copy + Default>(rows: &[T], inputs: usize, padded: usize, step_len: usize) -> Aligned<T> {
    let panel_len = padded * PANEL;
    let mut packed = Aligned::new((rows.len() / inputs).div_ceil(PANEL) * panel_len);
    for (number, row) in rows.chunks_exact(inputs).enumerate() {
        let panel = &mut packed.values_mut()[number / PANEL * panel_len..][..panel_len];
        let steps = panel.chunks_exact_mut(step_len).skip(number % PANEL).step_by(PANEL);
        for (to, from) in steps.zip(row.chunks(step_len)) {
            to[..from.len()].copy_from_slice(from);
        }
    }
    packed
}

/// Zeros after each `width` values, up to the next multiple of `unit`.
fn padded<T: Copy + Default>(values: &[T], width: usize, unit: usize) -> Vec<T> {
    let padding = width.next_multiple_of(unit) - width;
    values
        .chunks(width)
        .flat_map(|part| part.iter().copied().chain(std::iter::repeat_n(T::default(), padding)))
        .collect()
}

fn in_panels<T: Copy + Default>(values: &[T]) -> Vec<[T; PANEL]> {
    let padded = |values: &[T]| std::array::from_fn(|column| values.get(column).copied().unwrap_or_default());
    values.chunks(PANEL).map(padded).collect()
}

/// Values that start on a cache line: a vector that spans two is slower to read.
#[derive(Debug)]
struct Aligned<T> {
    values: Vec<T>,
    start: usize,
}

impl<T: Copy + Default> Aligned<T> {
    fn new(len: usize) -> Aligned<T> {
        const CACHE_LINE: usize = 64;
        let values = vec![T::default(); len + CACHE_LINE];
        // The vector is never grown, so that it stays where it is.
        let start = values.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE);
        Aligned { values, start }
    }

    fn values_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..]
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::floats;

    fn stored(inputs: usize, outputs: usize) -> Stored {
        Stored { weight: Table::F32(floats(inputs * outputs, 1)), bias: floats(outputs, 2) }
    }

    fn apply(layer: &Linear, isa: Isa, x: &[f32], then: Then, spread: Spread) -> Vec<f32> {
        let mut out = floats(x.len() / layer.inputs * layer.outputs, 3);
        layer.apply(isa, x, then, &mut out, spread);
        out
    }

    #[test]
    fn a_layer_is_its_formula_in_floats_and_nearly_in_int8() {
        for (inputs, outputs) in [(3, 5), (64, 32), (70, 33), (128, 96)] {
            let x = floats(40 * inputs, 4);
            let Table::F32(weight) = stored(inputs, outputs).weight else { unreachable!("made of floats") };
            let (bias, before) = (floats(outputs, 2), floats(40 * outputs, 3));
            for isa in Isa::all() {
                for (numbers, bound) in [(Numbers::F32, 1e-5), (Numbers::Int8, 0.03)] {
                    let layer = Linear::pack(numbers, inputs, stored(inputs, outputs)).unwrap();
                    for (then, added) in [(Then::Store, 0.0), (Then::Add, 1.0)] {
                        let out = apply(&layer, isa, &x, then, Spread::Alone);
                        for (place, given) in out.iter().enumerate() {
                            let (row, output) = (&x[place / outputs * inputs..][..inputs], place % outputs);
                            let products =
                                row.iter().zip(&weight[output * inputs..]).map(|(x, w)| f64::from(*x) * f64::from(*w));
                            let exact =
                                products.sum::<f64>() + f64::from(bias[output]) + added * f64::from(before[place]);
                            let error = (f64::from(*given) - exact).abs();
                            assert!(
                                error <= bound * (inputs as f64).sqrt(),
                                "{numbers:?} on {isa}: {given} for {exact}"
                            );
                        }
                    }
                }
            }
        }
    }

    /// The rows beside it, the threads and, in int8, the processor.
    #[test]
    fn a_row_feels_nothing_of_what_is_beside_it() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for numbers in [Numbers::F32, Numbers::Int8] {
            for (inputs, outputs, width) in [(96, 200, 200), (96, 192, 64), (384, 64, 64)] {
                let layer = Linear::pack_blocks(numbers, inputs, width, vec![stored(inputs, outputs)]).unwrap();
                let x = floats(150 * inputs, 5);
                // A row's outputs, wherever the blocks are.
                let row_of = |out: &[f32], rows: usize, row: usize| -> Vec<f32> {
                    out.chunks(rows * width).flat_map(|block| block[row * width..][..width].to_vec()).collect()
                };
                let all = apply(&layer, crate::isa(), &x, Then::Gelu, Spread::Alone);
                for rows in [1, 2, 12, 13, 33, 149, 150] {
                    for spread in [Spread::Alone, Spread::Pool] {
                        let some =
                            pool.install(|| apply(&layer, crate::isa(), &x[..rows * inputs], Then::Gelu, spread));
                        for row in [0, rows / 2, rows - 1] {
                            assert!(
                                row_of(&some, rows, row) == row_of(&all, 150, row),
                                "row {row} of {rows}, {spread:?}"
                            );
                        }
                    }
                }
                if numbers == Numbers::Int8 {
                    let stored = apply(&layer, crate::isa(), &x, Then::Store, Spread::Alone);
                    for isa in Isa::all() {
                        assert!(apply(&layer, isa, &x, Then::Store, Spread::Alone) == stored, "{isa}");
                    }
                }
            }
        }
    }

    #[test]
    fn stored_int8_rows_are_multiplied_as_they_are() {
        let (inputs, outputs) = (48, 40);
        let codes: Vec<i8> = floats(inputs * outputs, 6).iter().map(|value| (value * 127.0) as i8).collect();
        let scales = vec![0.25; outputs];
        let weight = Table::Int8 { codes: codes.clone(), scales };
        let layer = Linear::pack(Numbers::Int8, inputs, Stored { weight, bias: vec![0.0; outputs] }).unwrap();
        // 0..255 is quantized to itself, so that the product is exact.
        let x: Vec<f32> = (0..inputs).map(|n| if n == 0 { 255.0 } else { (n * 5) as f32 }).collect();
        for (output, given) in apply(&layer, crate::isa(), &x, Then::Store, Spread::Alone).iter().enumerate() {
            let row = &codes[output * inputs..(output + 1) * inputs];
            let exact: f32 = row.iter().zip(&x).map(|(code, x)| f32::from(*code) * x).sum::<f32>() * 0.25;
            assert_eq!(*given, exact);
        }
    }
}
