"""The digits as they are split, and as pictures.

1,797 real scans of 8 x 8 pixels from 0 (paper) to 16 (ink): the part of UCI's "Optical Recognition of Handwritten
Digits" that scikit-learn ships. A fifth of each class is held out: no model here has seen it in training.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED: Final = 20
HELD_OUT_SHARE: Final = 0.2
INK: Final = 16  # the largest pixel value
PICTURE_SIDE: Final = 64  # pixels of a written picture: the 8 x 8 scan, each pixel a square


class Rows(NamedTuple):
    images: NDArray[np.uint8]  # [rows, 8, 8], 0 to 16
    labels: NDArray[np.int64]  # [rows]

    @property
    def inputs(self) -> NDArray[np.float32]:
        """What the models take: float32 [rows, 8, 8], 0 to 16."""
        return self.images.astype(np.float32)


def load_split() -> tuple[Rows, Rows]:
    """Training rows and held-out rows, the same on every call."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT_SHARE, stratify=labels, random_state=SPLIT_SEED
    )
    return Rows(images[train], labels[train]), Rows(images[held_out], labels[held_out])


def write_held_out(rows: Rows, directory: Path) -> None:
    """`held_out.npz` with all rows, and the first picture of each class as `images/<digit>.png`."""
    np.savez_compressed(directory / "held_out.npz", images=rows.images, labels=rows.labels)
    (directory / "images").mkdir(exist_ok=True)
    for digit in range(10):
        scan = rows.images[int(np.argmax(rows.labels == digit))]
        gray = np.round(scan.astype(np.float64) * 255 / INK).astype(np.uint8)
        picture = Image.fromarray(gray).resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.NEAREST)
        picture.save(directory / "images" / f"{digit}.png", optimize=True)
