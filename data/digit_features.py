"""A small classifier of 8 x 8 digits, whose inner features are where sets of digits are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from moldiff.errors import MoldiffError

from .pixels import Image

Floats = NDArray[np.float64]

SHAPE = (8, 8)
"""Height and width of the images that it knows."""

WEIGHTS = Path(__file__).with_name("digits.safetensors")
"""What benchmarks/digit_features.py has trained."""


@final
@dataclass(frozen=True, eq=False)
class DigitClassifier:
    """Layers of a perceptron on grey values brought to 0..1, with max(0, .) between them.

    Args:
        weights: of each layer, (in, out); the first takes 64 pixels, the last gives a score a class.
        biases: of each layer, (out,).
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """The classifier of a file; MoldiffError where it cannot be read."""
        try:
            arrays = load_file(path)
        except (OSError, SafetensorError) as error:
            raise MoldiffError(f"classifier {path}: cannot be read ({error})") from None
        layers = range(len(arrays) // 2)
        return cls(
            tuple(arrays[f"weight.{layer}"].astype(np.float64) for layer in layers),
            tuple(arrays[f"bias.{layer}"].astype(np.float64) for layer in layers),
        )

    def features(self, images: NDArray[np.uint8]) -> Floats:
        """What the last layer is given, (N, F), for images (N, 8, 8).

        Raises:
            MoldiffError: images of another shape.
        """
        if images.shape[1:] != SHAPE:
            got = " x ".join(map(str, images.shape[1:]))
            raise MoldiffError(f"images: got {got} pixels, the features are those of 8 x 8")
        x = images.reshape(len(images), -1).astype(np.float64) / 255
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.maximum(0.0, x @ weight + bias)
        return x

    def scores(self, images: NDArray[np.uint8]) -> Floats:
        """A score a class, (N, classes), for images (N, 8, 8)."""
        out: Floats = self.features(images) @ self.weights[-1] + self.biases[-1]
        return out

    def classes(self, images: Sequence[Image] | NDArray[np.uint8]) -> Floats:
        """The likeliest class of each image, (N,), NaN for one of another shape than 8 x 8."""
        known = np.array([image.shape == SHAPE for image in images], dtype=bool)
        found = np.full(len(known), np.nan)
        if known.any():
            these = np.stack([image for image, fits in zip(images, known, strict=True) if fits])
            found[known] = self.scores(these).argmax(1)
        return found


@cache
def shipped() -> DigitClassifier:
    """The classifier that comes with the package."""
    return DigitClassifier.load(WEIGHTS)
