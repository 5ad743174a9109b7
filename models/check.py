"""Measures networks with ONNX Runtime on a labelled folder: classification, and the boxes of class activation maps.

The folder is laid out as wsolevaluation's metadata: image_ids.txt, class_labels.txt, image_sizes.txt, localization.txt.
"""

import argparse
import collections
import pathlib

import numpy as np
import onnx

import reference


def rows(path):
    return [line.split(",") for line in path.read_text().split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("networks", type=pathlib.Path, nargs="+")
    options = parser.parse_args()

    labels = {image: int(index) for image, index in rows(options.dataset / "class_labels.txt")}
    sizes = {image: (int(w), int(h)) for image, w, h in rows(options.dataset / "image_sizes.txt")}
    boxes = collections.defaultdict(list)
    for image, *box in rows(options.dataset / "localization.txt"):
        boxes[image].append([int(edge) for edge in box])
    images = [image for (image,) in rows(options.dataset / "image_ids.txt")]

    for network in options.networks:
        session, weights = reference.session(network), reference.head_weights(onnx.load(network))
        top1 = top5 = gt_known = 0
        for image in images:
            pixels = reference.network_input(options.dataset / image)
            logits, features = session.run(["logits", "features"], {"image": reference.normalize(pixels)})
            best = np.argsort(-logits[0], kind="stable")[:5]
            top1 += labels[image] == best[0]
            top5 += labels[image] in best
            box = reference.box(reference.cam(features[0], weights, labels[image]), *sizes[image])
            gt_known += box is not None and max(reference.iou(box, truth) for truth in boxes[image]) >= 0.5
        percent = lambda n: f"{n}/{len(images)} = {100 * n / len(images):.1f} %"
        print(f"{network.name}: top-1 {percent(top1)}, top-5 {percent(top5)}, GT-known localization {percent(gt_known)}")


if __name__ == "__main__":
    main()
