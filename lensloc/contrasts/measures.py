"""What pictures, sounds and arrays may differ in beside what they are about."""

import numpy as np
from jaxtyping import Float, Shaped

UNITS = {
    "size": "numbers",
    "pixels": "pixels",
    "frequency": "cycles per picture",
    "seconds": "seconds",
    "samples": "samples",
}
"""Measure -> unit of its numbers; the others have none."""


def of_picture(pixels: Shaped[np.ndarray, "height width *colour"]) -> dict[str, float]:
    """Measure a picture of whole numbers 0 to 255.

    - ``luminance``: mean of its grey values, 0 to 1 (ITU-R 601 weights of the colours);
    - ``contrast``: their standard deviation (root mean square contrast);
    - ``pixels``: height times width;
    - ``frequency``: mean spatial frequency in cycles per picture, weighted by power: of its grey
      values without their mean, under a Hann window. A picture that is larger than 256 pixels is
      first reduced by averaging.

    Example:
        >>> flat = np.full((8, 8), 255, dtype=np.uint8)
        >>> of_picture(flat)
        {'luminance': 1.0, 'contrast': 0.0, 'pixels': 64.0, 'frequency': 0.0}
    """
    grey = pixels.astype(np.float64) / 255
    if grey.ndim == 3:
        grey = grey @ np.array([0.299, 0.587, 0.114]) if grey.shape[2] == 3 else grey[..., 0]
    return {
        "luminance": float(grey.mean()),
        "contrast": float(grey.std()),
        "pixels": float(grey.size),
        "frequency": _mean_frequency(_reduced(grey)),
    }


def of_sound(samples: Float[np.ndarray, "*samples"], rate: int | None) -> dict[str, float]:
    """Measure a sound: how long it lasts, and its loudness (root mean square).

    Example:
        >>> of_sound(np.array([1.0, -1.0, 1.0, -1.0]), 2)
        {'seconds': 2.0, 'loudness': 1.0}
    """
    length = float(max(samples.shape, default=0))
    loudness = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    if rate is None:
        return {"samples": length, "loudness": loudness}
    return {"seconds": length / rate, "loudness": loudness}


def of_array(values: Shaped[np.ndarray, "*axes"]) -> dict[str, float]:
    """Measure an array: how many numbers it holds, their mean and their standard deviation.

    Example:
        >>> of_array(np.array([[1, 3]]))
        {'size': 2.0, 'mean': 2.0, 'spread': 1.0}
    """
    numbers = values.astype(np.float64)
    return {
        "size": float(numbers.size),
        "mean": float(numbers.mean()),
        "spread": float(numbers.std()),
    }


def _reduced(
    grey: Float[np.ndarray, "height width"], most: int = 256
) -> Float[np.ndarray, "rows columns"]:
    step = -(-max(grey.shape) // most)
    if step == 1 or min(grey.shape) < step:
        return grey
    height, width = (size // step * step for size in grey.shape)
    blocks = grey[:height, :width].reshape(height // step, step, width // step, step)
    found: Float[np.ndarray, "rows columns"] = blocks.mean(axis=(1, 3))
    return found


def _mean_frequency(grey: Float[np.ndarray, "height width"]) -> float:
    height, width = grey.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    # Without the mean under the window, which would count as a frequency of its own.
    centred = (grey - (grey * window).sum() / window.sum()) * window
    power = np.abs(np.fft.fft2(centred)) ** 2
    power[0, 0] = 0.0
    total = power.sum()
    if total <= 1e-20 * grey.size:
        return 0.0
    down = np.fft.fftfreq(height) * height
    across = np.fft.fftfreq(width) * width
    return float((np.hypot(down[:, None], across) * power).sum() / total)
