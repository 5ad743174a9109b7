"""Build small quantized ONNX networks and record what ONNX Runtime computes with them.

    pip install -r requirements.txt && python make.py

The files it writes lie beside it and are checked in; run it again only to add a network. Seeds are fixed, yet another
version of PyTorch or another processor may give other last digits: commit networks and recordings together.

NAME is BODY-VARIANT-FORMAT, or the name of a single network. For every network, each .npy little-endian and in C order:
    NAME-features.npy  f32 [C, h, w]   the feature maps, before pooling
    NAME-logits.npy    f32 [classes]   before softmax
and for every body:
    BODY-input.npy     u8  [H, W, 3]   the picture, RGB; the networks take (pixel - 127) / 128

The recordings are those of optimised ONNX Runtime, where integers are summed exactly: its faster kernels for processors
with AVX2 but no VNNI saturate sums of two products to 16 bits.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from networks import BODIES, SINGLE

HERE = Path(__file__).parent
from pictures import calibration_pictures, picture  # networks.py has made tests/networks importable

SIZE = (64, 64)
U8, S8 = QuantType.QUInt8, QuantType.QInt8
# Activations, weights, a scale an output channel, zero points in the middle.
VARIANTS = {
    "u8": (U8, S8, True, False),
    "s8": (S8, S8, True, False),
    "per-tensor": (U8, S8, False, False),
    "symmetric": (S8, S8, True, True),
}
FORMATS = {"qdq": QuantFormat.QDQ, "qop": QuantFormat.QOperator}
POOLS = ("GlobalAveragePool", "QLinearGlobalAveragePool", "ReduceMean", "AveragePool", "QLinearAveragePool")
KEEPING = ("Flatten", "Reshape", "Squeeze", "DequantizeLinear", "QuantizeLinear", "Identity")


class Calibration(CalibrationDataReader):
    def __init__(self):
        self.pictures = iter(calibration_pictures(SIZE))

    def get_next(self):
        value = next(self.pictures, None)
        return None if value is None else {"input": value[None]}


def quantize(model, kind, form):
    activations, weights, per_channel, symmetric = VARIANTS[kind]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        quantize_static(source, target, Calibration(), FORMATS[form], per_channel=per_channel, activation_type=activations,
                        weight_type=weights, extra_options={"ActivationSymmetric": symmetric})
        return onnx.load(target)


def last_maps_and_logits(graph):
    """The tensors of the feature maps and the logits, as bytes where they are bytes."""
    producers = {name: node for node in graph.node for name in node.output}

    def back_to(name, wanted):
        """The node of a type of `wanted` before the tensor `name`, past what keeps numbers."""
        while name in producers and producers[name].op_type in KEEPING:
            name = producers[name].input[0]
        node = producers.get(name)
        return node if node is not None and node.op_type in wanted else None

    def as_bytes(name):
        node = producers.get(name)
        return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else name

    pool = [node for node in graph.node if node.op_type in POOLS][-1]
    softmax = back_to(graph.output[0].name, ("Softmax", "QLinearSoftmax"))
    return as_bytes(pool.input[0]), as_bytes(softmax.input[0] if softmax else graph.output[0].name)


def constants(graph):
    """The values of the tensors that do not depend on the picture."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    return values


def quantization_of(graph, name):
    """Scale and zero point of the bytes `name`: those of a node that reads them."""
    values = constants(graph)
    for node in graph.node:
        places = [i for i, tensor in enumerate(node.input) if tensor == name]
        if places and (node.op_type.startswith("Q") or node.op_type == "DequantizeLinear"):
            scale, zero_point = node.input[places[0] + 1:places[0] + 3]
            return values[scale], values[zero_point]
    raise KeyError(name)


# Where operators of bytes have the zero point of their output.
ZERO_POINT = {"QuantizeLinear": 2, "QLinearConcat": 1, "QLinearConv": 7, "QLinearAdd": 7, "QLinearMatMul": 7, "QGemm": 8,
              "QLinearGlobalAveragePool": 4, "QLinearAveragePool": 4, "QLinearSoftmax": 4}


def types_of(graph):
    """The type of every tensor of bytes."""
    of = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in constants(graph).items()}
    made = {}
    for node in graph.node:
        if node.op_type in ZERO_POINT:
            made[node.output[0]] = of[node.input[ZERO_POINT[node.op_type]]]
        elif node.input and node.input[0] in made and node.op_type != "DequantizeLinear":
            made[node.output[0]] = made[node.input[0]]
    return made


def folded(model):
    """A copy that ONNX Runtime can optimise: weights that nodes quantize are quantized, scales that are lists of one
    are numbers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    values = constants(graph)
    for node in list(graph.node):
        if node.op_type == "QuantizeLinear" and node.input[0] in values:
            weights, scale, zero_point = (values[name] for name in node.input)
            assert scale.size > 1 and not zero_point.any() and node.attribute[0].i == 0
            scale = scale.reshape(-1, *[1] * (weights.ndim - 1))
            bytes_ = np.clip(np.rint(weights / scale), -128, 127).astype(np.int8)
            graph.initializer.append(numpy_helper.from_array(bytes_, node.output[0]))
            reader = next(reader for reader in graph.node if node.output[0] in reader.input)
            reader.input[2] = f"{node.output[0]}/zero"
            graph.initializer.append(numpy_helper.from_array(zero_point, reader.input[2]))
            graph.node.remove(node)
    for tensor in graph.initializer:
        if tensor.dims == [1] and any(tensor.name in node.input[1:3] for node in graph.node if "Linear" in node.op_type):
            del tensor.dims[:]
    return copy


def unsigned(model):
    """The same network of QuantizeLinear and DequantizeLinear nodes with unsigned activations."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    values = constants(copy.graph)
    for node in copy.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] not in values:
            zero_point = (values[node.input[2]].astype(np.int32) + 128).astype(np.uint8)
            node.input[2] += f"/{node.output[0]}"
            copy.graph.initializer.append(numpy_helper.from_array(zero_point, node.input[2]))
    return copy


def run(model, tensors, value):
    """The values of `tensors`, dequantized where they are bytes."""
    copy = folded(model)
    types = types_of(copy.graph)
    del copy.graph.output[:]
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if TensorProto.INT8 in types.values():
        # Else it makes some of the signed activations unsigned, and runs what lies between the two kinds in f32.
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    else:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: value})
    for i, name in enumerate(tensors):
        if name in types:
            scale, zero_point = quantization_of(copy.graph, name)
            found[i] = scale * (found[i].astype(np.int32) - zero_point.astype(np.int32)).astype(np.float32)
    return found


def check_alive(name, model, others):
    """That features vary and logits differ, between places, units and pictures."""
    tensors = last_maps_and_logits(model.graph)
    features, logits = zip(*[run(model, tensors, value[None]) for value in others])
    features, logits = np.concatenate(features), np.concatenate([row.reshape(1, -1) for row in logits])
    low, high = features.min(), features.max()
    extreme = np.mean((features == low) | (features == high))
    assert features.std() > 0.1 and high < 100, f"{name}: features are dead or explode"
    assert (features.std((0, 2, 3)) > 0).mean() > 0.7, f"{name}: too many units are constant"
    assert extreme < 0.6, f"{name}: {extreme:.0%} of the features saturate"
    assert np.ptp(logits, 1).min() > 0.2, f"{name}: logits are all alike"
    assert logits.std(0).max() > 0.02, f"{name}: logits do not depend on the picture"


# ONNX Runtime's AveragePool adds the zero point before it rounds. A signed zero point is another number than the
# unsigned one and takes other bits with it, and where the scale stays the same many averages lie next to a tie: signed
# and unsigned networks differ by a step there. Recorded is what the network gives with unsigned activations.
RECORDED_UNSIGNED = ("googlenet-s8-qdq", "googlenet-symmetric-qdq")


def record(name, model, value):
    tensors = last_maps_and_logits(model.graph)
    features, logits = run(model, tensors, value)
    if name in RECORDED_UNSIGNED:
        signed, step = features, quantization_of(model.graph, tensors[0])[0]
        features, logits = run(unsigned(model), tensors, value)
        assert 0 < np.abs(signed - features).max() < 2.5 * step, f"{name}: no difference, or more than those of ties"
    assert features.shape[0] == 1 and features.ndim == 4 and features.dtype == np.float32
    np.save(HERE / f"{name}-features.npy", np.ascontiguousarray(features[0]))
    np.save(HERE / f"{name}-logits.npy", np.ascontiguousarray(logits.reshape(-1)))


def write(name, model, pixels):
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    value = ((pixels.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    check_alive(name, model, np.concatenate([calibration_pictures(SIZE, 3), value]))
    onnx.save(model, HERE / f"{name}.onnx")
    record(name, model, np.ascontiguousarray(value))
    assert model.ByteSize() < 150_000, name
    print(f"{name}: {model.ByteSize()} bytes")


def main(wanted):
    for body, build in BODIES.items():
        if wanted and body not in wanted:
            continue
        pixels = picture(SIZE, sum(body.encode()))
        np.save(HERE / f"{body}-input.npy", pixels)
        model = build()
        for kind in VARIANTS:
            for form in FORMATS:
                write(f"{body}-{kind}-{form}", quantize(model, kind, form), pixels)
    for name, build in SINGLE.items():
        if wanted and name not in wanted:
            continue
        pixels = picture(SIZE, sum(name.encode()))
        np.save(HERE / f"{name}-input.npy", pixels)
        write(name, build(), pixels)


if __name__ == "__main__":
    main(sys.argv[1:])
