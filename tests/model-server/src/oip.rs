//! The Open Inference Protocol, version 2, as JSON over HTTP: the part a server
//! with one model of FP32 tensors needs.
//!
//! <https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md>

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InferRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub inputs: Vec<Tensor>,
    /// The outputs wanted; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Wanted>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted {
    pub name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InferResponse {
    pub model_name: String,
    pub model_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub outputs: Vec<Tensor>,
}

/// `data` is one flat row-major array, or nested as `shape` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub datatype: String,
    pub data: Value,
}

impl Tensor {
    pub fn fp32(name: &str, shape: &[usize], data: &[f32]) -> Self {
        Self { name: name.into(), shape: shape.into(), datatype: "FP32".into(), data: data.into() }
    }

    /// The numbers in row-major order, as many as the shape says and all finite.
    pub fn numbers(&self) -> Result<Vec<f32>, String> {
        let name = &self.name;
        if self.datatype != "FP32" {
            return Err(format!("tensor `{name}` is {}, wanted FP32", self.datatype));
        }
        let count = self.shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
        let count =
            count.ok_or_else(|| format!("the shape of tensor `{name}` is beyond reason"))?;
        let mut numbers = Vec::new();
        match &self.data {
            Value::Array(rows) if rows.iter().any(Value::is_array) => {
                gather(&self.data, &self.shape, &mut numbers)
            }
            flat => gather(flat, &[count], &mut numbers),
        }
        .map_err(|why| format!("the data of tensor `{name}`: {why}"))?;
        Ok(numbers)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerInfo {
    pub name: String,
    pub version: String,
    pub extensions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    pub name: String,
    pub versions: Vec<String>,
    pub platform: String,
    pub inputs: Vec<TensorInfo>,
    pub outputs: Vec<TensorInfo>,
}

/// A side of -1 may have any length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorInfo {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
}

fn gather(data: &Value, shape: &[usize], into: &mut Vec<f32>) -> Result<(), String> {
    let Some((side, inner)) = shape.split_first() else {
        let number = data.as_f64().ok_or_else(|| format!("{data} is no number"))?;
        let number = number as f32;
        if !number.is_finite() {
            return Err(format!("{data} is beyond FP32"));
        }
        into.push(number);
        return Ok(());
    };
    let rows = data.as_array().ok_or_else(|| format!("wanted an array of {side}"))?;
    if rows.len() != *side {
        return Err(format!("an array of {}, wanted {side}", rows.len()));
    }
    rows.iter().try_for_each(|row| gather(row, inner, into))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tensor(shape: &[usize], data: Value) -> Tensor {
        Tensor { name: "t".into(), shape: shape.into(), datatype: "FP32".into(), data }
    }

    #[test]
    fn data_may_be_flat_or_nested() {
        for data in [json!([1, 2.5, 3, 4]), json!([[1, 2.5], [3, 4]])] {
            assert_eq!(tensor(&[2, 2], data).numbers().unwrap(), [1.0, 2.5, 3.0, 4.0]);
        }
    }

    #[test]
    fn data_that_is_not_what_the_shape_says_is_refused_in_words() {
        for (shape, data, says) in [
            (vec![2, 2], json!([1, 2, 3]), "an array of 3, wanted 4"),
            (vec![2, 2], json!([[1, 2], [3]]), "an array of 1, wanted 2"),
            (vec![2, 2], json!([[1, 2], 3]), "wanted an array of 2"),
            (vec![2], json!([1, "2"]), "is no number"),
            (vec![2], json!([1, 1e300]), "beyond FP32"),
            (vec![1], json!(1), "wanted an array of 1"),
            (vec![usize::MAX, 2], json!([1]), "beyond reason"),
        ] {
            let why = tensor(&shape, data).numbers().unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        let other = Tensor { datatype: "INT64".into(), ..tensor(&[1], json!([1])) };
        assert!(other.numbers().unwrap_err().contains("INT64, wanted FP32"));
    }
}
