//! The loops between the products: bias, GELU, softmax, layer norm, quantization.
//!
//! Plain loops over slices, without branches inside, that the compiler turns into vector code; compiled for several
//! processors and chosen by an [`Isa`]. Sums run over a fixed number of lanes, so that the width does not show in them.

use super::tile::{PANEL, RowsMut, Sums};
use crate::isa::{Floats, Isa};

/// Partial sums kept side by side, whatever the processor's width.
const LANES: usize = 64;

/// Floats that are worked on together.
const VECTOR: usize = 16;

/// Rows that are quantized together: two tiles of AMX.
pub(crate) const QUANTIZED_ROWS: usize = 32;

/// Compiles a loop for AVX-512, for AVX2 and for the target as it is; `FUSED` says in it whether `a * b + c` is one
/// instruction.
macro_rules! vectorized {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code)]
        pub(crate) fn $name(isa: Isa, $($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body<const FUSED: bool>($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                body::<true>($($arg),*)
            }
            match isa.floats() {
                Floats::Plain => body::<PLAIN_IS_FUSED>($($arg),*),
                // SAFETY: an `Isa` with AVX2 and FMA exists only where the processor has them.
                #[cfg(target_arch = "x86_64")]
                Floats::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: an `Isa` with AVX-512 exists only where the processor has it.
                #[cfg(target_arch = "x86_64")]
                Floats::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}

/// Where the target itself has no fused instruction, the fused function is a slow call.
const PLAIN_IS_FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a * b + c` as the plain kernels compute it.
#[inline(always)]
pub(crate) fn multiply_add_plain(a: f32, b: f32, c: f32) -> f32 {
    multiply_add::<PLAIN_IS_FUSED>(a, b, c)
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// What becomes of a product and its bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is written.
    Store,
    /// Its GELU is written.
    Gelu,
    /// It is added to what is there.
    Add,
}

/// Up to 32 rows as bytes: `value = scale * (code - zero)`, a scale and a zero a row (Jacob et al. 2018, sec. 2.1).
#[derive(Debug, Default)]
pub(crate) struct Quantized {
    codes: Vec<u8>,
    rows: usize,
    stride: usize,
    scales: [f32; QUANTIZED_ROWS],
    zeros: [i32; QUANTIZED_ROWS],
}

impl Quantized {
    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of a row: its length, rounded up to 64. What is beyond its end is multiplied with zeros.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Room for 32 rows, the first of which are there.
    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// Takes the rows of `width` floats in `values`, 32 at most.
    pub(crate) fn fill(&mut self, isa: Isa, values: &[f32], width: usize) {
        self.rows = values.len() / width;
        self.stride = width.next_multiple_of(QUANTIZED_STEP);
        self.codes.resize(self.stride * QUANTIZED_ROWS, 0);
        quantize_rows(isa, values, width, self);
    }
}

/// Rows of bytes are padded to a multiple of this.
pub(crate) const QUANTIZED_STEP: usize = 64;

vectorized! {
    /// Quantizes each row of `width` floats so that its range, 0 included, spans 0 to 255; rounds to the nearest, ties to even.
    fn quantize_rows(values: &[f32], width: usize, out: &mut Quantized) {
        for (row, values) in values.chunks_exact(width).enumerate() {
            let low = fold(values, 0.0, smaller, smaller);
            let high = fold(values, 0.0, larger, larger);
            // A row of zeros has any scale.
            let scale = larger((high - low) / 255.0, f32::MIN_POSITIVE);
            let inverse = 1.0 / scale;
            let zero = round(-low * inverse);
            let codes = &mut out.codes[row * out.stride..][..width];
            let (values, values_rest) = values.as_chunks::<VECTOR>();
            let (codes, codes_rest) = codes.as_chunks_mut::<VECTOR>();
            for (values, codes) in values.iter().zip(codes) {
                *codes = values.map(|value| code(value, inverse, zero));
            }
            for (value, out) in values_rest.iter().zip(codes_rest) {
                *out = code(*value, inverse, zero);
            }
            out.scales[row] = scale;
            out.zeros[row] = zero as i32;
        }
    }
}

/// Added and taken away again, it leaves the nearest integer: there is no room for a fraction at this size.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn round(value: f32) -> f32 {
    value + ROUND - ROUND
}

/// Product and sum are rounded each, on every processor.
#[inline(always)]
fn code(value: f32, inverse: f32, zero: f32) -> u8 {
    let shifted = smaller(larger(value * inverse + zero, 0.0), 255.0) + ROUND;
    shifted.to_bits().to_le_bytes()[0]
}

/// The columns of a panel that a product of bytes needs to become floats; 32 of each.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// What a code of the column is worth.
    pub(crate) scales: &'a [f32; PANEL],
    /// The sum of the column's codes.
    pub(crate) sums: &'a [i32; PANEL],
    /// Added to each row.
    pub(crate) bias: &'a [f32; PANEL],
}

vectorized! {
    /// Writes, for each row of `left`, `left.scale * column.scale * (sum - left.zero * column.sum) + bias` to the first `columns`
    /// columns of `out`, as `then` says.
    fn finish_bytes(sums: &Sums, left: &Quantized, panel: Columns<'_>, columns: usize, then: Then, out: RowsMut<'_, f32>) {
        let (scales, column_sums) = (halves(panel.scales), halves(panel.sums));
        for (row, sums) in sums.as_chunks::<PANEL>().0.iter().enumerate().take(left.rows) {
            let (scale, zero) = (left.scales[row], left.zeros[row]);
            let value = |half: usize, lane: usize| {
                let exact = halves(sums)[half][lane] - zero * column_sums[half][lane];
                exact as f32 * (scale * scales[half][lane])
            };
            settle::<FUSED>(value, panel.bias, columns, then, &mut out.data[row * out.stride..]);
        }
    }
}

vectorized! {
    /// Writes each row of 32 `sums`, `bias` added, to the first `columns` columns of `out`, as `then` says.
    fn finish_floats(sums: &[f32], bias: &[f32; PANEL], columns: usize, then: Then, out: RowsMut<'_, f32>) {
        for (row, sums) in sums.as_chunks::<PANEL>().0.iter().enumerate() {
            let value = |half: usize, lane: usize| halves(sums)[half][lane];
            settle::<FUSED>(value, bias, columns, then, &mut out.data[row * out.stride..]);
        }
    }
}

#[inline(always)]
fn halves<T>(panel: &[T; PANEL]) -> &[[T; VECTOR]; 2] {
    panel.as_chunks().0.as_array().expect("a panel is two vectors")
}

/// Adds the bias to one row of a panel and writes its first `columns` to `out`.
#[inline(always)]
fn settle<const FUSED: bool>(
    value: impl Fn(usize, usize) -> f32,
    bias: &[f32; PANEL],
    columns: usize,
    then: Then,
    out: &mut [f32],
) {
    for half in 0..columns.div_ceil(VECTOR) {
        let mut sums = [0.0; VECTOR];
        for lane in 0..VECTOR {
            sums[lane] = value(half, lane) + halves(bias)[half][lane];
        }
        let out = &mut out[half * VECTOR..columns.min((half + 1) * VECTOR)];
        match then {
            Then::Store => {}
            Then::Gelu => {
                for sum in &mut sums {
                    *sum = gelu::<FUSED>(*sum);
                }
            }
            Then::Add => match out.first_chunk::<VECTOR>() {
                Some(out) => {
                    for lane in 0..VECTOR {
                        sums[lane] += out[lane];
                    }
                }
                None => sums.iter_mut().zip(&*out).for_each(|(sum, out)| *sum += out),
            },
        }
        match out.first_chunk_mut::<VECTOR>() {
            Some(out) => *out = sums,
            None => out.copy_from_slice(&sums[..out.len()]),
        }
    }
}

vectorized! {
    /// Each row of `width` floats, `stride` apart, becomes `e^(x - max x)`; returns nothing, for `totals` gets the sum of each.
    /// What stands between the rows, up to the next multiple of 16, is overwritten.
    fn exp_rows(values: &mut [f32], width: usize, stride: usize, totals: &mut [f32]) {
        let padded = width.next_multiple_of(VECTOR);
        for (row, total) in values.chunks_mut(stride).zip(totals) {
            let row = &mut row[..padded];
            row[width..].fill(f32::NEG_INFINITY);
            let top = fold(row, f32::NEG_INFINITY, larger, larger);
            for values in row.as_chunks_mut::<VECTOR>().0 {
                for value in values {
                    *value = exp::<FUSED>(*value - top);
                }
            }
            *total = fold(row, 0.0, add, add);
        }
    }
}

vectorized! {
    /// `softmax(scale * row)`, in place.
    fn softmax(row: &mut [f32], scale: f32) {
        let top = fold(row, f32::NEG_INFINITY, larger, larger);
        for value in row.iter_mut() {
            *value = exp::<FUSED>((*value - top) * scale);
        }
        let share = 1.0 / fold(row, 0.0, add, add);
        for value in row.iter_mut() {
            *value *= share;
        }
    }
}

vectorized! {
    /// `out = factor * row`
    fn scale_row(row: &[f32], factor: f32, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(row) {
            *out = value * factor;
        }
    }
}

vectorized! {
    /// Each row of `gain.len()` floats is brought to mean 0 and variance 1 (`epsilon` added), then scaled and shifted, in
    /// place (Ba, Kiros, Hinton 2016).
    fn layer_norm_rows(values: &mut [f32], gain: &[f32], shift: &[f32], epsilon: f32) {
        let width = gain.len();
        let share = 1.0 / width as f32;
        for row in values.chunks_exact_mut(width) {
            let mean = fold(row, 0.0, add, add) * share;
            let square = |sum, value| multiply_add::<FUSED>(value - mean, value - mean, sum);
            let variance = fold(row, 0.0, square, add) * share;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for ((value, gain), shift) in row.iter_mut().zip(gain).zip(shift) {
                *value = multiply_add::<FUSED>((*value - mean) * inverse, *gain, *shift);
            }
        }
    }
}

vectorized! {
    /// Chains of `a * b + c` that wait for nothing but themselves, `rounds` long; returns how many operations that was.
    fn fma_chains(rounds: usize) -> usize {
        const CHAINS: usize = 12;
        let mut sums = std::hint::black_box([[1.0_f32; VECTOR]; CHAINS]);
        let (factor, term) = (std::hint::black_box(0.5_f32), std::hint::black_box(1.0_f32));
        for _ in 0..rounds {
            for chain in &mut sums {
                for sum in chain {
                    *sum = multiply_add::<FUSED>(*sum, factor, term);
                }
            }
        }
        std::hint::black_box(sums);
        2 * rounds * CHAINS * VECTOR
    }
}

/// `sum x_i * y_i`, in an order that depends on the length alone.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<VECTOR>(), b.as_chunks::<VECTOR>());
    let mut sums = [0.0; VECTOR];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..VECTOR {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Takes the values up into 64 lanes by `take`, and the lanes into one by `join`.
#[inline(always)]
fn fold(row: &[f32], start: f32, take: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = take(lanes[lane], block[lane]);
        }
    }
    let (vectors, rest) = rest.as_chunks::<VECTOR>();
    for (number, vector) in vectors.iter().enumerate() {
        for lane in 0..VECTOR {
            lanes[number * VECTOR + lane] = take(lanes[number * VECTOR + lane], vector[lane]);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = take(*lane, *value);
    }
    let mut left = LANES;
    while left > 1 {
        left /= 2;
        for lane in 0..left {
            lanes[lane] = join(lanes[lane], lanes[lane + left]);
        }
    }
    lanes[0]
}

#[inline(always)]
fn add(a: f32, b: f32) -> f32 {
    a + b
}

/// One comparison, where `f32::max` has two for the sake of NaN, which does not come here.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// `x * (1 + erf(x / sqrt 2)) / 2`, within 4e-7 + 2e-7 |x| of the exact value.
#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    let half = x * 0.5;
    multiply_add::<FUSED>(half, erf::<FUSED>(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

/// `erf x` as a quotient of polynomials of degree 13 and 8 on -4..4, beyond which it is 1 in f32 (Eigen's `perf_float`).
#[inline(always)]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    const ABOVE: [f32; 7] = [
        -2.726_142_2e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_599_8e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    let x = smaller(larger(x, -4.0), 4.0);
    let square = x * x;
    let polynomial = |coefficients: &[f32]| {
        coefficients.iter().fold(0.0, |sum, coefficient| multiply_add::<FUSED>(sum, square, *coefficient))
    };
    x * polynomial(&ABOVE) / polynomial(&BELOW)
}

/// `e^x` for x up to 88, as the Cephes library does it: `2^n * P(x - n ln 2)`; relative error below 3e-7; below -87 it stays at 2e-38.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    let x = larger(x, -87.0);
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in a product with n.
    let r = multiply_add::<FUSED>(n, -0.693_359_4, x);
    let r = multiply_add::<FUSED>(n, 2.121_944_4e-4, r);
    let p = 1.987_569_1e-4;
    let p = multiply_add::<FUSED>(p, r, 1.398_199_9e-3);
    let p = multiply_add::<FUSED>(p, r, 8.333_452e-3);
    let p = multiply_add::<FUSED>(p, r, 4.166_579_6e-2);
    let p = multiply_add::<FUSED>(p, r, 0.166_666_66);
    let p = multiply_add::<FUSED>(p, r, 0.5);
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    multiply_add::<FUSED>(multiply_add::<FUSED>(p, r * r, r), power, power)
}
