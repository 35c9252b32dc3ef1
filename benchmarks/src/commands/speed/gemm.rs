//! The matrix product that shows what the machine can do.

use std::time::Instant;

use pc_core::{
    Result,
    host::{Element, matrix_product},
};

use crate::contract::speed::GEMM_SIDE;

/// The product that the machine is measured by.
#[derive(Debug)]
pub struct Gemm<F> {
    a: Vec<F>,
    b: Vec<F>,
    c: Vec<F>,
}

impl<F: Element> Gemm<F> {
    /// With random matrices.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn new() -> Result<Self> {
        let mut numbers = pc_core::host::Init::new(3);
        let mut matrix = || -> Result<Vec<F>> {
            Ok(numbers.uniform::<F>(&[GEMM_SIDE, GEMM_SIDE], 1.0)?.data().to_vec())
        };
        Ok(Self { a: matrix()?, b: matrix()?, c: matrix()? })
    }

    /// Seconds of one product.
    ///
    /// # Errors
    /// None, if the matrices fit.
    pub fn time(&mut self) -> Result<f64> {
        let start = Instant::now();
        matrix_product(&self.a, &self.b, &mut self.c, [GEMM_SIDE; 3])?;
        Ok(start.elapsed().as_secs_f64())
    }
}
