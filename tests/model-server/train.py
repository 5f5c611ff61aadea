"""Trains the digits model that model-server serves, and writes what the tests
compare with: model/digits.onnx and model/golden.json.

    python3 -m venv venv && venv/bin/pip install scikit-learn==1.7.2 onnx==1.23.2
    venv/bin/python train.py

The data is scikit-learn's `load_digits` (1,797 grey pictures of 8 x 8, values
0 to 16), the seed is fixed, and the graph is written by hand so that every
node in it is known: scale, three dense layers, softmax. The weights go in as
float32 initialisers. Nothing is written unless onnx's own reference evaluator
agrees with scikit-learn on the whole held-out set.
"""

import hashlib
import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 1948
TOLERANCE = 1e-5
PIXEL_MAX = 16.0
FOLDER = pathlib.Path(__file__).parent / "model"


def train():
    digits = load_digits()
    pixels = digits.data.astype(np.float32)
    split = train_test_split(
        pixels, digits.target, test_size=0.25, random_state=SEED, stratify=digits.target
    )
    train_x, test_x, train_y, test_y = split
    network = MLPClassifier(
        hidden_layer_sizes=(48, 24), alpha=1e-3, max_iter=500, random_state=SEED
    )
    network.fit(train_x / PIXEL_MAX, train_y)
    return network, test_x, test_y


def graph_of(network):
    parameters = [numpy_helper.from_array(np.float32(1.0 / PIXEL_MAX), "scale")]
    nodes = [helper.make_node("Mul", ["pixels", "scale"], ["scaled"])]
    value = "scaled"
    layers = list(zip(network.coefs_, network.intercepts_))
    for index, (weight, bias) in enumerate(layers):
        parameters.append(numpy_helper.from_array(weight.astype(np.float32), f"w{index}"))
        parameters.append(numpy_helper.from_array(bias.astype(np.float32), f"b{index}"))
        dense = f"dense{index}"
        nodes.append(helper.make_node("Gemm", [value, f"w{index}", f"b{index}"], [dense]))
        value = dense
        if index + 1 < len(layers):
            value = f"hidden{index}"
            nodes.append(helper.make_node("Relu", [dense], [value]))
    nodes.append(helper.make_node("Softmax", [value], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        parameters,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
        producer_name="homeostat/tests/model-server/train.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def golden_of(evaluator, test_x, test_y):
    """Of each digit the held-out picture that is read rightly and least surely.

    A sure answer hides a small fault: softmax has saturated, and a flipped bit
    in a weight moves nothing within the tolerance.
    """
    cases = []
    for digit in range(10):
        pictures = test_x[test_y == digit]
        answers = evaluator.run(None, {"pixels": pictures})[0]
        right = np.flatnonzero(answers.argmax(axis=1) == digit)
        chosen = int(right[np.argmin(answers[right, digit])])
        pixels = pictures[chosen]
        cases.append(
            {
                "name": f"digit-{digit}",
                "label": digit,
                "pixels": [float(value) for value in pixels],
                "probabilities": [float(value) for value in answers[chosen]],
            }
        )
    return {"input": "pixels", "output": "probabilities", "tolerance": 1e-3, "cases": cases}


def written(golden):
    """One case a line: reviewable, and a diff names the digit."""
    lines = ",\n".join("    " + json.dumps(case) for case in golden["cases"])
    head = {key: value for key, value in golden.items() if key != "cases"}
    return json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n"


def main():
    network, test_x, test_y = train()
    model = graph_of(network)
    evaluator = ReferenceEvaluator(model)
    answers = evaluator.run(None, {"pixels": test_x})[0]
    expected = network.predict_proba(test_x / PIXEL_MAX)
    worst = float(np.abs(answers - expected).max())
    if worst > TOLERANCE:
        raise SystemExit(f"the graph differs from the network it was made of by {worst}")
    right = int((answers.argmax(axis=1) == test_y).sum())

    FOLDER.mkdir(exist_ok=True)
    content = model.SerializeToString(deterministic=True)
    (FOLDER / "digits.onnx").write_bytes(content)
    (FOLDER / "golden.json").write_text(written(golden_of(evaluator, test_x, test_y)))
    print(f"digits.onnx  {len(content)} bytes  sha256 {hashlib.sha256(content).hexdigest()}")
    print(f"held out     {right} of {len(test_y)} right ({right / len(test_y):.1%})")
    print(f"agreement    within {worst:.1e} of scikit-learn")


if __name__ == "__main__":
    main()
