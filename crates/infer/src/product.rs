//! Linear layers: weights packed once, products, and what follows them while it is hot.

use std::cell::RefCell;
use std::ops::{Deref, Range};

use rayon::prelude::*;

use crate::InferError;
use crate::isa::Isa;
use crate::kernels::{
    Columns, PANEL, QUAD, QUANTIZED_ROWS, QUANTIZED_STEP, Quantized, ROWS, Rows, RowsMut, Then, finish_bytes,
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
pub(crate) const SPLIT_ROWS_MIN: usize = 48;

/// Inputs beyond which a sum of products of bytes might leave 32 bits.
const INT8_INPUTS_MAX: usize = 1 << 15;

/// `x * weight^T + bias`
#[derive(Debug)]
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
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
}

thread_local! {
    /// The rows that this thread is about to multiply as int8.
    static QUANTIZED: RefCell<Quantized> = RefCell::default();
}

impl Linear {
    /// Packs layers of the same inputs as one; their outputs stand one after the other.
    ///
    /// # Errors
    /// More inputs than int8 can sum.
    pub(crate) fn pack(numbers: Numbers, inputs: usize, layers: Vec<Stored>) -> Result<Linear, InferError> {
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
        Ok(Linear { inputs, outputs: bias.len(), weight, bias: in_panels(&bias) })
    }

    /// How many outputs there are.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Multiplications and additions for one row.
    pub(crate) fn operations(&self) -> usize {
        2 * self.inputs * self.outputs
    }

    /// The product of the rows of `x` (`inputs` floats each), and `then`, into the rows of `out`. A row's result depends on
    /// that row alone, to the last bit.
    pub(crate) fn apply(&self, isa: Isa, x: &[f32], then: Then, out: &mut [f32], spread: Spread) {
        let (rows, width) = (x.len() / self.inputs, self.outputs);
        debug_assert_eq!(rows * width, out.len());
        let threads = spread.threads();
        if threads == 1 {
            self.product(isa, x, 0..width, then, out);
        } else if rows >= threads * SPLIT_ROWS_MIN {
            let share = rows.div_ceil(threads);
            let split = x.par_chunks(share * self.inputs).zip(out.par_chunks_mut(share * width));
            split.for_each(|(x, out)| self.product(isa, x, 0..width, then, out));
        } else {
            let share = width.div_ceil(threads).next_multiple_of(PANEL);
            let starts: Vec<usize> = (0..width).step_by(share).collect();
            let of_columns = |start: &usize| {
                let columns = *start..width.min(start + share);
                let mut part = vec![0.0; rows * columns.len()];
                // What is to be added to is in `out`; the part is added to it below.
                let then = if then == Then::Add { Then::Store } else { then };
                self.product(isa, x, columns.clone(), then, &mut part);
                (columns, part)
            };
            let split: Vec<(Range<usize>, Vec<f32>)> = starts.par_iter().map(of_columns).collect();
            for (columns, part) in split {
                for (out, part) in out.chunks_exact_mut(width).zip(part.chunks_exact(columns.len())) {
                    let out = &mut out[columns.clone()];
                    match then {
                        Then::Store | Then::Gelu => out.copy_from_slice(part),
                        Then::Add => out.iter_mut().zip(part).for_each(|(out, part)| *out += part),
                    }
                }
            }
        }
    }

    /// The same for some of the outputs, which start with a panel's first and end with a panel's last, or with the last.
    fn product(&self, isa: Isa, x: &[f32], outputs: Range<usize>, then: Then, out: &mut [f32]) {
        let width = outputs.len();
        let panels = outputs.start / PANEL..outputs.end.div_ceil(PANEL);
        let columns = |panel: usize| PANEL.min(outputs.end - panel * PANEL);
        match &self.weight {
            Packed::F32(weight) => {
                let mut sums = [0.0; ROWS * PANEL];
                let size = self.inputs * PANEL;
                for panel in panels {
                    let weight = &weight[panel * size..(panel + 1) * size];
                    let columns = columns(panel);
                    for (first, rows) in parts(x.len() / self.inputs, ROWS) {
                        let left = Rows { data: &x[first * self.inputs..], stride: self.inputs };
                        multiply_floats(isa, rows, left, weight, columns, RowsMut { data: &mut sums, stride: PANEL });
                        let start = first * width + panel * PANEL - outputs.start;
                        let out = RowsMut { data: &mut out[start..], stride: width };
                        finish_floats(isa, &sums[..rows * PANEL], &self.bias[panel], columns, then, out);
                    }
                }
            }
            Packed::Int8 { codes, scales, sums } => QUANTIZED.with_borrow_mut(|left| {
                let size = self.inputs.next_multiple_of(QUANTIZED_STEP) * PANEL;
                let codes = &codes[panels.start * size..panels.end * size];
                let blocks = x.chunks(QUANTIZED_ROWS * self.inputs).zip(out.chunks_mut(QUANTIZED_ROWS * width));
                for (x, out) in blocks {
                    left.fill(isa, x, self.inputs);
                    multiply_bytes(isa, left, codes, |number, products| {
                        let panel = panels.start + number;
                        let of = Columns { scales: &scales[panel], sums: &sums[panel], bias: &self.bias[panel] };
                        let out = RowsMut { data: &mut out[number * PANEL..], stride: width };
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
