"""Build the small ONNX networks of the network layer's tests and record what ONNX Runtime computes with them.

    pip install -r requirements.txt && python make.py

The files it writes lie beside it and are checked in; run it again only to add a network. Seeds are fixed, yet another
version of PyTorch or another processor may give other last digits: commit networks and recordings together.

For every accepted network, each .npy little-endian and in C order:
    NAME-input.npy     u8  [H, W, 3]       a picture, RGB
    NAME-features.npy  f32 [C, h, w]       the feature maps, before pooling
    NAME-logits.npy    f32 [classes]       before softmax
    NAME-weights.npy   f32 [classes, C]    the head's weights, dequantized; absent where the maps are the CAMs
    NAME-cams.npy      f32 [classes, h, w] M_c = sum_k w_k^c f_k, summed in f64
`expected.json` says how each network is read, and what the error line for each refused one must contain.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

HERE = Path(__file__).parent
POOLING = {"GlobalAveragePool": "mean", "AveragePool": "mean", "ReduceMean": "mean", "GlobalMaxPool": "max"}
HEADS = ("Gemm", "MatMul", "Conv")


def picture(size, seed):
    """A random picture of low frequencies: cosine waves of up to three periods a side."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]), indexing="ij")
    waves = np.zeros([*size, 3])
    for fy in range(4):
        for fx in range(4):
            phase = rng.uniform(0, 2 * np.pi, 3)
            strength = rng.normal(0, 1 / (1 + fx + fy), 3)
            waves += strength * np.cos(2 * np.pi * (fx * x + fy * y)[..., None] + phase)
    low, high = waves.min((0, 1)), waves.max((0, 1))
    return np.round((waves - low) / (high - low) * 255).astype(np.uint8)


def find(graph):
    """The pooling node (the last that can be one), the head node after it (or none), and the logits' tensor."""
    nodes = list(graph.node)
    at = max(i for i, node in enumerate(nodes) if node.op_type in POOLING)
    head = next((node for node in nodes[at:] if node.op_type in HEADS), None)
    softmax = next((node for node in nodes if node.op_type == "Softmax"), None)
    return nodes[at], head, softmax.input[0] if softmax else graph.output[0].name


def run(model, tensors, value):
    """The values of `tensors`. Quantized networks run unoptimised: in float, with every rounding that the graph asks for."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if is_quantized(model):
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: value})


def is_quantized(model):
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def tensor_values(graph):
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values |= {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in graph.node if node.op_type == "Constant"}
    return values


def scale_of(graph, tensor):
    """The quantization step of what a DequantizeLinear writes; nothing for any other tensor."""
    node = next(node for node in graph.node if tensor in node.output)
    return float(tensor_values(graph)[node.input[1]]) if node.op_type == "DequantizeLinear" else None


def head_weights(model, head, value):
    """[classes, C], whatever the layout in the graph."""
    constants = tensor_values(model.graph)
    name = head.input[1]
    weights = constants[name] if name in constants else run(model, [name], value)[0]
    if head.op_type == "Conv":
        return weights.reshape(weights.shape[:2])
    transposed = any(a.name == "transB" and a.i == 1 for a in head.attribute)
    return weights if transposed else weights.T


def channel_values(text):
    values = [float(value) for value in text.split(",")]
    return values * 3 if len(values) == 1 else values


def record(name, model, size=None):
    """Write the recordings of `model`; what `expected.json` says about it."""
    graph = model.graph
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    dims = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    layout = metadata.get("layout", "NCHW")
    if size is None:
        size = tuple(dims[2:4] if layout == "NCHW" else dims[1:3])
    mean, std = channel_values(metadata.get("mean", "127")), channel_values(metadata.get("std", "128"))
    pixels = picture(size, sum(name.encode()))
    value = ((pixels.astype(np.float32) - np.float32(mean)) / np.float32(std))[None]
    value = np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if layout == "NCHW" else value

    pool, head, logits_name = find(graph)
    features, logits = run(model, [pool.input[0], logits_name], value)
    features, logits = features[0], logits[0]
    weights = head_weights(model, head, value) if head else None
    cams = np.einsum("ck,khw->chw", weights.astype(np.float64), features.astype(np.float64)) if head else features
    assert features.std() > 0.1 and np.abs(features).max() < 100, f"{name}: features are dead or explode"
    assert (features.std((1, 2)) > 0).mean() > 0.7, f"{name}: too many units are constant"
    assert (cams.max((1, 2)) > 0).mean() >= 0.5 and cams.std() > 0.1, f"{name}: too many empty maps"

    recordings = {"input": pixels, "features": features, "logits": logits, "cams": cams.astype(np.float32)}
    if head:
        recordings["weights"] = weights
    for kind, array in recordings.items():
        np.save(HERE / f"{name}-{kind}.npy", np.ascontiguousarray(array))

    step = {"features": scale_of(graph, pool.input[0]), "logits": scale_of(graph, logits_name)}
    tolerance = {kind: max(1e-4, step[kind] or 0) for kind in step}
    tolerance["cams"] = max(1e-4, (step["features"] or 0) * float(np.abs(weights).sum(1).max())) if head else tolerance["features"]
    producer = next(node for node in graph.node if pool.input[0] in node.output)
    return {
        "input": {"name": graph.input[0].name, "layout": layout, "height": size[0], "width": size[1], "free": 0 in dims},
        "metadata": sorted(metadata), "mean": mean, "std": std,
        "quantized": is_quantized(model),
        "pooling": POOLING[pool.op_type],
        "features": {"node": producer.name, "tensor": pool.input[0], "channels": features.shape[0],
                     "height": features.shape[1], "width": features.shape[2]},
        "pool": {"node": pool.name, "op": pool.op_type},
        "head": {"node": head.name, "op": head.op_type} if head else None,
        "softmax": logits_name != graph.output[0].name,
        "classes": len(logits),
        "tolerance": {kind: round(value, 6) for kind, value in tolerance.items()},
    }


def main():
    from accepted import ACCEPTED, RECORDED_SIZE
    from refused import REFUSED

    expected = {"accepted": {}, "refused": {}}
    for name, build in ACCEPTED.items():
        model = build()
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, HERE / f"{name}.onnx")
        expected["accepted"][name] = record(name, model, RECORDED_SIZE.get(name))
        print(f"{name}: {model.ByteSize()} bytes")
    for name, build in REFUSED.items():
        model, keyword = build()
        if name != "refuse-external-data":  # the checker looks for the file
            onnx.checker.check_model(model, full_check=True)
        (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
        expected["refused"][name] = {"error_contains": keyword}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
