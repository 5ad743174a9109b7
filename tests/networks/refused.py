"""Networks that camlive must refuse, each with what the error line must contain."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CHANNELS, CLASSES = 4, 10


def weights(**shapes):
    rng = np.random.default_rng(0)
    return [numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name.replace("__", "."))
            for name, shape in shapes.items()]


def model(nodes, initializers, inputs=None, outputs=None, opset=17):
    def infos(entries):
        return [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in entries]

    inputs = [("input", TensorProto.FLOAT, [1, 3, 32, 32])] if inputs is None else inputs
    outputs = [("output", TensorProto.FLOAT, [1, CLASSES])] if outputs is None else outputs
    graph = helper.make_graph(nodes, "main_graph", infos(inputs), infos(outputs), initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def body(source="input"):
    return [helper.make_node("Conv", [source, "conv.weight"], ["convolved"], "features/conv", kernel_shape=[3, 3],
                             strides=[4, 4], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["convolved"], ["maps"], "features/relu")]


def pooled_head():
    return [helper.make_node("GlobalAveragePool", ["maps"], ["pooled"], "pool"),
            helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
            helper.make_node("Gemm", ["flat", "fc.weight"], ["output"], "fc", transB=1)]


def body_weights():
    return weights(conv__weight=[CHANNELS, 3, 3, 3])


def head_weights():
    return weights(fc__weight=[CLASSES, CHANNELS])


def no_gap():
    """Flatten and a fully connected layer over all positions, like plain VGG."""
    return model(body() + [
        helper.make_node("Flatten", ["maps"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.weight"], ["output"], "fc", transB=1),
    ], body_weights() + weights(fc__weight=[CLASSES, CHANNELS * 64])), "features/relu"


def two_layer_head():
    """There is no one weight from a unit to a class."""
    return model(body() + [
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "hidden.weight"], ["hidden"], "head/hidden", transB=1),
        helper.make_node("Relu", ["hidden"], ["rectified"], "head/relu"),
        helper.make_node("Gemm", ["rectified", "fc.weight"], ["output"], "head/fc", transB=1),
    ], body_weights() + weights(hidden__weight=[8, CHANNELS], fc__weight=[CLASSES, 8])), "head/relu"


def transformer_ish():
    """The mean is over tokens of a rank-3 tensor, not over a map."""
    return model(body() + [
        helper.make_node("Reshape", ["maps", "token_shape"], ["rows"], "tokens/reshape"),
        helper.make_node("Transpose", ["rows"], ["tokens"], "tokens/transpose", perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["tokens", "norm.weight"], ["normed"], "tokens/norm", axis=-1),
        helper.make_node("ReduceMean", ["normed"], ["pooled"], "tokens/mean", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pooled", "fc.weight"], ["output"], "fc", transB=1),
    ], body_weights() + head_weights() + weights(norm__weight=[CHANNELS])
        + [numpy_helper.from_array(np.array([1, CHANNELS, 64], np.int64), "token_shape")]), "tokens/mean"


def external_data():
    """A weight that asks for a file outside the model's folder."""
    tensor = TensorProto(name="conv.weight", data_type=TensorProto.FLOAT, dims=[CHANNELS, 3, 3, 3],
                         data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model(body() + pooled_head(), [tensor] + head_weights()), "conv.weight"


def int_input():
    cast = helper.make_node("Cast", ["token_ids"], ["cast"], "cast", to=TensorProto.FLOAT)
    return model([cast] + body("cast") + pooled_head(), body_weights() + head_weights(),
                 inputs=[("token_ids", TensorProto.INT64, [1, 3, 32, 32])]), "token_ids"


def rank_2():
    return model([
        helper.make_node("Gemm", ["vector", "hidden.weight"], ["hidden"], "hidden", transB=1),
        helper.make_node("Relu", ["hidden"], ["rectified"], "relu"),
        helper.make_node("Gemm", ["rectified", "fc.weight"], ["output"], "fc", transB=1),
    ], weights(hidden__weight=[8, 12], fc__weight=[CLASSES, 8]),
        inputs=[("vector", TensorProto.FLOAT, [1, 12])]), "vector"


def two_inputs():
    """The second input weighs the units, so the picture alone does not decide the scores."""
    return model(body() + [
        helper.make_node("Mul", ["maps", "prompt"], ["weighed"], "weigh"),
        helper.make_node("GlobalAveragePool", ["weighed"], ["pooled"], "pool"),
        *pooled_head()[1:],
    ], body_weights() + head_weights(),
        inputs=[("input", TensorProto.FLOAT, [1, 3, 32, 32]), ("prompt", TensorProto.FLOAT, [1, CHANNELS, 1, 1])]), "prompt"


def no_output():
    return model(body() + pooled_head(), body_weights() + head_weights(), outputs=[]), "output"


def empty():
    return model([], [], inputs=[], outputs=[]), "output"


REFUSED = {
    "refuse-no-gap": no_gap, "refuse-two-layer-head": two_layer_head, "refuse-transformer-ish": transformer_ish,
    "refuse-external-data": external_data, "refuse-int-input": int_input, "refuse-rank-2": rank_2,
    "refuse-two-inputs": two_inputs, "refuse-no-output": no_output, "refuse-empty": empty,
}
