"""The networks to be quantized. Each function of BODIES returns a float model, each of SINGLE a quantized one."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.ao.quantization import FakeQuantize, MinMaxObserver, PerChannelMinMaxObserver, QConfig, QConfigMapping, disable_observer
from torch.ao.quantization.quantize_fx import fuse_fx, prepare_qat_fx

sys.path.append(str(Path(__file__).parent.parent / "networks"))
import bodies
import edits
from pictures import calibration_pictures

CLASSES, SIZE = 10, (64, 64)


def settled(seed, build):
    torch.manual_seed(seed)
    return bodies.settle(build(), torch.from_numpy(calibration_pictures(SIZE)))


def classifier(seed, body, channels):
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return settled(seed, lambda: bodies.Classifier(body(), channels, CLASSES, pool))


def export(module):
    return edits.export(module, SIZE, 17, "torchscript")


def squeezenet():
    """Fire modules; the maps of the last convolution, rectified, are averaged into scores."""
    return export(settled(21, lambda: bodies.SqueezeNet(CLASSES)))


def resnet():
    """Residual additions, with and without a convolution on the short way."""
    return export(classifier(22, bodies.resnet, 24))


def mobilenetv2():
    """Depthwise convolutions, ReLU6, residual additions without activation function."""
    return export(classifier(23, bodies.mobilenetv2, 32))


def googlenet_body():
    """Inception modules; maxima with and without rounding up, and averages whose padding counts and does not count."""
    return nn.Sequential(
        bodies.conv_relu(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True),
        bodies.conv_relu(8, 12, 3, padding=1), nn.MaxPool2d(3, 2, 1),
        bodies.Inception(12, 4), nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        bodies.Inception(20, 6), nn.AvgPool2d(2, 1, 1), bodies.conv_relu(30, 32, 3, padding=0))


def googlenet():
    return export(classifier(24, googlenet_body, 32))


BODIES = {"squeezenet": squeezenet, "resnet": resnet, "mobilenetv2": mobilenetv2, "googlenet": googlenet}


def resnet_pytorch():
    """As PyTorch's quantization-aware training is exported: QuantizeLinear and DequantizeLinear nodes on float weights,
    float biases, a Relu before its QuantizeLinear, an input of an addition quantized twice."""
    activations = FakeQuantize.with_args(observer=MinMaxObserver, dtype=torch.quint8, quant_min=0, quant_max=255)
    weights = FakeQuantize.with_args(observer=PerChannelMinMaxObserver, dtype=torch.qint8, quant_min=-128, quant_max=127,
                                     qscheme=torch.per_channel_symmetric)
    pictures = torch.from_numpy(calibration_pictures(SIZE))
    fused = fuse_fx(classifier(25, bodies.resnet, 24)).train()
    qconfig = QConfigMapping().set_global(QConfig(activation=activations, weight=weights))
    net = prepare_qat_fx(fused, qconfig, (pictures[:1],)).eval()
    with torch.no_grad():
        net(pictures)
    net.apply(disable_observer)
    return edits.export(net, SIZE, 13, "torchscript")


SINGLE = {"resnet-pytorch": resnet_pytorch}
