//! Rows times a panel of 32 packed columns, the sums in registers.
//!
//! A panel holds, for each step, 32 columns side by side: a step is one float a column, or four int8 a column
//! (`[step][column][4]`), 128 bytes either way. Each sum runs over the steps in order and starts at 0: what stands beside a
//! row or a column does not show in its result.

use super::rows::{QUANTIZED_ROWS, Quantized};
use crate::isa::{Bytes, Floats, Isa};

/// Columns of a panel.
pub(crate) const PANEL: usize = 32;

/// Inner elements of one column that stand together in a panel of int8.
pub(crate) const QUAD: usize = 4;

/// Sums of a block of quantized rows and a panel, `[row][column]`.
pub(crate) type Sums = [i32; QUANTIZED_ROWS * PANEL];

/// Rows that [`multiply_floats`] takes best at a time.
pub(crate) const ROWS: usize = 12;

/// Columns that are computed and written together at least.
const STRIPE: usize = 16;

/// Rows of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    /// The rows, one after the other, with whatever stands between them.
    pub(crate) data: &'a [T],
    /// Elements from the start of a row to the start of the next.
    pub(crate) stride: usize,
}

/// Rows of a slice to write.
pub(crate) struct RowsMut<'a, T> {
    /// The rows, one after the other, with whatever stands between them.
    pub(crate) data: &'a mut [T],
    /// Elements from the start of a row to the start of the next.
    pub(crate) stride: usize,
}

/// `out = left * right` for a number of rows and columns that the function's type parameters fix: left rows and their
/// stride, the panel, how many steps, the out rows and their stride.
type Tile<L, R, O> = unsafe fn(*const L, usize, *const R, usize, *mut O, usize);

/// Kernels by their number of rows less one, and the columns that each takes.
struct Tiles<L: 'static, R: 'static, O: 'static> {
    by_rows: &'static [Tile<L, R, O>],
    columns: usize,
}

/// A family of kernels: `$step` elements of a row, and `$step` of each column, are read a step.
macro_rules! tile {
    (
        $(#[$attribute:meta])* fn $name:ident: $left:ty, $right:ty => $out:ty,
        $step:expr, $lanes:expr, $zero:expr, $zero_right:expr, $load:expr, $broadcast:expr, $add:expr, $store:expr
    ) => {
        $(#[$attribute])*
        pub(super) unsafe fn $name<const ROWS: usize, const VECTORS: usize>(
            left: *const $left,
            stride: usize,
            panel: *const $right,
            steps: usize,
            out: *mut $out,
            out_stride: usize,
        ) {
            let mut sums = [[$zero; VECTORS]; ROWS];
            for step in 0..steps {
                let mut columns = [$zero_right; VECTORS];
                for vector in 0..VECTORS {
                    // SAFETY: the caller says that the panel has `steps` steps of 32 columns, and the rows as many.
                    columns[vector] = unsafe { $load(panel.add((step * PANEL + vector * $lanes) * $step)) };
                }
                for row in 0..ROWS {
                    // SAFETY: as above.
                    let value = unsafe { $broadcast(left.add(row * stride + step * $step)) };
                    for vector in 0..VECTORS {
                        sums[row][vector] = $add(sums[row][vector], value, columns[vector]);
                    }
                }
            }
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    // SAFETY: the caller says that this many rows and columns are there to write.
                    unsafe { $store(out.add(row * out_stride + vector * $lanes), sums[row][vector]) };
                }
            }
        }
    };
}

macro_rules! tiles {
    ($kernel:ident, $vectors:literal vectors of $lanes:literal, rows $($rows:literal)*) => {
        Tiles { by_rows: &[$($kernel::<$rows, $vectors>),*], columns: $vectors * $lanes }
    };
}

/// `out = left * right`: `rows` rows of `left` times the first `columns` columns of a panel. Columns are written by 16s: those
/// beyond `columns` get what the panel has there.
///
/// # Panics
/// If a slice is too short for that, or a panel has no such columns.
#[allow(unsafe_code)]
pub(crate) fn multiply_floats(
    isa: Isa,
    rows: usize,
    left: Rows<'_, f32>,
    panel: &[f32],
    columns: usize,
    out: RowsMut<'_, f32>,
) {
    let steps = panel.len() / PANEL;
    let written = columns.next_multiple_of(STRIPE);
    assert!(written <= PANEL, "{columns} columns of a panel");
    check(left.data.len(), rows, steps, left.stride);
    check(out.data.len(), rows, written, out.stride);
    let tiles = float_tiles(isa, written);
    for (first, rows) in parts(rows, tiles.by_rows.len()) {
        for column in (0..written).step_by(tiles.columns) {
            // SAFETY: the rows, steps and columns of this call lie in the slices, as asserted above, and `float_tiles` gives
            // what the processor has.
            unsafe {
                tiles.by_rows[rows - 1](
                    left.data.as_ptr().add(first * left.stride),
                    left.stride,
                    panel.as_ptr().add(column),
                    steps,
                    out.data.as_mut_ptr().add(first * out.stride + column),
                    out.stride,
                );
            }
        }
    }
}

/// Multiplies the rows of `left` with each of the panels, which stand one after the other, and hands each panel's number and
/// sums to `then`; those of rows that `left` has not are anything.
///
/// # Panics
/// If `panels` are not whole panels of as many steps as `left` has.
#[allow(unsafe_code)]
pub(crate) fn multiply_bytes(isa: Isa, left: &Quantized, panels: &[i8], mut then: impl FnMut(usize, &Sums)) {
    let steps = left.stride() / QUAD;
    let panels = panels.chunks(left.stride() * PANEL).enumerate();
    let mut sums = [0; QUANTIZED_ROWS * PANEL];
    #[cfg(target_arch = "x86_64")]
    if isa.bytes() == Bytes::Amx {
        return super::amx::with_tiles(|tiles| {
            for (number, panel) in panels {
                tiles.multiply(left, panel, &mut sums);
                then(number, &sums);
            }
        });
    }
    let tiles = byte_tiles(isa);
    for (number, panel) in panels {
        assert_eq!(panel.len(), left.stride() * PANEL, "a panel for rows of {}", left.stride());
        for (first, rows) in parts(left.rows(), tiles.by_rows.len()) {
            for column in (0..PANEL).step_by(tiles.columns) {
                // SAFETY: a quantized row has `stride` bytes, the panel as many of each column (asserted above), `sums` has
                // room for every row and column, and `byte_tiles` gives what the processor has.
                unsafe {
                    tiles.by_rows[rows - 1](
                        left.codes().as_ptr().add(first * left.stride()),
                        left.stride(),
                        panel.as_ptr().add(column * QUAD),
                        steps,
                        sums.as_mut_ptr().add(first * PANEL + column),
                        PANEL,
                    );
                }
            }
        }
        then(number, &sums);
    }
}

fn check(len: usize, rows: usize, columns: usize, stride: usize) {
    let end = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
    assert!(end <= len, "{rows} rows of {columns}, {stride} apart, in {len} elements");
}

/// `0..rows` in as few parts of at most `rows_max` as there can be, nearly equal: where each starts, and its rows.
pub(crate) fn parts(rows: usize, rows_max: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(rows_max);
    let start = move |part| part * rows / count;
    (0..count).map(move |part| (start(part), start(part + 1) - start(part)))
}

fn float_tiles(isa: Isa, columns: usize) -> Tiles<f32, f32, f32> {
    match isa.floats() {
        Floats::Plain => tiles!(plain_floats, 1 vectors of 16, rows 1 2 3 4),
        #[cfg(target_arch = "x86_64")]
        Floats::Avx2 => tiles!(avx2_floats, 2 vectors of 8, rows 1 2 3 4 5 6),
        #[cfg(target_arch = "x86_64")]
        Floats::Avx512 if columns <= STRIPE => {
            tiles!(avx512_floats, 1 vectors of 16, rows 1 2 3 4 5 6 7 8 9 10 11 12)
        }
        #[cfg(target_arch = "x86_64")]
        Floats::Avx512 => tiles!(avx512_floats, 2 vectors of 16, rows 1 2 3 4 5 6 7 8 9 10 11 12),
    }
}

fn byte_tiles(isa: Isa) -> Tiles<u8, i8, i32> {
    match isa.bytes() {
        Bytes::Plain => tiles!(plain_bytes, 1 vectors of 16, rows 1 2 3 4),
        #[cfg(target_arch = "x86_64")]
        Bytes::Avx2 => tiles!(avx2_bytes, 2 vectors of 8, rows 1 2 3 4),
        #[cfg(target_arch = "x86_64")]
        Bytes::AvxVnni => tiles!(avx_vnni_bytes, 2 vectors of 8, rows 1 2 3 4 5 6),
        #[cfg(target_arch = "x86_64")]
        Bytes::Avx512Vnni | Bytes::Amx => {
            tiles!(avx512_vnni_bytes, 2 vectors of 16, rows 1 2 3 4 5 6 7 8 9 10 11 12)
        }
    }
}

tile! {
    /// The twin of all kernels for floats; vector code too where the target has 16 floats in few registers (NEON).
    #[allow(unsafe_code)]
    fn plain_floats: f32, f32 => f32, 1, STRIPE, [0.0_f32; STRIPE], [0.0_f32; STRIPE],
    |at: *const f32| at.cast::<[f32; STRIPE]>().read(),
    |at: *const f32| at.read(),
    |sum: [f32; STRIPE], left: f32, right: [f32; STRIPE]| -> [f32; STRIPE] {
        std::array::from_fn(|lane| super::rows::multiply_add_plain(left, right[lane], sum[lane]))
    },
    |at: *mut f32, sum: [f32; STRIPE]| at.cast::<[f32; STRIPE]>().write(sum)
}

tile! {
    /// The twin of all kernels for bytes.
    #[allow(unsafe_code)]
    fn plain_bytes: u8, i8 => i32, QUAD, STRIPE, [0_i32; STRIPE], [[0_i8; QUAD]; STRIPE],
    |at: *const i8| at.cast::<[[i8; QUAD]; STRIPE]>().read(),
    |at: *const u8| at.cast::<[u8; QUAD]>().read(),
    |sum: [i32; STRIPE], left: [u8; QUAD], right: [[i8; QUAD]; STRIPE]| -> [i32; STRIPE] {
        std::array::from_fn(|lane| {
            let products = left.iter().zip(right[lane]).map(|(left, right)| i32::from(*left) * i32::from(right));
            sum[lane] + products.sum::<i32>()
        })
    },
    |at: *mut i32, sum: [i32; STRIPE]| at.cast::<[i32; STRIPE]>().write(sum)
}

#[cfg(target_arch = "x86_64")]
use x86::{avx_vnni_bytes, avx2_bytes, avx2_floats, avx512_floats, avx512_vnni_bytes};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{PANEL, QUAD};

    tile! {
        #[allow(unsafe_code)]
        #[target_feature(enable = "avx512f")]
        fn avx512_floats: f32, f32 => f32, 1, 16, _mm512_setzero_ps(), _mm512_setzero_ps(),
        |at| _mm512_loadu_ps(at), |at: *const f32| _mm512_set1_ps(at.read()),
        |sum, left, right| _mm512_fmadd_ps(left, right, sum),
        |at, sum| _mm512_storeu_ps(at, sum)
    }

    tile! {
        #[allow(unsafe_code)]
        #[target_feature(enable = "avx2,fma")]
        fn avx2_floats: f32, f32 => f32, 1, 8, _mm256_setzero_ps(), _mm256_setzero_ps(),
        |at| _mm256_loadu_ps(at), |at: *const f32| _mm256_set1_ps(at.read()),
        |sum, left, right| _mm256_fmadd_ps(left, right, sum),
        |at, sum| _mm256_storeu_ps(at, sum)
    }

    tile! {
        #[allow(unsafe_code)]
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn avx512_vnni_bytes: u8, i8 => i32, QUAD, 16, _mm512_setzero_si512(), _mm512_setzero_si512(),
        |at: *const i8| _mm512_loadu_si512(at.cast()),
        |at: *const u8| _mm512_set1_epi32(at.cast::<i32>().read_unaligned()),
        |sum, left, right| _mm512_dpbusd_epi32(sum, left, right),
        |at: *mut i32, sum| _mm512_storeu_si512(at.cast(), sum)
    }

    tile! {
        #[allow(unsafe_code)]
        #[target_feature(enable = "avx2,avxvnni")]
        fn avx_vnni_bytes: u8, i8 => i32, QUAD, 8, _mm256_setzero_si256(), _mm256_setzero_si256(),
        |at: *const i8| _mm256_loadu_si256(at.cast()),
        |at: *const u8| _mm256_set1_epi32(at.cast::<i32>().read_unaligned()),
        |sum, left, right| _mm256_dpbusd_avx_epi32(sum, left, right),
        |at: *mut i32, sum| _mm256_storeu_si256(at.cast(), sum)
    }

    tile! {
        /// Bytes 0 and 2 of each four, and bytes 1 and 3, as 16 bits: `vpmaddubsw` on the bytes themselves would saturate.
        #[allow(unsafe_code)]
        #[target_feature(enable = "avx2")]
        fn avx2_bytes: u8, i8 => i32, QUAD, 8, _mm256_setzero_si256(), (_mm256_setzero_si256(), _mm256_setzero_si256()),
        |at: *const i8| {
            let bytes = _mm256_loadu_si256(at.cast());
            (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes))
        },
        |at: *const u8| {
            let bytes = _mm256_set1_epi32(at.cast::<i32>().read_unaligned());
            (_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(bytes))
        },
        |sum, left: (__m256i, __m256i), right: (__m256i, __m256i)| {
            let even = _mm256_madd_epi16(left.0, right.0);
            _mm256_add_epi32(_mm256_add_epi32(sum, even), _mm256_madd_epi16(left.1, right.1))
        },
        |at: *mut i32, sum| _mm256_storeu_si256(at.cast(), sum)
    }
}
