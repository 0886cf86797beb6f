//! Vectors of length one.

use crate::VectorError;

/// A vector that may be stored or asked for: of the index's dimension, finite, of Euclidean length one. The cosine of two
/// such vectors is their dot product.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnitVector(Vec<f32>);

impl UnitVector {
    /// Scales `raw` to length one. A vector whose length is one already, as far as `f32` can tell, is kept bit for bit, so
    /// that a stored vector can be read and stored again without change.
    ///
    /// # Errors
    /// [`VectorError::Dimensions`], [`VectorError::NotFinite`], [`VectorError::Zero`].
    pub(crate) fn of(raw: &[f32], dimension: usize) -> Result<UnitVector, VectorError> {
        if raw.len() != dimension {
            return Err(VectorError::Dimensions { given: raw.len(), expected: dimension });
        }
        if let Some(component) = raw.iter().position(|x| !x.is_finite()) {
            return Err(VectorError::NotFinite { component });
        }
        // f64: the squares of the largest and of the smallest f32 fit.
        let length = raw.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(VectorError::Zero);
        }
        // Rounding each component to f32 moves the length by a factor of 1 ± 2^-24 at most.
        if (length - 1.0).abs() <= f64::from(f32::EPSILON) {
            return Ok(UnitVector(raw.to_vec()));
        }
        Ok(UnitVector(raw.iter().map(|x| (f64::from(*x) / length) as f32).collect()))
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn length_becomes_one_and_stays_as_it_is(raw in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL, 1..40)) {
            let unit = UnitVector::of(&raw, raw.len()).unwrap();
            let length = unit.as_slice().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            prop_assert!((length - 1.0).abs() < 1e-6, "{length}");
            prop_assert_eq!(&UnitVector::of(unit.as_slice(), raw.len()).unwrap(), &unit);
        }
    }

    #[test]
    fn what_has_no_cosine_is_refused() {
        assert!(matches!(UnitVector::of(&[1.0], 2), Err(VectorError::Dimensions { given: 1, expected: 2 })));
        assert!(matches!(UnitVector::of(&[1.0, f32::NAN], 2), Err(VectorError::NotFinite { component: 1 })));
        assert!(matches!(UnitVector::of(&[f32::INFINITY, 0.0], 2), Err(VectorError::NotFinite { component: 0 })));
        assert!(matches!(UnitVector::of(&[0.0, -0.0], 2), Err(VectorError::Zero)));
    }
}
