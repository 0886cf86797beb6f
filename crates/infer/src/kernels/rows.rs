//! The loops between the products: bias, GELU, softmax, layer norm, quantization.
//!
//! Plain loops over slices, without branches inside, that the compiler turns into vector code; compiled for several
//! processors and chosen by an [`Isa`]. Sums run over a fixed number of lanes, so that the width does not show in them.

use super::tile::{PANEL, RowsMut, Sums};
use crate::isa::{Floats, Isa};

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
            for (code, value) in codes.iter_mut().zip(values) {
                *code = quantized(*value, inverse, zero);
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
fn quantized(value: f32, inverse: f32, zero: f32) -> u8 {
    let shifted = smaller(larger(value * inverse + zero, 0.0), 255.0) + ROUND;
    (shifted.to_bits() & 0xff) as u8
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
        for (row, sums) in sums.as_chunks::<PANEL>().0.iter().enumerate().take(left.rows) {
            let (scale, zero) = (left.scales[row], left.zeros[row]);
            let mut values = [0.0; PANEL];
            for column in 0..PANEL {
                let exact = sums[column] - zero * panel.sums[column];
                values[column] = exact as f32 * (scale * panel.scales[column]) + panel.bias[column];
            }
            settle::<FUSED>(&values, then, &mut out.data[row * out.stride..][..columns]);
        }
    }
}

vectorized! {
    /// Writes each row of 32 `sums`, `bias` added, to the first `columns` columns of `out`, as `then` says.
    fn finish_floats(sums: &[f32], bias: &[f32; PANEL], columns: usize, then: Then, out: RowsMut<'_, f32>) {
        for (row, sums) in sums.as_chunks::<PANEL>().0.iter().enumerate() {
            let mut values = [0.0; PANEL];
            for column in 0..PANEL {
                values[column] = sums[column] + bias[column];
            }
            settle::<FUSED>(&values, then, &mut out.data[row * out.stride..][..columns]);
        }
    }
}

/// Writes the first columns of one row of a panel to `out`.
#[inline(always)]
fn settle<const FUSED: bool>(values: &[f32; PANEL], then: Then, out: &mut [f32]) {
    if let Some(out) = out.as_mut_array::<PANEL>() {
        return settle_panel::<FUSED>(values, then, out);
    }
    let mut padded = [0.0; PANEL];
    padded[..out.len()].copy_from_slice(out);
    settle_panel::<FUSED>(values, then, &mut padded);
    out.copy_from_slice(&padded[..out.len()]);
}

#[inline(always)]
fn settle_panel<const FUSED: bool>(values: &[f32; PANEL], then: Then, out: &mut [f32; PANEL]) {
    match then {
        Then::Store => *out = *values,
        Then::Gelu => {
            for column in 0..PANEL {
                out[column] = gelu::<FUSED>(values[column]);
            }
        }
        Then::Add => {
            for column in 0..PANEL {
                out[column] += values[column];
            }
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

/// Takes the values up into lanes by `take`, and the lanes into one by `join`, in an order that depends on the length alone.
#[inline(always)]
fn fold(row: &[f32], start: f32, take: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    // Four vectors, so that none waits for the last one's result.
    let (blocks, rest) = row.as_chunks::<{ 4 * VECTOR }>();
    let mut lanes = [start; 4 * VECTOR];
    for block in blocks {
        for lane in 0..4 * VECTOR {
            lanes[lane] = take(lanes[lane], block[lane]);
        }
    }
    let mut sums = [start; VECTOR];
    for lane in 0..VECTOR {
        let (even, odd) = (join(lanes[lane], lanes[lane + 32]), join(lanes[lane + 16], lanes[lane + 48]));
        sums[lane] = join(even, odd);
    }
    let (vectors, rest) = rest.as_chunks::<VECTOR>();
    for vector in vectors {
        for lane in 0..VECTOR {
            sums[lane] = take(sums[lane], vector[lane]);
        }
    }
    let mut left = VECTOR;
    while left > 1 {
        left /= 2;
        for lane in 0..left {
            sums[lane] = join(sums[lane], sums[lane + left]);
        }
    }
    rest.iter().fold(sums[0], |sum, value| take(sum, *value))
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
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::floats;

    /// `erf` in f64 by its power series (small x) or 1 (large x); enough to judge an f32.
    fn erf_exact(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    /// The same bits from every processor whose vector code fuses.
    fn check_alike(run: impl Fn(Isa) -> Vec<f32>) {
        let fused: Vec<Isa> = Isa::all().into_iter().filter(|isa| isa.floats() != Floats::Plain).collect();
        let bits = |isa: &Isa| run(*isa).iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(
            fused.windows(2).all(|pair| bits(&pair[0]) == bits(&pair[1])),
            "vectors of all widths give the same bits"
        );
    }

    #[test]
    fn gelu_keeps_its_error_bound() {
        let inputs: Vec<f32> =
            (-12_000..12_000).map(|n| n as f32 / 1_000.0).chain([1e-40, -1e-40, 3e4, -3e4, 0.0]).collect();
        let inputs = [inputs, vec![0.5; 27]].concat();
        let run = |isa| {
            let mut out = vec![f32::NAN; inputs.len()];
            finish_floats(isa, &inputs, &[0.0; PANEL], PANEL, Then::Gelu, RowsMut { data: &mut out, stride: PANEL });
            out
        };
        for isa in Isa::all() {
            for (x, y) in inputs.iter().zip(run(isa)) {
                let exact = f64::from(*x) * 0.5 * (1.0 + erf_exact(f64::from(*x) * std::f64::consts::FRAC_1_SQRT_2));
                let bound = 4e-7 + 2e-7 * f64::from(x.abs());
                assert!((f64::from(y) - exact).abs() <= bound, "{isa}: gelu({x}) = {y}, exactly {exact}");
            }
        }
        check_alike(run);
    }

    #[test]
    fn exp_keeps_its_error_bound() {
        for n in -87_000..=88_000 {
            let x = n as f32 / 1_000.0;
            let exact = f64::from(x).exp();
            for given in [exp::<true>(x), exp::<false>(x)] {
                assert!((f64::from(given) / exact - 1.0).abs() <= 3e-7, "exp({x}) = {given}, exactly {exact}");
            }
        }
        assert!(exp::<true>(-1e9) < 1e-37 && exp::<false>(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn softmax_and_layer_norm_agree_with_f64_at_all_widths() {
        for width in [1_usize, 2, 15, 16, 17, 31, 48, 63, 64, 65, 100, 384] {
            let (rows, stride) = (3, width.next_multiple_of(VECTOR) + 16);
            let values: Vec<f32> = floats(rows * stride, 5).iter().map(|value| value * 9.0).collect();
            let (gain, shift) = (vec![1.5; width], vec![0.25; width]);
            let softmax = |isa| {
                let (mut soft, mut totals) = (values.clone(), vec![0.0; rows]);
                exp_rows(isa, &mut soft, width, stride, &mut totals);
                for (row, total) in soft.chunks_mut(stride).zip(&totals) {
                    let read = row[..width].to_vec();
                    scale_row(isa, &read, 1.0 / total, &mut row[..width]);
                }
                soft
            };
            let norm = |isa| {
                let mut norm = values[..rows * width].to_vec();
                layer_norm_rows(isa, &mut norm, &gain, &shift, 1e-12);
                norm
            };
            for isa in Isa::all() {
                let (soft, norm) = (softmax(isa), norm(isa));
                for row in 0..rows {
                    let exact =
                        |start: usize| values[start..start + width].iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
                    let inputs = exact(row * stride);
                    let total: f64 = inputs.iter().map(|x| x.exp()).sum();
                    for (n, x) in inputs.iter().enumerate() {
                        assert!((f64::from(soft[row * stride + n]) - x.exp() / total).abs() < 1e-6, "{isa}");
                    }
                    let inputs = exact(row * width);
                    let mean = inputs.iter().sum::<f64>() / width as f64;
                    let variance = inputs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                    for (n, x) in inputs.iter().enumerate() {
                        let exact = (x - mean) / (variance + 1e-12).sqrt() * 1.5 + 0.25;
                        assert!(width == 1 || (f64::from(norm[row * width + n]) - exact).abs() < 1e-5, "{isa}");
                    }
                }
            }
            check_alike(softmax);
            check_alike(norm);
        }
    }

    #[test]
    fn a_code_is_the_nearest_whatever_the_processor() {
        for width in [1, 7, 16, 17, 64, 65, 100, 384] {
            let mut values = floats(QUANTIZED_ROWS * width, 3);
            values[..width].fill(0.0);
            values.iter_mut().skip(width).take(width).for_each(|value| *value = value.abs() * 1e-40);
            values.iter_mut().skip(2 * width).take(width).for_each(|value| *value = 1.0 + value.abs() * 1e6);
            let quantized = |isa| {
                let mut rows = Quantized::default();
                rows.fill(isa, &values, width);
                rows
            };
            let first = quantized(Isa::all()[0]);
            for isa in Isa::all() {
                let rows = quantized(isa);
                assert_eq!(
                    (rows.codes(), rows.scales, rows.zeros),
                    (first.codes(), first.scales, first.zeros),
                    "{isa}"
                );
                for (row, values) in values.chunks(width).enumerate() {
                    let (scale, zero) = (rows.scales[row], rows.zeros[row]);
                    for (code, value) in rows.codes()[row * rows.stride()..].iter().zip(values) {
                        let read = scale * (i32::from(*code) - zero) as f32;
                        // Half a step for the code, half a step for the zero.
                        assert!((read - value).abs() <= scale * 1.001, "{isa}: {read} for {value}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_follows_a_product_reaches_its_columns_alone() {
        let sums: Vec<f32> = floats(3 * PANEL, 1);
        let bias: [f32; PANEL] = std::array::from_fn(|column| column as f32);
        for isa in Isa::all() {
            for columns in [1, 15, 16, 17, 31, 32] {
                for then in [Then::Store, Then::Gelu, Then::Add] {
                    let before = floats(3 * 40, 2);
                    let mut out = before.clone();
                    finish_floats(isa, &sums, &bias, columns, then, RowsMut { data: &mut out, stride: 40 });
                    for (place, value) in out.iter().enumerate() {
                        let (row, column) = (place / 40, place % 40);
                        let expected = match then {
                            _ if column >= columns => before[place],
                            Then::Store => sums[row * PANEL + column] + bias[column],
                            Then::Gelu => gelu::<true>(sums[row * PANEL + column] + bias[column]),
                            Then::Add => before[place] + (sums[row * PANEL + column] + bias[column]),
                        };
                        assert!((value - expected).abs() <= 1e-6 * expected.abs(), "{isa}: {value} for {expected}");
                    }
                }
            }
        }
    }
}
