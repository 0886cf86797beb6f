//! Attention within one text: `softmax(Q K^T) V`, head by head (Vaswani et al. 2017, sec. 3.2).
//!
//! The keys of a head stand in panels (so that scores are a product of packed columns), a few rows of scores at a time stay
//! in the nearest cache from their product to their last use, and the softmax's division comes last, where rows are shortest.

use std::ops::Range;

use rayon::prelude::*;

use crate::isa::Isa;
use crate::kernels::{PANEL, Panel, ROWS, Rows, RowsMut, exp_rows, multiply_floats, parts, scale_row};
use crate::product::{SPLIT_ROWS_MIN, Spread};

/// The queries, keys and values of a text, head by head; the queries are scaled already.
#[derive(Clone)]
pub(crate) struct Heads<'a> {
    /// `[3 * heads][tokens][size, padded to whole panels]`: all queries' heads, all keys', all values'.
    pub(crate) blocks: &'a [f32],
    /// Tokens of all texts.
    pub(crate) tokens: usize,
    /// Which of them are the text's.
    pub(crate) text: Range<usize>,
    /// Floats that a head reads and writes for each token.
    pub(crate) size: usize,
}

/// What attention writes to meanwhile.
#[derive(Debug, Default)]
pub(crate) struct AttentionBuffers {
    /// Panels of 32 keys, `[panel][size][32]`.
    keys: Vec<f32>,
    /// `[ROWS, length]`, each row padded.
    scores: Vec<f32>,
}

impl Heads<'_> {
    /// Writes the contexts of the first queries, as many as `context` has rows.
    pub(crate) fn attend(&self, isa: Isa, spread: Spread, context: &mut [f32], buffers: &mut AttentionBuffers) {
        let (threads, width) = (spread.threads(), self.heads() * self.size);
        let queries = context.len() / width;
        if threads == 1 || queries < threads * SPLIT_ROWS_MIN {
            return self.attend_from(isa, 0, context, buffers);
        }
        let share = queries.div_ceil(threads);
        let parts = context.par_chunks_mut(share * width).enumerate();
        parts
            .for_each(|(part, context)| self.attend_from(isa, part * share, context, &mut AttentionBuffers::default()));
    }

    /// The same for the queries from `start` on.
    fn attend_from(&self, isa: Isa, start: usize, context: &mut [f32], buffers: &mut AttentionBuffers) {
        let (heads, length) = (self.heads(), self.text.len());
        let (width, padded) = (heads * self.size, length.next_multiple_of(PANEL));
        let scores = sized(&mut buffers.scores, ROWS * padded);
        let packed_keys = sized(&mut buffers.keys, padded * self.size);
        for head in 0..heads {
            let (queries, keys, values) = (self.block(head), self.block(heads + head), self.block(2 * heads + head));
            pack(keys, self.size, packed_keys);
            for (first, rows) in parts(context.len() / width, ROWS) {
                let query = Rows { data: &queries.data[(start + first) * queries.stride..], ..queries };
                for (panel, keys) in packed_keys.chunks_exact(self.size * PANEL).enumerate() {
                    let keys = Panel {
                        steps: Rows { data: keys, stride: PANEL },
                        inner: self.size,
                        columns: PANEL.min(length - panel * PANEL),
                        ahead: &[],
                    };
                    let out = RowsMut { data: &mut scores[panel * PANEL..], stride: padded };
                    multiply_floats(isa, rows, query, keys, out);
                }
                let mut totals = [0.0; ROWS];
                exp_rows(isa, &mut scores[..rows * padded], length, padded, &mut totals);
                let weights = Rows { data: scores, stride: padded };
                for column in (0..self.size).step_by(PANEL) {
                    let columns = PANEL.min(self.size - column);
                    let steps = Rows { data: &values.data[column..], ..values };
                    let values = Panel { steps, inner: length, columns, ahead: &[] };
                    let mut sums = [0.0; ROWS * PANEL];
                    multiply_floats(isa, rows, weights, values, RowsMut { data: &mut sums, stride: PANEL });
                    let out = context[first * width + head * self.size + column..].chunks_mut(width);
                    for ((sums, total), out) in sums.chunks_exact(PANEL).zip(&totals[..rows]).zip(out) {
                        scale_row(isa, &sums[..columns], 1.0 / total, &mut out[..columns]);
                    }
                }
            }
        }
    }

    fn heads(&self) -> usize {
        self.blocks.len() / (3 * self.tokens * self.stride())
    }

    fn stride(&self) -> usize {
        self.size.next_multiple_of(PANEL)
    }

    fn block(&self, number: usize) -> Rows<'_, f32> {
        let (start, stride) = (number * self.tokens, self.stride());
        Rows { data: &self.blocks[(start + self.text.start) * stride..(start + self.text.end) * stride], stride }
    }
}

/// Rows as panels of 32 columns each, `[panel][size][32]`.
fn pack(rows: Rows<'_, f32>, size: usize, panels: &mut [f32]) {
    let panels = panels.chunks_exact_mut(size * PANEL);
    for (some, panel) in rows.data.chunks(PANEL * rows.stride).zip(panels) {
        for (column, row) in some.chunks_exact(rows.stride).enumerate() {
            for (to, from) in panel[column..].iter_mut().step_by(PANEL).zip(&row[..size]) {
                *to = *from;
            }
        }
    }
}

/// The first `len` floats of a buffer that grows as needed; their values are whatever was there.
pub(crate) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::floats;

    #[test]
    fn attention_is_its_formula_and_a_query_does_not_feel_the_others() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for (size, length) in [(32_usize, 1), (32, 50), (32, 128), (64, 33), (24, 40), (8, 5), (40, 200)] {
            let (heads, before, stride) = (2, 3, size.next_multiple_of(PANEL));
            let tokens = before + length + 2;
            let blocks: Vec<f32> = floats(3 * heads * tokens * stride, 8).iter().map(|value| value * 2.0).collect();
            let text = Heads { blocks: &blocks, tokens, text: before..before + length, size };
            let value = |block: usize, row: usize, column: usize| {
                f64::from(blocks[(block * tokens + before + row) * stride + column])
            };
            let attend = |isa, spread, queries: usize| {
                let mut context = vec![f32::NAN; queries * heads * size];
                pool.install(|| text.attend(isa, spread, &mut context, &mut AttentionBuffers::default()));
                context
            };
            for isa in Isa::all() {
                let context = attend(isa, Spread::Alone, length);
                assert!(attend(isa, Spread::Pool, length) == context, "on all threads");
                assert!(attend(isa, Spread::Alone, 1) == context[..heads * size], "the first alone");
                for (head, row) in [(0, 0), (1, length / 2), (1, length - 1)] {
                    let scores: Vec<f64> = (0..length)
                        .map(|key| {
                            (0..size).map(|n| value(head, row, n) * value(heads + head, key, n)).sum::<f64>().exp()
                        })
                        .collect();
                    let total: f64 = scores.iter().sum();
                    for column in 0..size {
                        let exact: f64 =
                            (0..length).map(|key| scores[key] * value(2 * heads + head, key, column)).sum();
                        let given = f64::from(context[(row * heads + head) * size + column]);
                        assert!(
                            (given - exact / total).abs() < 1e-4,
                            "{isa}, {length} tokens: {given} for {}",
                            exact / total
                        );
                    }
                }
            }
        }
    }
}
