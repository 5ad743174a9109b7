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
`expected.json` says how each network is read, and what the error line for each refused one must contain. Its mean and
std are what the input was made with: (pixel - mean) / std; where the network has no such metadata, 127 and 128.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from accepted import ACCEPTED, RECORDED_SIZE
from pictures import picture
from refused import REFUSED

HERE = Path(__file__).parent
POOLING = {"GlobalAveragePool": "mean", "AveragePool": "mean", "ReduceMean": "mean", "GlobalMaxPool": "max"}
HEADS = ("Gemm", "MatMul", "Conv")


def find(graph):
    """The pooling node (the last that can be one), the head node after it (or none), and the logits' tensor."""
    nodes = list(graph.node)
    at = max(i for i, node in enumerate(nodes) if node.op_type in POOLING)
    head = next((node for node in nodes[at:] if node.op_type in HEADS), None)
    softmax = next((node for node in nodes if node.op_type == "Softmax"), None)
    return nodes[at], head, softmax.input[0] if softmax else graph.output[0].name


def run(model, tensors, value):
    """The values of `tensors`. Quantized networks run unoptimised: in float, with every rounding that the graph asks for.
    Optimised, ONNX Runtime's 8-bit kernels saturate on processors with AVX2 but no VNNI, and the result is another."""
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


def tolerances(graph, features_name, logits_name, weights):
    """How far another float evaluator may be off. In a quantized network a last digit can tip a value to the next
    quantization step, so that one step (and a little, for its own last digits) is no error there; for a map, one step in every unit."""
    features = scale_of(graph, features_name) or 0
    logits = scale_of(graph, logits_name) or (features * np.abs(weights).max() if weights is not None else features)
    cams = features * (np.abs(weights).sum(1).max() if weights is not None else 1)
    return {kind: round(max(1e-4, 1.01 * float(value)), 6) for kind, value in
            [("features", features), ("logits", logits), ("cams", cams)]}


def record(name, model, size=None):
    """Write the recordings of `model`; what `expected.json` says about it."""
    graph = model.graph
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    dims = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    layout = metadata.get("layout", "NCHW")
    if size is None:
        size = tuple(dims[2:4] if layout == "NCHW" else dims[1:3])
    mean, std = ([float(v) for v in metadata.get(key, default).split(",")]
                 for key, default in [("mean", "127,127,127"), ("std", "128,128,128")])
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
        "tolerance": tolerances(graph, pool.input[0], logits_name, weights),
    }


def main():
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
