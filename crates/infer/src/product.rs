//! Matrix products, the only door to `gemm`.
//!
//! A view is checked when it is made, so that the product itself has nothing left to check.

/// A matrix of floats in a slice, with strides.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A matrix to write, row after row.
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

/// Which threads compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// The calling thread alone.
    Alone,
    /// All threads of the current rayon pool.
    Pool,
}

/// What happens to what stood in the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onto {
    /// It is replaced.
    Nothing,
    /// It is added to.
    Itself,
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` floats in `data`, `row_stride` floats apart.
    ///
    /// # Panics
    /// If `data` is too short.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Matrix<'a> {
        check(data.len(), rows, columns, row_stride);
        Matrix { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same floats, rows as columns.
    pub(crate) fn transposed(self) -> Matrix<'a> {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// `rows` rows of `columns` floats in `data`, `row_stride` floats apart.
    ///
    /// # Panics
    /// If `data` is too short or rows would overlap.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> MatrixMut<'a> {
        check(data.len(), rows, columns, row_stride);
        assert!(row_stride >= columns, "rows overlap");
        MatrixMut { data, rows, columns, row_stride }
    }
}

fn check(len: usize, rows: usize, columns: usize, row_stride: usize) {
    let end = if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + columns };
    assert!(end <= len, "a matrix of {rows} x {columns}, stride {row_stride}, in {len} floats");
}

/// `out = onto + left * right`.
///
/// With more than 64 columns, the sum of an element runs in an order that depends on the inner dimension alone: a row's
/// result does not depend, to the last bit, on how many rows there are (two at least), nor on `spread`.
///
/// # Panics
/// If the shapes do not fit.
#[allow(unsafe_code)]
pub(crate) fn multiply(left: Matrix<'_>, right: Matrix<'_>, out: MatrixMut<'_>, onto: Onto, spread: Spread) {
    assert!(
        left.columns == right.rows && left.rows == out.rows && right.columns == out.columns,
        "({} x {}) * ({} x {}) into {} x {}",
        left.rows,
        left.columns,
        right.rows,
        right.columns,
        out.rows,
        out.columns,
    );
    let parallelism = match spread {
        Spread::Alone => gemm::Parallelism::None,
        Spread::Pool => gemm::Parallelism::Rayon(0),
    };
    let stride = |stride: usize| isize::try_from(stride).expect("a stride is no longer than the slice it is in");
    // SAFETY: every element that the shapes and strides reach lies in its slice (checked by `Matrix::new` and
    // `MatrixMut::new`), `transposed` reaches the same elements, the shapes fit (asserted above), rows of `out` do not
    // overlap, and `out` borrows its slice alone.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            left.columns,
            out.data.as_mut_ptr(),
            1,
            stride(out.row_stride),
            onto == Onto::Itself,
            left.data.as_ptr(),
            stride(left.column_stride),
            stride(left.row_stride),
            right.data.as_ptr(),
            stride(right.column_stride),
            stride(right.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Against an f64 sum, within `n * EPSILON * sum |x_i * y_i|` (Higham 2002, ch. 3).
        #[test]
        fn a_product_is_the_sum_of_products(
            rows in 1usize..40, columns in 1usize..40, inner in 1usize..70, seed: u32, turned: bool, pool: bool,
        ) {
            let (left, right) = (floats(rows * inner, seed), floats(inner * columns, seed ^ 7));
            let mut out = floats(rows * columns, seed ^ 9);
            let before = out.clone();
            let right_view = if turned {
                Matrix::new(&right, columns, inner, inner).transposed()
            } else {
                Matrix::new(&right, inner, columns, columns)
            };
            multiply(
                Matrix::new(&left, rows, inner, inner),
                right_view,
                MatrixMut::new(&mut out, rows, columns, columns),
                Onto::Itself,
                if pool { Spread::Pool } else { Spread::Alone },
            );
            for row in 0..rows {
                for column in 0..columns {
                    let (mut sum, mut size) = (f64::from(before[row * columns + column]), 0.0);
                    size += sum.abs();
                    for k in 0..inner {
                        let other = if turned { right[column * inner + k] } else { right[k * columns + column] };
                        let term = f64::from(left[row * inner + k]) * f64::from(other);
                        sum += term;
                        size += term.abs();
                    }
                    let bound = (inner + 1) as f64 * f64::from(f32::EPSILON) * size;
                    prop_assert!((f64::from(out[row * columns + column]) - sum).abs() <= bound);
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_feel_the_rows_beside_it_nor_the_threads() {
        for (inner, columns) in [(384, 1152), (384, 384), (384, 1536), (1536, 384)] {
            let (left, right) = (floats(500 * inner, 1), floats(inner * columns, 2));
            let run = |rows: usize, spread| {
                let mut out = vec![0.0; rows * columns];
                let left = Matrix::new(&left, rows, inner, inner);
                let right = Matrix::new(&right, inner, columns, columns);
                multiply(left, right, MatrixMut::new(&mut out, rows, columns, columns), Onto::Nothing, spread);
                out
            };
            let all = run(500, Spread::Pool);
            for rows in [2, 3, 12, 65, 129, 499] {
                assert!(run(rows, Spread::Alone) == all[..rows * columns], "{rows} rows of {inner} x {columns}");
            }
        }
    }
}
