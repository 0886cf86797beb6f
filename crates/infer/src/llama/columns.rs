//! Loops over blocks of tokens that stand side by side.
//!
//! A block is a matrix `[features, N]`, row after row, with a token a column: what is done to all tokens alike is then one
//! vector instruction wide, and a product needs nothing packed. `N` is 1 while text is written, more while a prompt is
//! read. Each loop is compiled for AVX-512, for AVX2 and for the target as it is, and the widest is chosen at run time.

use half::f16;

use crate::kernels::exp;

/// Partial sums of a dot product.
const LANES: usize = 16;

/// Compiles a loop for each vector width and takes the widest that the processor has; `FUSED` says whether a fused
/// multiply-add is one instruction there.
macro_rules! widest {
    ($(#[$doc:meta])* fn $name:ident<$n:ident>($($arg:ident: $type:ty),*) $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code)]
        pub(crate) fn $name<const $n: usize>($($arg: $type),*) {
            #[inline(always)]
            fn plain<const FUSED: bool, const $n: usize>($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512<const $n: usize>($($arg: $type),*) {
                    plain::<true, $n>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<const $n: usize>($($arg: $type),*) {
                    plain::<true, $n>($($arg),*);
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has AVX-512, as asked in the line above.
                    return unsafe { avx512::<$n>($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has AVX2 and FMA, as asked in the line above.
                    return unsafe { avx2::<$n>($($arg),*) };
                }
            }
            plain::<{ cfg!(target_arch = "aarch64") }, $n>($($arg),*);
        }
    };
}

widest! {
    /// `out` becomes what these finite halves stand for, exactly; `FUSED` and `N` play no part.
    fn widen<N>(halves: &[f16], out: &mut [f32]) {
        const ONE_EXPONENT: u32 = 1 << 23;
        /// The smallest normal half as a float.
        const SMALLEST: u32 = (127 - 14) << 23;
        for (half, out) in halves.iter().zip(out) {
            let bits = u32::from(half.to_bits());
            let size = (bits & 0x7FFF) << 13;
            let normal = size + SMALLEST - ONE_EXPONENT;
            // A half without a leading one: as if it had it, less that one.
            let subnormal = f32::from_bits(size + SMALLEST) - f32::from_bits(SMALLEST);
            let size = if size < ONE_EXPONENT { subnormal.to_bits() } else { normal };
            *out = f32::from_bits(size | (bits & 0x8000) << 16);
        }
    }
}

widest! {
    /// `out = weight * x`: `weight` has a row of `x.len() / N` floats every `stride`, as many as `out` has.
    fn product<N>(weight: &[f32], stride: usize, x: &[f32], out: &mut [f32]) {
        const ROWS: usize = 4;
        let x = x.as_chunks::<N>().0;
        let row = |row: usize| &weight[row * stride..][..x.len()];
        let rows = out.len() / N;
        let mut first = 0;
        if N == 1 {
            for (ordinal, out) in out.iter_mut().enumerate() {
                *out = dot::<FUSED>(row(ordinal), x.as_flattened());
            }
            return;
        }
        let mut groups = out.chunks_exact_mut(ROWS * N);
        for out in &mut groups {
            tile::<FUSED, N, ROWS>([row(first), row(first + 1), row(first + 2), row(first + 3)], x, out);
            first += ROWS;
        }
        for (ordinal, out) in (first..rows).zip(groups.into_remainder().chunks_exact_mut(N)) {
            tile::<FUSED, N, 1>([row(ordinal)], x, out);
        }
    }
}

widest! {
    /// Each token is divided by its root mean square (`epsilon` added to the mean) and scaled by `gain` (Zhang, Sennrich
    /// 2019).
    fn rms_norm<N>(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
        let (x, out) = (x.as_chunks::<N>().0, out.as_chunks_mut::<N>().0);
        let mut sums = [0.0; N];
        for row in x {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum = add_product::<FUSED>(*value, *value, *sum);
            }
        }
        let inverse = sums.map(|sum| 1.0 / (sum / gain.len() as f32 + epsilon).sqrt());
        for ((out, row), gain) in out.iter_mut().zip(x).zip(gain) {
            for column in 0..N {
                out[column] = row[column] * inverse[column] * gain;
            }
        }
    }
}

widest! {
    /// Each column becomes `softmax(scale * column)`, in place.
    fn softmax<N>(values: &mut [f32], scale: f32) {
        let rows = values.as_chunks_mut::<N>().0;
        let mut top = [f32::NEG_INFINITY; N];
        for row in rows.iter() {
            for (top, value) in top.iter_mut().zip(row) {
                *top = if *value > *top { *value } else { *top };
            }
        }
        let mut sums = [0.0; N];
        for row in rows.iter_mut() {
            for column in 0..N {
                row[column] = exp::<FUSED>((row[column] - top[column]) * scale);
                sums[column] += row[column];
            }
        }
        let shares = sums.map(|sum| 1.0 / sum);
        for row in rows {
            for column in 0..N {
                row[column] *= shares[column];
            }
        }
    }
}

widest! {
    /// `gate = up * gate / (1 + e^-gate)` (SwiGLU: Shazeer 2020), in place; `FUSED` and `N` play no part.
    fn swiglu<N>(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            // e^88 is the largest that a float holds.
            *gate = *up * *gate / (1.0 + exp::<FUSED>((-*gate).min(88.0)));
        }
    }
}

/// Each pair of neighbouring rows of `head`, as far as `angles` goes, is turned by the token's angle (Su et al. 2021).
/// `angles`: a row of sines and a row of cosines for each pair.
pub(crate) fn rotate<const N: usize>(head: &mut [f32], angles: &[[[f32; N]; 2]]) {
    for (pair, [sines, cosines]) in head.as_chunks_mut::<N>().0.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
        let [even, odd] = pair;
        for column in 0..N {
            let (x, y) = (even[column], odd[column]);
            even[column] = x * cosines[column] - y * sines[column];
            odd[column] = x * sines[column] + y * cosines[column];
        }
    }
}

/// `sum x_i * y_i`
#[inline(always)]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    const SUMS: usize = 4;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let ((a, a_last), (b, b_last)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    let mut sums = [[0.0; LANES]; SUMS];
    for (a, b) in a.iter().zip(b) {
        for ((a, b), sums) in a.iter().zip(b).zip(&mut sums) {
            add_products::<FUSED>(a, b, sums);
        }
    }
    for (a, b) in a_last.iter().zip(b_last) {
        add_products::<FUSED>(a, b, &mut sums[0]);
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>();
    sums.as_flattened().iter().sum::<f32>() + rest
}

#[inline(always)]
fn add_products<const FUSED: bool>(a: &[f32; LANES], b: &[f32; LANES], sums: &mut [f32; LANES]) {
    for lane in 0..LANES {
        sums[lane] = add_product::<FUSED>(a[lane], b[lane], sums[lane]);
    }
}

/// `R` rows of a product.
#[inline(always)]
fn tile<const FUSED: bool, const N: usize, const R: usize>(weight: [&[f32]; R], x: &[[f32; N]], out: &mut [f32]) {
    let mut sums = [[0.0; N]; R];
    let weight = weight.map(|row| &row[..x.len()]);
    for (inner, x) in x.iter().enumerate() {
        for row in 0..R {
            let factor = weight[row][inner];
            for column in 0..N {
                sums[row][column] = add_product::<FUSED>(factor, x[column], sums[row][column]);
            }
        }
    }
    out.copy_from_slice(sums.as_flattened());
}

/// `a * b + sum`
#[inline(always)]
fn add_product<const FUSED: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { a * b + sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn floats(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Against an f64 sum, within `(n + 1) * EPSILON * sum |x_i * y_i|` (Higham 2002, ch. 3).
    #[track_caller]
    fn check_product<const N: usize>(rows: usize, inner: usize, stride: usize, seed: u32) {
        let (weight, x) = (floats(rows * stride, seed), floats(inner * N, seed ^ 7));
        let mut out = vec![0.0; rows * N];
        product::<N>(&weight, stride, &x, &mut out);
        for row in 0..rows {
            for column in 0..N {
                let terms = (0..inner).map(|k| f64::from(weight[row * stride + k]) * f64::from(x[k * N + column]));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                let bound = (inner + 1) as f64 * f64::from(f32::EPSILON) * size;
                let given = f64::from(out[row * N + column]);
                assert!((given - sum).abs() <= bound, "{rows} x {inner}, row {row}, column {column}: {given}, {sum}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_product_is_the_sum_of_products(rows in 1usize..11, inner in 1usize..150, gap in 0usize..3, seed: u32) {
            check_product::<1>(rows, inner, inner + gap, seed);
            check_product::<16>(rows, inner, inner + gap, seed);
            check_product::<32>(rows, inner, inner + gap, seed);
        }
    }

    #[test]
    fn every_finite_half_is_itself() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()).collect();
        let mut floats = vec![0.0; halves.len()];
        widen::<1>(&halves, &mut floats);
        for (half, float) in halves.iter().zip(floats) {
            assert_eq!(half.to_f32().to_bits(), float.to_bits(), "{half:?}");
        }
    }

    #[test]
    fn norm_softmax_and_swiglu_agree_with_f64() {
        const N: usize = 16;
        let rows = 37;
        let x = floats(rows * N, 3);
        let gain = floats(rows, 4);
        let column = |column: usize| x.iter().skip(column).step_by(N).map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (mut norm, mut soft, mut gate) = (vec![0.0; x.len()], x.clone(), x.clone());
        rms_norm::<N>(&x, &gain, 1e-5, &mut norm);
        softmax::<N>(&mut soft, 3.0);
        swiglu::<N>(&mut gate, &norm);
        for token in 0..N {
            let values = column(token);
            let mean = values.iter().map(|x| x * x).sum::<f64>() / rows as f64;
            let total: f64 = values.iter().map(|x| (x * 3.0).exp()).sum();
            for (row, value) in values.iter().enumerate() {
                let at = row * N + token;
                let normed = value / (mean + 1e-5).sqrt() * f64::from(gain[row]);
                assert!((f64::from(norm[at]) - normed).abs() < 1e-5);
                assert!((f64::from(soft[at]) - (value * 3.0).exp() / total).abs() < 1e-6);
                assert!((f64::from(gate[at]) - normed * value / (1.0 + (-value).exp())).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_pair_turns_by_its_angle_and_the_rest_stays() {
        let mut head = vec![1.0, 0.0, 0.0, 2.0, 5.0, 6.0];
        rotate::<1>(&mut head, &[[[1.0], [0.0]], [[0.6], [0.8]]]);
        let expected = [0.0, 1.0, -1.2, 1.6, 5.0, 6.0];
        assert!(head.iter().zip(expected).all(|(given, wanted)| (given - wanted).abs() < 1e-6), "{head:?}");
    }
}
