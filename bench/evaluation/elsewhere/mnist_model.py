"""Makes an ONNX model of exactly mnist-8's geometry, and C of an ONNX model of that geometry.

    python -m bench.evaluation.elsewhere.mnist_model model OUT.onnx
    python -m bench.evaluation.elsewhere.mnist_model c MODEL.onnx OUT.c

The weights are random by a fixed seed, of the sizes with which a network of this kind is trained: what it takes to
compute them is the same for any.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 20260622
OPERATORS = (
    *("Conv", "Add", "Relu", "MaxPool", "Conv", "Add", "Relu", "MaxPool"),
    *("Reshape", "MatMul", "Add"),
)
# As C names them, with the shape that each must have.
WEIGHTS = {
    "conv1": (8, 1, 5, 5),
    "bias1": (8, 1, 1),
    "conv2": (16, 8, 5, 5),
    "bias2": (16, 1, 1),
    "dense": (256, 10),
    "bias3": (1, 10),
}


def model() -> onnx.ModelProto:
    """Return the model."""
    random = np.random.RandomState(SEED)
    values = {name: _values(random, name, shape) for name, shape in WEIGHTS.items()}
    initializers = [numpy_helper.from_array(value, name) for name, value in values.items()]
    initializers.append(numpy_helper.from_array(np.array([1, 256], dtype=np.int64), "flat"))
    graph = helper.make_graph(
        list(_nodes()),
        "mnist-8",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 1, 28, 28))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 10))],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def weights_in_c(of: onnx.ModelProto) -> str:
    """Return the weights of a model as C.

    Raises:
        ValueError: The model is of another geometry.
    """
    operators = tuple(node.op_type for node in of.graph.node)
    if operators != OPERATORS:
        raise ValueError(f"operators: got {operators}, want {OPERATORS}")
    found = {each.name: numpy_helper.to_array(each) for each in of.graph.initializer}
    lines = ["/* Made of an ONNX model; a number in C is the model's to the last bit. */", ""]
    for name, shape in WEIGHTS.items():
        if found[name].shape != shape or found[name].dtype != np.float32:
            raise ValueError(f"{name}: got {found[name].dtype} {found[name].shape}, want float32 {shape}")
        numbers = ", ".join(f"{float(each).hex()}f" for each in found[name].ravel())
        lines.append(f"const float {name}[] = {{{numbers}}};")
    return "\n".join(lines) + "\n"


def _values(random: np.random.RandomState, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.startswith("bias"):
        return random.uniform(-0.1, 0.1, shape).astype(np.float32)
    inputs = shape[0] if name == "dense" else int(np.prod(shape[1:]))
    return (random.standard_normal(shape) * np.sqrt(2 / inputs)).astype(np.float32)


def _nodes() -> Iterator[onnx.NodeProto]:
    before = "image"
    for layer, pool in ((1, 2), (2, 3)):
        same = {"kernel_shape": (5, 5), "auto_pad": "SAME_UPPER"}
        yield helper.make_node("Conv", [before, f"conv{layer}"], [f"sum{layer}"], **same)
        yield helper.make_node("Add", [f"sum{layer}", f"bias{layer}"], [f"biased{layer}"])
        yield helper.make_node("Relu", [f"biased{layer}"], [f"active{layer}"])
        size = (pool, pool)
        yield helper.make_node("MaxPool", [f"active{layer}"], [f"pooled{layer}"], kernel_shape=size, strides=size)
        before = f"pooled{layer}"
    yield helper.make_node("Reshape", [before, "flat"], ["row"])
    yield helper.make_node("MatMul", ["row", "dense"], ["sum3"])
    yield helper.make_node("Add", ["sum3", "bias3"], ["scores"])


def main() -> None:
    """Do what the command line says."""
    what, *paths = sys.argv[1:]
    if what == "model":
        Path(paths[0]).write_bytes(model().SerializeToString(deterministic=True))
    else:
        Path(paths[1]).write_text(weights_in_c(onnx.load(paths[0])))


if __name__ == "__main__":
    main()
