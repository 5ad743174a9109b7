"""The networks that camlive must load. Each function returns a model; its name is the file's stem."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

import bodies
import edits
from pictures import calibration_pictures

CLASSES = 10
LABELS = ["tabby cat", "kit fox", "red fox", "goldfish", "crane (bird)", "crane (machine)", "coffee mug", "acoustic guitar",
          "umbrella", "bicycle-built-for-two, tandem"]
WORDNET_IDS = [f"n{number:08}" for number in
               [2123045, 2119789, 2119022, 1443537, 2012849, 3126707, 3063599, 2676566, 4507155, 2835271]]


def settled(seed, size, build):
    torch.manual_seed(seed)
    return bodies.settle(build(), torch.from_numpy(calibration_pictures(size)))


def describe(model, **properties):
    helper.set_model_props(model, properties)


class Mean(nn.Module):
    def __init__(self, axes, keepdim=False):
        super().__init__()
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x):
        return x.mean(self.axes, keepdim=self.keepdim)


def alexnet_gap():
    """ReduceMean with negative axes in an attribute, keepdims 0; Gemm. All metadata, one mean and std a channel."""
    net = settled(1, (96, 96), lambda: bodies.Classifier(bodies.alexnet(), 32, CLASSES, Mean((-2, -1))))
    model = edits.export(net, (96, 96), 13, "torchscript")
    describe(model, mean="123.675,116.28,103.53", std="58.395,57.12,57.375", color="RGB", layout="NCHW",
             labels="\n".join(LABELS), wordnet_ids="\n".join(WORDNET_IDS))
    return model


def vgg16_gap():
    """GlobalAveragePool, Flatten, Dropout, Gemm, Softmax. No metadata."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = settled(2, (64, 64), lambda: bodies.Classifier(bodies.vgg16(), 24, CLASSES, pool))
    model = edits.export(nn.Sequential(net, nn.Softmax(1)), (64, 64), 17, "torchscript")
    edits.insert(model, "Gemm", "Dropout")
    return model


def googlenet_gap():
    """ReduceMean with axes as an input, keepdims 1; Reshape; Gemm. Labels only."""
    pool = nn.Sequential(Mean((-1, -2), keepdim=True), nn.Flatten())
    net = settled(3, (96, 96), lambda: bodies.Classifier(bodies.googlenet(), 32, CLASSES, pool))
    model = edits.export(net, (96, 96), 18, "dynamo")
    describe(model, labels="\n".join(LABELS))
    return model


def googlenet_gmp():
    """GlobalMaxPool, Reshape to [0, -1] by a Constant node, Gemm with transB 0."""
    model = edits.export(settled(4, (64, 64), bodies.googlenet), (64, 64), 13, "torchscript")
    weights, bias = edits.random_head(32, CLASSES, 4)
    shape = onnx.numpy_helper.from_array(np.array([0, -1], np.int64))
    edits.extend(model, [
        helper.make_node("GlobalMaxPool", ["features"], ["pooled"], "pool"),
        helper.make_node("Constant", [], ["flat_shape"], "flat_shape", value=shape),
        helper.make_node("Reshape", ["pooled", "flat_shape"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["output"], "fc"),
    ], {"fc.weight": np.ascontiguousarray(weights.T), "fc.bias": bias}, [1, CLASSES])
    return model


def squeezenet():
    """Convolution, Relu, GlobalAveragePool, Flatten, Softmax: the last feature maps are the CAMs."""
    net = settled(5, (64, 64), lambda: bodies.SqueezeNet(CLASSES))
    model = edits.export(net, (64, 64), 12, "torchscript")
    describe(model, mean="127,127,127", std="128,128,128", color="RGB", layout="NCHW", labels="\n".join(LABELS))
    return model


def nin():
    """Plain convolution, AveragePool over the whole map, Squeeze by an attribute, Softmax.
    Opset 11, weights in Constant nodes, nodes without names."""
    model = edits.export(settled(6, (64, 64), lambda: bodies.nin(CLASSES)), (64, 64), 11, "torchscript")
    edits.extend(model, [
        helper.make_node("AveragePool", ["features"], ["pooled"], kernel_shape=[8, 8], strides=[1, 1]),
        helper.make_node("Squeeze", ["pooled"], ["logits"], axes=[2, 3]),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ], {}, [1, CLASSES])
    edits.initializers_to_constants(model)
    for node in model.graph.node:
        node.ClearField("name")
    return model


def resnet_classifier():
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return settled(7, (64, 64), lambda: bodies.Classifier(bodies.resnet(), 24, CLASSES, pool))


def resnet():
    """Residual Add, BatchNormalization folded by the exporter; GlobalAveragePool, Flatten, Gemm."""
    model = edits.export(resnet_classifier(), (64, 64), 17, "torchscript")
    describe(model, mean="127,127,127", std="128,128,128", color="RGB", layout="NCHW", labels="\n".join(LABELS),
             wordnet_ids="\n".join(WORDNET_IDS))
    return model


def mobilenetv2_classifier():
    return settled(8, (64, 64), lambda: bodies.Classifier(bodies.mobilenetv2(), 32, CLASSES, Mean((2, 3))))


def mobilenetv2():
    """Depthwise convolutions, ReLU6 as Clip; ReduceMean with axes as an input, keepdims 0; Dropout; Gemm."""
    model = edits.export(mobilenetv2_classifier(), (64, 64), 18, "dynamo")
    edits.insert(model, "Gemm", "Dropout")
    return model


def keras_style():
    """[N, H, W, C] input, Transpose, ReduceMean by attribute, MatMul + Add, Softmax; TensorFlow's names."""
    model = edits.export(settled(9, (64, 64), bodies.mobilenetv2), (64, 64), 13, "torchscript")
    weights, bias = edits.random_head(32, CLASSES, 9)
    edits.extend(model, [
        helper.make_node("ReduceMean", ["features"], ["pooled"], "global_average_pooling2d/Mean", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["pooled", "dense/MatMul"], ["product"], "dense/MatMul"),
        helper.make_node("Add", ["product", "dense/BiasAdd"], ["logits"], "dense/BiasAdd"),
        helper.make_node("Softmax", ["logits"], ["output"], "dense/Softmax", axis=1),
    ], {"dense/MatMul": np.ascontiguousarray(weights.T), "dense/BiasAdd": bias}, [1, CLASSES])
    edits.channels_last_input(model)
    edits.rename(model, "StatefulPartitionedCall/model", "input_1", "dense")
    describe(model, mean="127.5,127.5,127.5", std="127.5,127.5,127.5", color="RGB", layout="NHWC",
             labels="\n".join(LABELS))
    return model


def conv_head():
    """GlobalAveragePool, Identity, 1x1 Conv, Flatten, Identity."""
    model = edits.export(settled(10, (64, 64), bodies.resnet), (64, 64), 13, "torchscript")
    weights, bias = edits.random_head(24, CLASSES, 10)
    edits.extend(model, [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], "pool"),
        helper.make_node("Identity", ["pooled"], ["same"], "identity"),
        helper.make_node("Conv", ["same", "head.weight", "head.bias"], ["scores"], "head", kernel_shape=[1, 1]),
        helper.make_node("Flatten", ["scores"], ["flat"], "flatten", axis=1),
        helper.make_node("Identity", ["flat"], ["output"], "result"),
    ], {"head.weight": weights[:, :, None, None], "head.bias": bias}, [1, CLASSES])
    return model


def keras_conv_head():
    """[N, H, W, C] input, GlobalAveragePool, 1x1 Conv, Squeeze with axes as an input, Softmax, as Keras's MobileNet."""
    model = edits.export(settled(15, (64, 64), bodies.mobilenetv2), (64, 64), 13, "torchscript")
    weights, bias = edits.random_head(32, CLASSES, 15)
    edits.extend(model, [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], "global_average_pooling2d/Mean"),
        helper.make_node("Conv", ["pooled", "conv_preds/Conv2D", "conv_preds/BiasAdd"], ["scores"], "conv_preds/BiasAdd",
                         kernel_shape=[1, 1], strides=[1, 1], auto_pad="VALID"),
        helper.make_node("Squeeze", ["scores", "axes"], ["logits"], "reshape_2/Reshape"),
        helper.make_node("Softmax", ["logits"], ["output"], "predictions/Softmax"),
    ], {"conv_preds/Conv2D": weights[:, :, None, None], "conv_preds/BiasAdd": bias, "axes": np.array([2, 3], np.int64)},
        [1, CLASSES])
    edits.channels_last_input(model)
    edits.rename(model, "StatefulPartitionedCall/mobilenet", "input_1", "predictions")
    describe(model, layout="NHWC")
    return model


def densenet_style():
    """BatchNormalization that cannot be folded, Relu, AveragePool over the whole map, Reshape to [-1, C], Gemm with
    transB 1 and no bias."""
    model = edits.export(settled(11, (64, 64), bodies.densenet), (64, 64), 13, "torchscript")
    weights, _ = edits.random_head(24, CLASSES, 11)
    edits.extend(model, [
        helper.make_node("AveragePool", ["features"], ["pooled"], "pool", kernel_shape=[8, 8]),
        helper.make_node("Reshape", ["pooled", "flat_shape"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "classifier.weight"], ["output"], "classifier", transB=1),
    ], {"flat_shape": np.array([-1, 24], np.int64), "classifier.weight": weights}, [1, CLASSES])
    describe(model, mean="127,127,127", std="128,128,128", layout="NCHW", wordnet_ids="\n".join(WORDNET_IDS))
    return model


class Calibration(CalibrationDataReader):
    def __init__(self, size):
        self.pictures = iter(calibration_pictures(size))

    def get_next(self):
        picture = next(self.pictures, None)
        return None if picture is None else {"input": picture[None]}


def quantized(model, size, leave=(), options=None):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        quantize_static(source, target, Calibration(size), QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                        nodes_to_exclude=[node.name for node in model.graph.node if node.op_type in leave],
                        extra_options=options or {})
        return onnx.load(target)


def resnet_qdq():
    """Everything quantized, the head as well; scale 1/128 and zero point 127 make the input the pixel's byte."""
    pixel = {"scale": np.array(1 / 128, np.float32), "zero_point": np.array(127, np.uint8)}
    model = quantized(edits.export(resnet_classifier(), (64, 64), 17, "torchscript"), (64, 64),
                      options={"TensorQuantOverrides": {"input": [pixel]}})
    describe(model, mean="127,127,127", std="128,128,128", color="RGB", layout="NCHW", labels="\n".join(LABELS))
    return model


def mobilenetv2_qdq():
    """Quantized up to the feature maps; pooling and head stay float. The input's scale is what calibration found,
    and the only metadata is the quantizer's own, which says nothing about the picture."""
    return quantized(edits.export(mobilenetv2_classifier(), (64, 64), 17, "torchscript"), (64, 64),
                     leave=("ReduceMean", "GlobalAveragePool", "Gemm"))


class ViewFlat(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1)


def free_size():
    """Batch, height and width are free; the flattening shape is computed by Shape, Gather, Unsqueeze and Concat, as
    torchvision's `x.view(x.size(0), -1)` was exported for years."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ViewFlat())
    net = settled(14, (64, 96), lambda: bodies.Classifier(bodies.resnet(), 24, CLASSES, pool))
    return edits.export(net, (64, 96), 13, "torchscript", dynamic=True)


ACCEPTED = {
    "alexnet-gap": alexnet_gap, "vgg16-gap": vgg16_gap, "googlenet-gap": googlenet_gap, "googlenet-gmp": googlenet_gmp,
    "squeezenet": squeezenet, "nin": nin, "resnet": resnet, "mobilenetv2": mobilenetv2, "keras-style": keras_style,
    "conv-head": conv_head, "keras-conv-head": keras_conv_head, "densenet-style": densenet_style, "resnet-qdq": resnet_qdq,
    "mobilenetv2-qdq": mobilenetv2_qdq, "free-size": free_size,
}
# What a free input size is recorded at. Not square, so that a swapped height and width shows.
RECORDED_SIZE = {"free-size": (64, 96)}
