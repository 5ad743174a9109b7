"""Times camlive, OpenVINO and ONNX Runtime on the very same int8 network, taking turns, and prints the ratios.

Each runs the network, and nothing else, again and again on one picture.

    python peers.py [--camlive target/release/camlive] [--threads 1 2] [--mapping 1 2] [--rounds 7] [--seconds 2]

To hold all three to AVX2: CAMLIVE_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 (ONNX Runtime has no such switch).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time

import numpy as np
import onnx
import onnxruntime
import openvino

ROOT = pathlib.Path(__file__).parents[2]
MODEL = ROOT / "models/efficientnet-lite0-int8.onnx"
PICTURE = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224)).astype(np.float32) / 128 - 127 / 128


def mapped(model):
    """What camlive's `--mapping 2` does to this network: the last stride is 1, the kernels after it are dilated."""
    found = False
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    last = [any(a.name == "strides" and list(a.ints) == [2, 2] for a in node.attribute) for node in convolutions]
    for i, node in enumerate(convolutions):
        attributes = {a.name: a for a in node.attribute}
        if last[i] and not any(last[i + 1 :]):
            found = True
            size = attributes["kernel_shape"].ints[0]
            attributes["strides"].ints[:] = [1, 1]
            attributes["pads"].ints[:] = [size // 2] * 4
        elif found and list(attributes["kernel_shape"].ints) != [1, 1]:
            attributes["pads"].ints[:] = [2 * pad for pad in attributes["pads"].ints]
            node.attribute.append(onnx.helper.make_attribute("dilations", [2, 2]))
    return model


def of_openvino(model, threads):
    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    network = core.read_model(model)
    network.reshape([1, 3, 224, 224])
    request = core.compile_model(network, "CPU", options).create_infer_request()
    tensor = openvino.Tensor(np.ascontiguousarray(PICTURE))
    return lambda: request.infer([tensor], share_inputs=True, share_outputs=True)


def of_onnxruntime(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": PICTURE})


def median_ms(run, seconds):
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def of_camlive(program, threads, mapping, seconds):
    command = [program, "bench", "--network-only", "--json", "-"]
    command += ["--threads", str(threads), "--mapping", str(mapping), "--duration", str(seconds)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return report["network_ms"]["p50"], report["isa"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camlive", default=str(ROOT / "target/release/camlive"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--mapping", type=int, nargs="+", choices=[1, 2], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()

    for mapping in options.mapping:
        model = onnx.load(MODEL)
        model = (mapped(model) if mapping == 2 else model).SerializeToString()
        for threads in options.threads:
            openvino_run, onnxruntime_run = of_openvino(model, threads), of_onnxruntime(model, threads)
            rounds = []
            for _ in range(options.rounds):
                own, isa = of_camlive(options.camlive, threads, mapping, options.seconds)
                rounds.append((own, median_ms(openvino_run, options.seconds), median_ms(onnxruntime_run, options.seconds)))
            own, vino, ort = (statistics.median(column) for column in zip(*rounds))
            to_vino = statistics.median(a / b for a, b, _ in rounds)
            to_ort = statistics.median(a / c for a, _, c in rounds)
            print(
                f"map {7 * mapping}x{7 * mapping}, {threads} thread(s), {isa}: camlive {own:.2f} ms, "
                f"OpenVINO {vino:.2f} ms (ratio {to_vino:.2f}), ONNX Runtime {ort:.2f} ms (ratio {to_ort:.2f})"
            )


if __name__ == "__main__":
    main()
