"""Edits of ONNX graphs: the habits of exporters that PyTorch does not have."""

import io
import logging
import warnings

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper


def export(module, size, opset, exporter, dynamic=False):
    """`exporter` is "torchscript" (the one before PyTorch 2.9) or "dynamo" (the one since)."""
    picture = torch.zeros(2 if dynamic else 1, 3, *size)
    axes = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        if exporter == "torchscript":
            buffer = io.BytesIO()
            torch.onnx.export(module, (picture,), buffer, dynamo=False, opset_version=opset, input_names=["input"],
                              output_names=["output"],
                              dynamic_axes={"input": axes, "output": {0: "batch"}} if dynamic else None)
            model = onnx.load_from_string(buffer.getvalue())
        else:
            program = torch.onnx.export(module, (picture,), dynamo=True, opset_version=opset, verbose=False,
                                        input_names=["input"], output_names=["output"])
            model = program.model_proto
        logging.disable(logging.NOTSET)
    forget_origin(model)
    return model


def forget_origin(model):
    """Drop what exporters note about the machine they ran on: stack traces with file names."""
    for holder in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer,
                   *model.graph.input, *model.graph.output]:
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")
    model.ClearField("metadata_props")


def extend(model, nodes, initializers, output_shape):
    """Append `nodes`; the first reads the tensor "features", the last writes "output"."""
    graph = model.graph
    old = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["features" if name == old else name for name in node.output]
        node.input[:] = ["features" if name == old else name for name in node.input]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in initializers.items())
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, output_shape))


def insert(model, before, op_type, **attributes):
    """Put a node of one input and one output on the first input of the first node of type `before`."""
    graph = model.graph
    at, node = next((i, n) for i, n in enumerate(graph.node) if n.op_type == before)
    new = helper.make_node(op_type, [node.input[0]], [f"{node.name}/{op_type}_output"], f"{node.name}/{op_type}",
                           **attributes)
    node.input[0] = new.output[0]
    graph.node.insert(at, new)


def initializers_to_constants(model):
    nodes = [helper.make_node("Constant", [], [tensor.name], f"Constant_{i}", value=tensor)
             for i, tensor in enumerate(model.graph.initializer)]
    for node in nodes:
        node.attribute[0].t.ClearField("name")
    del model.graph.initializer[:]
    old = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + old)


def channels_last_input(model):
    """What tf2onnx leaves of a Keras model: [N, H, W, C] in, one Transpose, channels first from there on."""
    graph = model.graph
    name = graph.input[0].name
    _, channels, height, width = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    for node in graph.node:
        node.input[:] = ["transposed" if n == name else n for n in node.input]
    graph.node.insert(0, helper.make_node("Transpose", [name], ["transposed"], "transpose", perm=[0, 3, 1, 2]))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, height, width, channels]))


def rename(model, prefix, input_name, output_name):
    """Names as TensorFlow gives them: nodes under `prefix`, tensors named after their node with `:0`."""
    graph, names = model.graph, {}
    names[graph.input[0].name], names[graph.output[0].name] = input_name, output_name
    for i, node in enumerate(graph.node):
        node.name = f"{prefix}/{node.name.strip('/') or f'{node.op_type}_{i}'}"
        for output in node.output:
            names.setdefault(output, f"{node.name}:0")
    for tensor in graph.initializer:
        names.setdefault(tensor.name, f"{prefix}/{tensor.name}/ReadVariableOp:0")
        tensor.name = names[tensor.name]
    for node in graph.node:
        node.input[:] = [names[n] if n else n for n in node.input]
        node.output[:] = [names[n] for n in node.output]
    graph.input[0].name, graph.output[0].name = input_name, output_name
    del graph.value_info[:]


def random_head(channels, classes, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.3, [classes, channels]).astype(np.float32),
            rng.normal(0, 0.3, [classes]).astype(np.float32))
