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
    fma_chains, layer_norm_rows, scale_row, softmax,
};
pub(crate) use tile::{PANEL, QUAD, ROWS, Rows, RowsMut, multiply_bytes, multiply_floats, parts};
