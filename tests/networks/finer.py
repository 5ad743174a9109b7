"""Record the class activation maps of PyTorch networks whose last stride was taken away, for `--mapping 2` and `4`.

    pip install -r requirements.txt && python finer.py

The networks are those of accepted.py, before they are exported; that they still are is checked against the recorded logits.
NAME-cams-2.npy and NAME-cams-4.npy are f32 [classes, h, w]: M_c = sum_k w_k^c f_k.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import accepted

HERE = Path(__file__).parent
NETWORKS = {"resnet": accepted.resnet_classifier, "mobilenetv2": accepted.mobilenetv2_classifier}


def finer(net, x):
    """Gives the convolutions that halve the last maps a stride of 1, and those after them twice the dilation."""
    sides = {}
    hooks = [module.register_forward_hook(lambda module, inputs, _: sides.update({module: inputs[0].shape[-1]}))
             for module in net.modules() if isinstance(module, (nn.Conv2d, nn.MaxPool2d))]
    features = net.features(x)
    for hook in hooks:
        hook.remove()
    last = features.shape[-1]
    for module, side in sides.items():
        if side == 2 * last and module.stride != (1, 1):
            assert isinstance(module, nn.Conv2d)
            module.stride = (1, 1)
        elif side == last and module.kernel_size != (1, 1):
            module.dilation = tuple(2 * d for d in module.dilation)
            module.padding = tuple(2 * p for p in module.padding)


def main():
    for name, build in NETWORKS.items():
        net = build().eval()
        pixels = np.load(HERE / f"{name}-input.npy")
        x = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None]
        with torch.no_grad():
            np.testing.assert_allclose(net(x)[0].numpy(), np.load(HERE / f"{name}-logits.npy"), rtol=1e-4, atol=1e-4)
            weights = net.classifier.weight.double()
            for times in (2, 4):
                finer(net, x)
                maps = torch.einsum("ck,khw->chw", weights, net.features(x)[0].double())
                np.save(HERE / f"{name}-cams-{times}.npy", np.ascontiguousarray(maps.float().numpy()))
                print(name, times, tuple(maps.shape))


if __name__ == "__main__":
    main()
