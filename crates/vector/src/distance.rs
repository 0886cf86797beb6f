//! The dot product, and the distance that graphs are built with.

use hnsw_rs::anndists::dist::distances::Distance;
#[cfg(not(miri))]
use simsimd::SpatialSimilarity;

/// The cosine of two unit vectors of equal dimension, -1 to 1. Never `-0.0`, so that equal cosines have equal bits.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    // Adding 0.0 turns -0.0 into 0.0. Rounding may carry the product of a vector with itself past one.
    (dot(a, b) + 0.0).clamp(-1.0, 1.0)
}

/// `sum(a_i * b_i)`, with the widest instructions of the machine it runs on.
#[cfg(not(miri))]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    f32::dot(a, b).expect("stored vectors and queries have the index's dimension (`UnitVector::of`, `format::decode`)")
        as f32
}

/// miri runs no foreign code.
#[cfg(miri)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_scalar(a, b)
}

/// What [`dot`] computes, one product after the other.
#[cfg(any(test, miri))]
fn dot_scalar(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// One minus the cosine; hnsw_rs asserts that a distance is not negative.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CosineDistance;

impl Distance<f32> for CosineDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        1.0 - cosine(a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lengths around every lane width up to 16, subnormals, and slices that start anywhere.
    fn pairs() -> impl Strategy<Value = (Vec<(f32, f32)>, usize)> {
        let number = || prop_oneof![-1.0f32..1.0, prop::num::f32::SUBNORMAL, Just(0.0)];
        (prop::collection::vec((number(), number()), 1..70), 0usize..4)
    }

    proptest! {
        #[test]
        fn simd_and_scalar_stay_within_the_bound_of_a_sum_of_products((pairs, offset) in pairs()) {
            let offset = offset.min(pairs.len() - 1);
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let (a, b) = (&a[offset..], &b[offset..]);
            let products = || a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
            let exact: f64 = products().sum();
            // Higham 2002, section 3.1, for any order of summation; each product may also underflow by the least subnormal.
            let n = a.len() as f64;
            let bound = n * f64::from(f32::EPSILON) * products().map(f64::abs).sum::<f64>()
                + n * f64::from(f32::from_bits(1));
            for computed in [dot(a, b), dot_scalar(a, b)] {
                prop_assert!((f64::from(computed) - exact).abs() <= bound, "{computed} {exact} {bound}");
            }
        }
    }

    #[test]
    fn a_distance_is_never_negative_and_a_cosine_never_negative_zero() {
        let unit = crate::unit::UnitVector::of(&[0.3; 77], 77).unwrap();
        assert!(CosineDistance.eval(unit.as_slice(), unit.as_slice()) >= 0.0);
        assert_eq!(cosine(&[-1.0, 0.0], &[0.0, 1.0]).to_bits(), 0.0f32.to_bits());
    }
}
