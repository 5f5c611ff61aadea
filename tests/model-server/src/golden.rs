//! Known pictures with the answers that are right, made by train.py.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::oip;

#[derive(Clone, Debug, Deserialize)]
pub struct Golden {
    pub input: String,
    pub output: String,
    /// The largest difference of one number that is still the same answer.
    pub tolerance: f32,
    pub cases: Vec<Case>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    pub name: String,
    pub label: usize,
    pub pixels: Vec<f32>,
    pub probabilities: Vec<f32>,
}

#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    #[error("cannot read the golden file {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{} is no golden file: {error}", path.display())]
    Parse { path: PathBuf, error: serde_json::Error },
    #[error("{} holds no case", path.display())]
    Empty { path: PathBuf },
}

impl Golden {
    /// The committed cases, for the committed model.
    pub fn committed() -> Self {
        serde_json::from_str(include_str!("../model/golden.json"))
            .expect("the committed golden file parses, a test reads it")
    }

    pub fn read(path: &Path) -> Result<Self, GoldenError> {
        let text =
            std::fs::read(path).map_err(|error| GoldenError::Read { path: path.into(), error })?;
        let golden: Self = serde_json::from_slice(&text)
            .map_err(|error| GoldenError::Parse { path: path.into(), error })?;
        match golden.cases.is_empty() {
            true => Err(GoldenError::Empty { path: path.into() }),
            false => Ok(golden),
        }
    }

    /// The question, with one picture a row.
    pub fn request(&self, cases: &[Case]) -> oip::InferRequest {
        let width = cases.first().map_or(0, |case| case.pixels.len());
        let pixels: Vec<f32> = cases.iter().flat_map(|case| case.pixels.clone()).collect();
        oip::InferRequest {
            id: None,
            inputs: vec![oip::Tensor::fp32(&self.input, &[cases.len(), width], &pixels)],
            outputs: vec![oip::Wanted { name: self.output.clone() }],
        }
    }

    /// What differs between the answer and what `cases` say, in words.
    pub fn check(&self, cases: &[Case], answer: &oip::InferResponse) -> Result<(), String> {
        let found = answer.outputs.iter().find(|tensor| tensor.name == self.output);
        let tensor = found.ok_or_else(|| format!("no output `{}`", self.output))?;
        let numbers = tensor.numbers()?;
        let wanted: Vec<f32> = cases.iter().flat_map(|case| case.probabilities.clone()).collect();
        if numbers.len() != wanted.len() {
            return Err(format!("{} numbers, wanted {}", numbers.len(), wanted.len()));
        }
        let far = |(number, wanted): (&f32, &f32)| {
            // Written so that NaN, which compares with nothing, is far.
            let near = (number - wanted).abs() <= self.tolerance;
            (!near).then(|| format!("{number}, wanted {wanted} within {}", self.tolerance))
        };
        numbers.iter().zip(&wanted).find_map(far).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(golden: &Golden, numbers: &[f32]) -> oip::InferResponse {
        oip::InferResponse {
            model_name: "digits".into(),
            model_version: "1".into(),
            id: None,
            outputs: vec![oip::Tensor::fp32(&golden.output, &[1, numbers.len()], numbers)],
        }
    }

    #[test]
    fn the_committed_cases_are_one_of_each_digit_and_name_their_label() {
        let golden = Golden::committed();
        let labels: Vec<usize> = golden.cases.iter().map(|case| case.label).collect();
        assert_eq!(labels, (0..10).collect::<Vec<_>>());
        for case in &golden.cases {
            assert_eq!((case.pixels.len(), case.probabilities.len()), (64, 10));
            let sum: f32 = case.probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{}: {sum}", case.name);
            let best = case.probabilities[case.label];
            assert!(case.probabilities.iter().all(|other| *other <= best), "{}", case.name);
        }
    }

    #[test]
    fn an_answer_is_right_within_the_tolerance_and_wrong_beyond_it() {
        let golden = Golden::committed();
        let cases = &golden.cases[3..4];
        let mut numbers = cases[0].probabilities.clone();
        assert_eq!(golden.check(cases, &answer(&golden, &numbers)), Ok(()));
        numbers[3] += golden.tolerance / 2.0;
        assert_eq!(golden.check(cases, &answer(&golden, &numbers)), Ok(()));
        numbers[3] += golden.tolerance;
        assert!(golden.check(cases, &answer(&golden, &numbers)).is_err());
        assert!(golden.check(cases, &answer(&golden, &numbers[..9])).is_err());
    }

    #[test]
    fn the_classes_in_reverse_order_are_wrong_for_every_case() {
        let golden = Golden::committed();
        for case in golden.cases.chunks(1) {
            let mut numbers = case[0].probabilities.clone();
            numbers.reverse();
            assert!(golden.check(case, &answer(&golden, &numbers)).is_err());
        }
    }
}
