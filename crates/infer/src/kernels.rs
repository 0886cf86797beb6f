//! The loops between the products: GELU, softmax, layer norm.
//!
//! Plain loops over slices, without branches inside, that the compiler turns into vector code; compiled for several vector
//! widths and chosen at run time. All round alike (no fused multiply-add, sums over a fixed number of lanes), so that a
//! processor's width does not show in what these loops give.

/// Partial sums kept side by side, whatever the processor's width.
const LANES: usize = 16;

/// Compiles a loop for AVX-512, for AVX2 and for the target as it is, and takes the widest that the processor has.
macro_rules! widest {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code)]
        pub(crate) fn $name($($arg: $type),*) {
            #[inline(always)]
            fn plain($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($arg: $type),*) {
                    plain($($arg),*);
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) {
                    plain($($arg),*);
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has AVX-512, as asked in the line above.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, as asked in the line above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*);
        }
    };
}

widest! {
    /// `x * (1 + erf(x / sqrt 2)) / 2` for each float, in place; within 4e-7 + 2e-7 |x| of the exact value.
    fn gelu(values: &mut [f32]) {
        for value in values {
            *value = *value * 0.5 * (1.0 + erf(*value * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

widest! {
    /// Each row of `width` floats becomes `softmax(scale * row)`, in place.
    fn softmax_rows(values: &mut [f32], width: usize, scale: f32) {
        for row in values.chunks_exact_mut(width) {
            let top = fold(row, f32::NEG_INFINITY, larger);
            for value in row.iter_mut() {
                *value = exp((*value - top) * scale);
            }
            let share = 1.0 / fold(row, 0.0, |a, b| a + b);
            for value in row.iter_mut() {
                *value *= share;
            }
        }
    }
}

widest! {
    /// Each row of `gain.len()` floats is brought to mean 0 and variance 1 (`epsilon` added), then scaled and shifted, in
    /// place (Ba, Kiros, Hinton 2016).
    fn layer_norm_rows(values: &mut [f32], gain: &[f32], shift: &[f32], epsilon: f32) {
        let width = gain.len();
        let share = 1.0 / width as f32;
        for row in values.chunks_exact_mut(width) {
            let mean = fold(row, 0.0, |a, b| a + b) * share;
            for value in row.iter_mut() {
                *value -= mean;
            }
            let variance = fold_squares(row) * share;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for ((value, gain), shift) in row.iter_mut().zip(gain).zip(shift) {
                *value = *value * inverse * gain + shift;
            }
        }
    }
}

/// `sum x_i * y_i`, in an order that depends on the length alone.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[inline(always)]
fn fold(row: &[f32], start: f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = join(lanes[lane], block[lane]);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, *value);
    }
    lanes.into_iter().fold(start, &join)
}

#[inline(always)]
fn fold_squares(row: &[f32]) -> f32 {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] += block[lane] * block[lane];
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value * value;
    }
    lanes.into_iter().sum()
}

/// One comparison, where `f32::max` has two for the sake of NaN, which does not come here.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `erf x` by Abramowitz and Stegun 7.1.26; absolute error below 3e-7 in f32 (1.5e-7 is the formula's own).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let series = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    (1.0 - series * exp(-size * size)).copysign(x)
}

/// `e^x` for x up to 88, as the Cephes library does it: `2^n * P(x - n ln 2)`; relative error below 3e-7; below -87 it stays at 2e-38.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Added and taken away again, it leaves the nearest integer: there is no room for a fraction at this size.
    const ROUND: f32 = 12_582_912.0;
    let x = larger(x, -87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in a product with n.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_66;
    let p = p * r + 0.5;
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    (p * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn gelu_keeps_its_error_bound() {
        let inputs: Vec<f32> = (-12_000..=12_000).map(|n| n as f32 / 1_000.0).collect();
        let mut outputs = inputs.clone();
        gelu(&mut outputs);
        for (x, y) in inputs.iter().zip(outputs) {
            let exact = f64::from(*x) * 0.5 * (1.0 + erf_exact(f64::from(*x) * std::f64::consts::FRAC_1_SQRT_2));
            assert!(
                (f64::from(y) - exact).abs() <= 4e-7 + 2e-7 * f64::from(x.abs()),
                "gelu({x}) = {y}, exactly {exact}"
            );
        }
    }

    #[test]
    fn exp_keeps_its_error_bound() {
        for n in -87_000..=88_000 {
            let x = n as f32 / 1_000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() <= 3e-7, "exp({x}) = {}, exactly {exact}", exp(x));
        }
        assert!(exp(-1e9) < 1e-37);
    }

    #[test]
    fn softmax_and_layer_norm_agree_with_f64_at_all_widths() {
        for width in [1, 2, 15, 16, 17, 31, 48, 100, 384] {
            let values: Vec<f32> = (0..3 * width).map(|n| ((n * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let (gain, shift) = (vec![1.5; width], vec![0.25; width]);
            let (mut soft, mut norm) = (values.clone(), values.clone());
            softmax_rows(&mut soft, width, 0.3);
            layer_norm_rows(&mut norm, &gain, &shift, 1e-12);
            for (row, start) in values.chunks(width).zip((0..).step_by(width)) {
                let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
                let total: f64 = row.iter().map(|x| (x * 0.3).exp()).sum();
                let mean = row.iter().sum::<f64>() / width as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                for (n, x) in row.iter().enumerate() {
                    assert!((f64::from(soft[start + n]) - (x * 0.3).exp() / total).abs() < 1e-6);
                    let exact = (x - mean) / (variance + 1e-12).sqrt() * 1.5 + 0.25;
                    assert!(width == 1 || (f64::from(norm[start + n]) - exact).abs() < 1e-5);
                }
            }
        }
    }
}
