"""Records what ONNX Runtime computes for the demo photographs with the shipped network, for the tests to compare with.

    python tests/recorded/record.py        (with models/requirements.txt installed)

`int8` is optimised ONNX Runtime, which computes in integers. `float` is the same network with optimisation off: there the
quantize/dequantize pairs stay, and every operator between them computes in float.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from PIL import Image

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "models"))
import reference  # noqa: E402

MODEL = ROOT / "models/efficientnet-lite0-int8.onnx"
DEMO = ROOT / "src/source/demo"
# The boxes of src/source/demo/README.md.
TRUTH = {"chelsea": [0, 0, 402, 300], "coffee": [76, 18, 480, 389]}


def main():
    model = onnx.load(MODEL)
    labels = {p.key: p.value for p in model.metadata_props}["labels"].split("\n")
    weights = reference.head_weights(model)
    expected = {}
    for photo, truth in TRUTH.items():
        path = DEMO / f"{photo}.jpg"
        size = Image.open(path).size
        pixels = reference.network_input(path)
        expected[photo] = {"size": size, "truth": truth}
        for kind in ("int8", "float"):
            session = reference.session(MODEL, optimise=kind == "int8")
            logits, features = (out[0] for out in session.run(["logits", "features"], {"image": reference.normalize(pixels)}))
            top1 = int(logits.argmax())
            cam = reference.cam(features, weights, top1)
            box = reference.box(cam, *size)
            for name, array in (("input", pixels), ("logits", logits), ("features", features), ("cam", cam)):
                np.save(HERE / f"{photo}-{kind}-{name}.npy", np.ascontiguousarray(array))
            expected[photo][kind] = {
                "top1": top1, "label": labels[top1], "score": round(float(reference.softmax(logits)[top1]), 6),
                "box": box, "iou": round(reference.iou(box, truth), 4)}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
