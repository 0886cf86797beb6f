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

/// Packed columns of floats: a row for each step, from which as many are taken as are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// The steps.
    pub(crate) steps: Rows<'a, f32>,
    /// How many steps there are.
    pub(crate) inner: usize,
    /// How many columns are wanted.
    pub(crate) columns: usize,
    /// What will be read next: it is brought near meanwhile.
    pub(crate) ahead: &'a [f32],
}

/// `out = left * right` for a number of rows and columns that the function's type parameters fix: left rows and their
/// stride, the right side, the out rows and their stride.
type Tile<L, R, O> = unsafe fn(*const L, usize, Steps<R>, *mut O, usize);

/// What stands on a kernel's right side.
#[derive(Clone, Copy)]
pub(super) struct Steps<R> {
    panel: *const R,
    stride: usize,
    count: usize,
    ahead: Ahead,
}

/// What a kernel asks the memory for while it computes, a piece each step.
#[derive(Clone, Copy)]
struct Ahead {
    next: *const u8,
    step_bytes: usize,
}

impl Ahead {
    /// All of `values`, in `steps` steps.
    fn of<T>(values: &[T], steps: usize) -> Ahead {
        Ahead { next: values.as_ptr().cast(), step_bytes: size_of_val(values).div_ceil(steps.max(1)) }
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn take(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which reads nothing and may name any address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(self.next.cast());
        }
        self.next = self.next.wrapping_add(self.step_bytes);
    }
}

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
            right: Steps<$right>,
            out: *mut $out,
            out_stride: usize,
        ) {
            let mut sums = [[$zero; VECTORS]; ROWS];
            // A pointer for three rows: their strides are part of the instructions' addresses, which saves counting.
            let mut rows: [*const $left; 4] = std::array::from_fn(|third| left.wrapping_add(3 * third * stride));
            let Steps { mut panel, mut ahead, .. } = right;
            for _ in 0..right.count {
                let mut columns = [$zero_right; VECTORS];
                for vector in 0..VECTORS {
                    // SAFETY: the caller says that there are as many steps of this many columns.
                    columns[vector] = unsafe { $load(panel.add(vector * $lanes * $step)) };
                }
                for row in 0..ROWS {
                    // SAFETY: the caller says that there are this many rows of as many steps.
                    let value = unsafe { $broadcast(rows[row / 3].add(row % 3 * stride)) };
                    for vector in 0..VECTORS {
                        sums[row][vector] = $add(sums[row][vector], value, columns[vector]);
                    }
                }
                panel = panel.wrapping_add(right.stride);
                ahead.take();
                for row in &mut rows {
                    *row = opaque(row.wrapping_add($step));
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

/// The same pointer, of which the compiler no longer knows that it is three rows from the next: it would keep one pointer
/// and count from it to each row in each step, in the ports that the products need.
#[allow(unsafe_code, clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
#[inline(always)]
fn opaque<T>(mut pointer: *const T) -> *const T {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: no instruction at all.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}

/// A loop of products in registers alone.
macro_rules! chains {
    ($(#[$attribute:meta])* fn $name:ident, $lanes:expr, $value:expr, $add:expr) => {
        $(#[$attribute])*
        pub(super) fn $name(rounds: usize) -> usize {
            const CHAINS: usize = 12;
            let value = std::hint::black_box($value);
            let mut sums = [value; CHAINS];
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = $add(*sum, value, value);
                }
            }
            std::hint::black_box(sums);
            2 * rounds * CHAINS * $lanes
        }
    };
}

macro_rules! tiles {
    ($kernel:ident, $vectors:literal vectors of $lanes:literal, rows $($rows:literal)*) => {
        Tiles { by_rows: &[$($kernel::<$rows, $vectors>),*], columns: $vectors * $lanes }
    };
}

/// `out = left * panel`, for `rows` rows of `left`. Columns are written by 16s: those beyond the ones wanted get what the panel
/// has there.
///
/// # Panics
/// If a slice is too short for that.
#[allow(unsafe_code)]
pub(crate) fn multiply_floats(isa: Isa, rows: usize, left: Rows<'_, f32>, panel: Panel<'_>, out: RowsMut<'_, f32>) {
    let written = panel.columns.next_multiple_of(STRIPE);
    check(left.data.len(), rows, panel.inner, left.stride);
    check(panel.steps.data.len(), panel.inner, written, panel.steps.stride);
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
                    Steps {
                        panel: panel.steps.data.as_ptr().add(column),
                        stride: panel.steps.stride,
                        count: panel.inner,
                        ahead: Ahead::of(panel.ahead, panel.inner),
                    },
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
    let size = left.stride() * PANEL;
    let after = |number: usize| &panels[panels.len().min((number + 1) * size)..panels.len().min((number + 2) * size)];
    let panels = panels.chunks(size).enumerate();
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
        assert_eq!(panel.len(), size, "a panel for rows of {}", left.stride());
        let next = after(number);
        for (first, rows) in parts(left.rows(), tiles.by_rows.len()) {
            for column in (0..PANEL).step_by(tiles.columns) {
                // SAFETY: a quantized row has `stride` bytes, the panel as many of each column (asserted above), `sums` has
                // room for every row and column, and `byte_tiles` gives what the processor has.
                unsafe {
                    tiles.by_rows[rows - 1](
                        left.codes().as_ptr().add(first * left.stride()),
                        left.stride(),
                        Steps {
                            panel: panel.as_ptr().add(column * QUAD),
                            stride: PANEL * QUAD,
                            count: steps,
                            ahead: Ahead::of(next, steps),
                        },
                        sums.as_mut_ptr().add(first * PANEL + column),
                        PANEL,
                    );
                }
            }
        }
        then(number, &sums);
    }
}

/// Chains of `a * b + c` that wait for nothing but themselves, `rounds` long; returns how many multiplications and additions
/// that were.
#[allow(unsafe_code)]
pub(crate) fn fma_chains(isa: Isa, rounds: usize) -> usize {
    match isa.floats() {
        Floats::Plain => plain_chains(rounds),
        // SAFETY: an `Isa` with AVX2 and FMA exists only where the processor has them.
        #[cfg(target_arch = "x86_64")]
        Floats::Avx2 => unsafe { avx2_chains(rounds) },
        // SAFETY: an `Isa` with AVX-512 exists only where the processor has it.
        #[cfg(target_arch = "x86_64")]
        Floats::Avx512 => unsafe { avx512_chains(rounds) },
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

chains! { fn plain_chains, 1, 0.5_f32, |sum: f32, left, right| super::rows::multiply_add_plain(left, right, sum) }

#[cfg(target_arch = "x86_64")]
use x86::{avx_vnni_bytes, avx2_bytes, avx2_chains, avx2_floats, avx512_chains, avx512_floats, avx512_vnni_bytes};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{QUAD, Steps, opaque};

    chains! {
        #[target_feature(enable = "avx512f")]
        fn avx512_chains, 16, _mm512_set1_ps(0.5), |sum, left, right| _mm512_fmadd_ps(left, right, sum)
    }

    chains! {
        #[target_feature(enable = "avx2,fma")]
        fn avx2_chains, 8, _mm256_set1_ps(0.5), |sum, left, right| _mm256_fmadd_ps(left, right, sum)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::floats;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against an f64 sum, within `n * EPSILON * sum |x_i * y_i|` (Higham 2002, ch. 3), from any alignment, and within the
        /// least normal float where numbers are subnormal.
        #[test]
        fn a_product_of_floats_is_the_sum_of_products(
            rows in 1_usize..30, steps in 0_usize..70, columns in 1..=PANEL, gap in 0_usize..5, tiny: bool, seed: u32,
        ) {
            let unit = if tiny { 1e-20 } else { 1.0 };
            let left: Vec<f32> = floats(gap + rows * (steps + gap), seed).iter().map(|value| value * unit).collect();
            let panel: Vec<f32> = floats(gap + steps * (PANEL + gap), seed ^ 7).iter().map(|value| value * unit).collect();
            let mut results = Vec::new();
            for isa in Isa::all() {
                let mut out = floats(gap + rows * (PANEL + gap), seed ^ 9);
                multiply_floats(
                    isa,
                    rows,
                    Rows { data: &left[gap..], stride: steps + gap },
                    Panel {
                        steps: Rows { data: &panel[gap..], stride: PANEL + gap },
                        inner: steps,
                        columns,
                        ahead: &panel,
                    },
                    RowsMut { data: &mut out[gap..], stride: PANEL + gap },
                );
                for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                    let terms = (0..steps).map(|step| {
                        let value = left[gap + row * (steps + gap) + step];
                        f64::from(value) * f64::from(panel[gap + step * (PANEL + gap) + column])
                    });
                    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                    let bound = steps as f64 * (f64::from(f32::EPSILON) * size + f64::from(f32::MIN_POSITIVE));
                    let given = f64::from(out[gap + row * (PANEL + gap) + column]);
                    prop_assert!((given - sum).abs() <= bound, "{isa}: {given} for {sum}");
                }
                let written: Vec<Vec<u32>> = out[gap..]
                    .chunks(PANEL + gap)
                    .map(|row| row[..columns].iter().map(|value| value.to_bits()).collect())
                    .collect();
                results.push((isa.floats(), written));
            }
            let fused = results.iter().filter(|(floats, _)| *floats != Floats::Plain);
            prop_assert!(fused.clone().zip(fused.skip(1)).all(|(a, b)| a.1 == b.1), "vectors of all widths give the same bits");
        }

        #[test]
        fn a_product_of_bytes_is_exact(rows in 1..=QUANTIZED_ROWS, width in 1_usize..150, panels in 1_usize..3, seed: u32) {
            let values = floats(rows * width, seed);
            let padded = width.next_multiple_of(crate::kernels::QUANTIZED_STEP);
            let extreme = |n: usize| floats(1, seed ^ n as u32)[0];
            let mut codes: Vec<i8> = (0..panels * padded * PANEL).map(|n| (extreme(n) * 200.0) as i8).collect();
            for (n, code) in codes.iter_mut().enumerate() {
                // What meets the padding of the rows is zero.
                if n % (padded * PANEL) / (PANEL * QUAD) * QUAD + n % QUAD >= width {
                    *code = 0;
                }
            }
            for isa in Isa::all() {
                let mut left = Quantized::default();
                left.fill(isa, &values, width);
                let mut seen = 0;
                multiply_bytes(isa, &left, &codes, |number, sums| {
                    seen += 1;
                    for (row, column) in (0..rows).flat_map(|row| (0..PANEL).map(move |column| (row, column))) {
                        let exact: i32 = (0..width)
                            .map(|inner| {
                                let place = number * padded * PANEL + inner / QUAD * PANEL * QUAD + column * QUAD + inner % QUAD;
                                i32::from(left.codes()[row * left.stride() + inner]) * i32::from(codes[place])
                            })
                            .sum();
                        assert_eq!(sums[row * PANEL + column], exact, "{isa}");
                    }
                });
                prop_assert_eq!(seen, panels);
            }
        }
    }

    #[test]
    #[should_panic(expected = "3 rows of 4, 4 apart, in 11 elements")]
    fn a_short_slice_is_refused() {
        let steps = Rows { data: &[0.0; 4 * PANEL], stride: PANEL };
        let panel = Panel { steps, inner: 4, columns: PANEL, ahead: &[] };
        let out = RowsMut { data: &mut [0.0; 3 * PANEL], stride: PANEL };
        multiply_floats(crate::isa(), 3, Rows { data: &[0.0; 11], stride: 4 }, panel, out);
    }
}
