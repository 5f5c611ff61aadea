//! The model: ONNX bytes made into a plan that runs, and what its tensors are
//! called.

use std::sync::Arc;

use anyhow::{Context, ensure};
use model_server::oip::{ModelInfo, Tensor, TensorInfo};
use tract_onnx::prelude::*;

/// The model that train.py makes.
pub const COMMITTED: &[u8] = include_bytes!("../../../model/digits.onnx");

/// One FP32 input and one FP32 output whose first side is the batch.
pub struct Model {
    plan: Arc<TypedSimplePlan>,
    info: ModelInfo,
}

impl Model {
    pub fn load(name: &str, mut onnx: &[u8]) -> anyhow::Result<Self> {
        let model = tract_onnx::onnx().model_for_read(&mut onnx).context("it is no ONNX model")?;
        let input = model.input_outlets()?.first().context("it has no input")?.node;
        let input = model.node(input).name.clone();
        let output = *model.output_outlets()?.first().context("it has no output")?;
        let output = model.outlet_label(output).unwrap_or(&model.node(output.node).name).to_owned();
        let plan = model.into_optimized()?.into_runnable()?;
        let facts = (plan.model().input_fact(0)?, plan.model().output_fact(0)?);
        let info = ModelInfo {
            name: name.into(),
            versions: vec!["1".into()],
            platform: "onnx_onnxv1".into(),
            inputs: vec![describe(input, facts.0)?],
            outputs: vec![describe(output, facts.1)?],
        };
        Ok(Self { plan, info })
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// `numbers` are as many as `shape` says, which fits the input.
    pub fn run(&self, shape: &[usize], numbers: &[f32]) -> anyhow::Result<Answer> {
        let input = tract_onnx::prelude::Tensor::from_shape(shape, numbers)?;
        let outputs = self.plan.run(tvec!(input.into()))?;
        let output = outputs.first().context("the model gave no output")?;
        let numbers = output.to_plain_array_view::<f32>()?.iter().copied().collect();
        Ok(Answer { shape: output.shape().into(), numbers })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
}

impl Answer {
    pub fn into_tensor(self, name: &str) -> Tensor {
        Tensor::fp32(name, &self.shape, &self.numbers)
    }

    /// Every row back to front: the right numbers at the wrong classes.
    pub fn falsify(&mut self) {
        let width = self.shape.last().copied().unwrap_or(1).max(1);
        self.numbers.chunks_mut(width).for_each(<[f32]>::reverse);
    }
}

fn describe(name: String, fact: &TypedFact) -> anyhow::Result<TensorInfo> {
    ensure!(fact.datum_type == f32::datum_type(), "tensor `{name}` is not FP32");
    let side = |side: &TDim| side.to_i64().unwrap_or(-1);
    Ok(TensorInfo { name, datatype: "FP32".into(), shape: fact.shape.iter().map(side).collect() })
}
