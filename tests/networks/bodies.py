"""Narrow versions of well-known classifiers, with random weights that keep their activations alive.

Every body takes [N, 3, H, W] and returns feature maps; `Classifier` puts global pooling and a linear layer on top.
"""

import torch
from torch import nn
from torch.nn import functional as F


def conv_relu(inputs, units, kernel, stride=1, padding=0):
    return nn.Sequential(nn.Conv2d(inputs, units, kernel, stride, padding), nn.ReLU())


def alexnet():
    """AlexNet without its last pooling, plus the 3x3 convolution of sec. 2 of the paper."""
    return nn.Sequential(
        conv_relu(3, 8, 11, 4, 2), nn.MaxPool2d(3, 2),
        conv_relu(8, 16, 5, padding=2), nn.MaxPool2d(3, 2),
        conv_relu(16, 20, 3, padding=1), conv_relu(20, 16, 3, padding=1), conv_relu(16, 16, 3, padding=1),
        conv_relu(16, 32, 3, padding=1))


def vgg16():
    """VGG-16 without its last pooling, plus the 3x3 convolution of the paper."""
    layers, inputs = [], 3
    for units in [4, 4, "pool", 6, 6, "pool", 8, 8, 8, "pool", 12, 12, 12, "pool", 12, 12, 12, 24]:
        if units == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(conv_relu(inputs, units, 3, padding=1))
            inputs = units
    return nn.Sequential(*layers)


class Inception(nn.Module):
    def __init__(self, inputs, units):
        super().__init__()
        self.one = conv_relu(inputs, units, 1)
        self.three = nn.Sequential(conv_relu(inputs, units, 1), conv_relu(units, 2 * units, 3, padding=1))
        self.five = nn.Sequential(conv_relu(inputs, units // 2, 1), conv_relu(units // 2, units, 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_relu(inputs, units, 1))

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def googlenet():
    """GoogLeNet up to inception4e, plus the 3x3 convolution of the paper."""
    return nn.Sequential(
        conv_relu(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True),
        conv_relu(8, 8, 1), conv_relu(8, 12, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True),
        Inception(12, 4), nn.MaxPool2d(3, 2, ceil_mode=True), Inception(20, 6),
        conv_relu(30, 32, 3, padding=1))


class Fire(nn.Module):
    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.squeeze = conv_relu(inputs, squeeze, 1)
        self.expand1x1 = conv_relu(squeeze, expand, 1)
        self.expand3x3 = conv_relu(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1)


class SqueezeNet(nn.Module):
    """One unit a class: the rectified maps of the last convolution are averaged straight into scores."""

    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            conv_relu(3, 12, 3, 2), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(12, 4, 8), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 4, 12), Fire(24, 6, 16))
        self.classifier = conv_relu(32, classes, 1)

    def forward(self, x):
        x = self.classifier(self.features(x))
        return F.softmax(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1), 1)


def nin(classes):
    """Network in network: a 1x1 convolution without ReLU makes one map a class."""
    return nn.Sequential(
        conv_relu(3, 12, 5, 2, 2), conv_relu(12, 12, 1), nn.MaxPool2d(3, 2, 1),
        conv_relu(12, 16, 3, padding=1), conv_relu(16, 16, 1), nn.MaxPool2d(3, 2, 1),
        conv_relu(16, 24, 3, padding=1), conv_relu(24, 24, 1), nn.Conv2d(24, classes, 1))


def conv_bn(inputs, units, kernel, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(inputs, units, kernel, stride, kernel // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(units))


class BasicBlock(nn.Module):
    def __init__(self, inputs, units, stride):
        super().__init__()
        self.a, self.b = conv_bn(inputs, units, 3, stride), conv_bn(units, units, 3)
        self.downsample = conv_bn(inputs, units, 1, stride) if stride != 1 or inputs != units else nn.Identity()

    def forward(self, x):
        return F.relu(self.b(F.relu(self.a(x))) + self.downsample(x))


def resnet():
    return nn.Sequential(conv_bn(3, 8, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                         BasicBlock(8, 8, 1), BasicBlock(8, 12, 2), BasicBlock(12, 24, 2))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, units, stride):
        super().__init__()
        hidden = 4 * inputs
        self.residual = stride == 1 and inputs == units
        self.conv = nn.Sequential(conv_bn(inputs, hidden, 1), nn.ReLU6(),
                                  conv_bn(hidden, hidden, 3, stride, hidden), nn.ReLU6(),
                                  conv_bn(hidden, units, 1))

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


def mobilenetv2():
    return nn.Sequential(conv_bn(3, 8, 3, 2), nn.ReLU6(),
                         InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2), InvertedResidual(12, 12, 1),
                         InvertedResidual(12, 16, 2), conv_bn(16, 32, 1), nn.ReLU6())


class DenseLayer(nn.Module):
    """Pre-activation: this BatchNormalization follows a Concat, so that no exporter can fold it."""

    def __init__(self, inputs, growth):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def densenet():
    return nn.Sequential(conv_bn(3, 12, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                         DenseLayer(12, 6), DenseLayer(18, 6),
                         nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 12, 1, bias=False), nn.AvgPool2d(2),
                         DenseLayer(12, 6), DenseLayer(18, 6), nn.BatchNorm2d(24), nn.ReLU())


class Classifier(nn.Module):
    def __init__(self, body, channels, classes, pool):
        super().__init__()
        self.features, self.pool, self.classifier = body, pool, nn.Linear(channels, classes)

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)))


def settle(module, pictures):
    """Scale every unit to mean 0..1 and deviation 1 over `pictures`, so that no random layer dies or explodes."""
    def settle_conv(conv, _, output):
        mean, deviation = output.mean((0, 2, 3)), output.std((0, 2, 3)) + 1e-3
        shift = torch.rand_like(mean) * 0.6
        old_bias = conv.bias.data.clone()
        conv.weight.data /= deviation[:, None, None, None]
        conv.bias.data = (old_bias - mean) / deviation + shift
        return (output - mean[:, None, None]) / deviation[:, None, None] + shift[:, None, None]

    hooks = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            hooks.append(layer.register_forward_hook(settle_conv))
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            nn.init.uniform_(layer.weight, 0.6, 1.4)
            nn.init.uniform_(layer.bias, 0.0, 0.6)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3)
    with torch.no_grad():
        module.train()(pictures)
    for hook in hooks:
        hook.remove()
    return module.eval()
