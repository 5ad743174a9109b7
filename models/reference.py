"""What camlive computes from a network, written a second time in plain numpy: the reference that it is compared with."""

import numpy as np
import onnxruntime
from onnx import numpy_helper
from PIL import Image
from skimage.measure import label, regionprops

SIZE = 224


def network_input(path):
    """The photograph as u8 [SIZE, SIZE, 3], stretched by an antialiased bilinear filter (Pillow widens it to the source's pixels)."""
    return np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def normalize(pixels):
    """u8 [H, W, 3] -> what the network takes, float32 [1, 3, H, W]."""
    return ((pixels.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]


def session(model, optimise=True):
    """`optimise=False` leaves quantize/dequantize pairs as they are, so that every operator computes in float."""
    options = onnxruntime.SessionOptions()
    # On x86 without VNNI, ONNX Runtime's u8 x s8 products saturate at 16 bits. This makes them exact, as they are elsewhere.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def head_weights(model):
    """The weights [classes, units] of the last Gemm of an onnx.ModelProto, dequantized where they are quantized."""
    tensors = {t.name: t for t in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    gemm = [node for node in model.graph.node if node.op_type == "Gemm"][-1]
    if gemm.input[1] in tensors:
        return numpy_helper.to_array(tensors[gemm.input[1]])
    quantized, scale, zero_point = (numpy_helper.to_array(tensors[name]) for name in made_by[gemm.input[1]].input)
    assert not zero_point.any()
    return quantized.astype(np.float32) * scale[:, None]


def softmax(logits):
    e = np.exp(logits.astype(np.float64) - logits.max())
    return e / e.sum()


def cam(features, weights, index):
    """Equation 2 of the paper, without the bias: features [units, h, w] -> float32 [h, w]."""
    return np.tensordot(weights[index], features, axes=1).astype(np.float32)


def upsample(cam, size):
    """Bilinear with half-pixel centres, clamped at the edge: [h, w] -> [size, size]."""

    def rows(n):
        at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        low = np.minimum(at.astype(int), n - 2)
        matrix = np.zeros((size, n))
        matrix[np.arange(size), low] = 1 - (at - low)
        matrix[np.arange(size), low + 1] = at - low
        return matrix

    return rows(cam.shape[0]) @ cam @ rows(cam.shape[1]).T


def box(cam, width, height, threshold=0.2):
    """The bounding box (x0, y0, x1, y1), half-open, in a photograph of width x height, of the largest 8-connected
    component at or above threshold * max; None where no value is positive."""
    up = upsample(cam, SIZE)
    if up.max() <= 0:
        return None
    components = regionprops(label(up >= threshold * up.max(), connectivity=2))
    y0, x0, y1, x1 = max(components, key=lambda c: c.area).bbox
    # Whole numbers before the division: an edge that falls on a pixel's edge must not be rounded past it.
    return [x0 * width // SIZE, y0 * height // SIZE, -(-x1 * width // SIZE), -(-y1 * height // SIZE)]


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    area = lambda r: (r[2] - r[0]) * (r[3] - r[1])
    return both / (area(a) + area(b) - both)
