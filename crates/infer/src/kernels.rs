//! The loops that the time goes to, for several processors.
//!
//! | file      | responsibility                                                                        |
//! | --------- | ------------------------------------------------------------------------------------- |
//! | `tile.rs` | rows times 32 packed columns, in registers: f32, and u8 x i8 into i32                 |
//! | `amx.rs`  | the latter on AMX                                                                     |
//! | `rows.rs` | the loops between the products: bias, GELU, softmax, layer norm, quantization         |

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
mod rows;
mod tile;

pub(crate) use rows::{
    Columns, QUANTIZED_ROWS, QUANTIZED_STEP, Quantized, Then, dot, exp, exp_rows, finish_bytes, finish_floats,
    layer_norm_rows, scale_row, softmax,
};
pub(crate) use tile::{PANEL, Panel, QUAD, ROWS, Rows, RowsMut, fma_chains, multiply_bytes, multiply_floats, parts};

#[cfg(test)]
pub(crate) mod testing {
    /// Floats from -1 to 1 that follow from `seed`.
    pub(crate) fn floats(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }
}
