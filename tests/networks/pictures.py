"""Random pictures to calibrate and to record with."""

import numpy as np


def picture(size, seed):
    """u8 [H, W, 3] of low frequencies: cosine waves of up to three periods a side."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]), indexing="ij")
    waves = np.zeros([*size, 3])
    for fy in range(4):
        for fx in range(4):
            phase = rng.uniform(0, 2 * np.pi, 3)
            strength = rng.normal(0, 1 / (1 + fx + fy), 3)
            waves += strength * np.cos(2 * np.pi * (fx * x + fy * y)[..., None] + phase)
    low, high = waves.min((0, 1)), waves.max((0, 1))
    return np.round((waves - low) / (high - low) * 255).astype(np.uint8)


def calibration_pictures(size, count=16):
    """Network inputs [N, 3, H, W], mean 127 and deviation 128."""
    pixels = np.stack([picture(size, 1000 + i) for i in range(count)])
    return (pixels.transpose(0, 3, 1, 2).astype(np.float32) - 127) / 128
