//! Attention within one text: `softmax(Q K^T) V`, head by head (Vaswani et al. 2017, sec. 3.2).
//!
//! The keys of a head stand in panels (so that scores are a product of packed columns), a few rows of scores at a time stay
//! in the nearest cache from their product to their last use, and the softmax's division comes last, where rows are shortest.

use rayon::prelude::*;

use crate::isa::Isa;
use crate::kernels::{PANEL, ROWS, Rows, RowsMut, exp_rows, multiply_floats, parts, scale_row};
use crate::product::{SPLIT_ROWS_MIN, Spread};

/// A text's rows `[query | key | value]`, each `hidden` floats; the queries are scaled already.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    /// `[length, 3 * hidden]`
    pub(crate) rows: &'a [f32],
    pub(crate) hidden: usize,
    pub(crate) head_size: usize,
}

/// What attention writes to meanwhile.
#[derive(Debug, Default)]
pub(crate) struct AttentionBuffers {
    /// Panels of 32 keys, `[panel][head_size][32]`.
    keys: Vec<f32>,
    /// Panels of 32 columns, `[panel][length][32]`.
    values: Vec<f32>,
    /// `[ROWS, length]`, each row padded.
    scores: Vec<f32>,
}

impl Heads<'_> {
    /// Writes the contexts of the first queries, as many as `context` has rows of `hidden` floats.
    pub(crate) fn attend(self, isa: Isa, spread: Spread, context: &mut [f32], buffers: &mut AttentionBuffers) {
        let queries = context.len() / self.hidden;
        let threads = spread.threads();
        if threads == 1 || queries < threads * SPLIT_ROWS_MIN {
            return self.attend_some(isa, 0, context, buffers);
        }
        let share = queries.div_ceil(threads);
        let parts = context.par_chunks_mut(share * self.hidden).enumerate();
        parts
            .for_each(|(part, context)| self.attend_some(isa, part * share, context, &mut AttentionBuffers::default()));
    }

    /// The same for the queries from `start` on.
    fn attend_some(self, isa: Isa, start: usize, context: &mut [f32], buffers: &mut AttentionBuffers) {
        let (width, length) = (3 * self.hidden, self.rows.len() / (3 * self.hidden));
        let padded = length.next_multiple_of(PANEL);
        let scores = sized(&mut buffers.scores, ROWS * padded);
        for head in (0..self.hidden).step_by(self.head_size) {
            let keys = sized(&mut buffers.keys, padded * self.head_size);
            self.pack_keys(head, keys);
            let values = sized(&mut buffers.values, self.head_size.next_multiple_of(PANEL) * length);
            self.pack_values(head, values);
            for (first, rows) in parts(context.len() / self.hidden, ROWS) {
                let query = Rows { data: &self.rows[(start + first) * width + head..], stride: width };
                for (panel, keys) in keys.chunks_exact(self.head_size * PANEL).enumerate() {
                    let out = RowsMut { data: &mut scores[panel * PANEL..], stride: padded };
                    multiply_floats(isa, rows, query, keys, PANEL.min(length - panel * PANEL), out);
                }
                let mut totals = [0.0; ROWS];
                exp_rows(isa, &mut scores[..rows * padded], length, padded, &mut totals);
                for (panel, values) in values.chunks_exact(length * PANEL).enumerate() {
                    let columns = PANEL.min(self.head_size - panel * PANEL);
                    let mut sums = [0.0; ROWS * PANEL];
                    let weights = Rows { data: scores, stride: padded };
                    multiply_floats(isa, rows, weights, values, columns, RowsMut { data: &mut sums, stride: PANEL });
                    let out = context[first * self.hidden + head + panel * PANEL..].chunks_mut(self.hidden);
                    for ((sums, total), out) in sums.chunks_exact(PANEL).zip(&totals[..rows]).zip(out) {
                        scale_row(isa, &sums[..columns], 1.0 / total, &mut out[..columns]);
                    }
                }
            }
        }
    }

    fn pack_keys(self, head: usize, panels: &mut [f32]) {
        let rows = self.rows.chunks_exact(3 * self.hidden);
        for (number, row) in rows.enumerate() {
            let key = &row[self.hidden + head..][..self.head_size];
            let panel = &mut panels[number / PANEL * self.head_size * PANEL..];
            for (to, from) in panel[number % PANEL..].iter_mut().step_by(PANEL).zip(key) {
                *to = *from;
            }
        }
    }

    fn pack_values(self, head: usize, panels: &mut [f32]) {
        let length = self.rows.len() / (3 * self.hidden);
        for (number, panel) in panels.chunks_exact_mut(length * PANEL).enumerate() {
            let columns = PANEL.min(self.head_size - number * PANEL);
            let rows = self.rows.chunks_exact(3 * self.hidden).zip(panel.chunks_exact_mut(PANEL));
            for (row, out) in rows {
                let start = 2 * self.hidden + head + number * PANEL;
                out[..columns].copy_from_slice(&row[start..start + columns]);
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
