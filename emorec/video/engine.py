"""What the face detector asks of a runtime: MTCNN's nets, and crops for them.

`FaceDetector` holds all the rest, once for every runtime.
"""

from typing import Any, Protocol

import numpy as np

# Grey, the networks' zero: what a crop shows outside of the frame.
MEAN_PIXEL = 127.5


class Engine(Protocol):
    """MTCNN's three networks on a runtime; see `MtcnnNets` for their answers.

    For use from any number of threads.
    """

    def pnet(
        self, pixels: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finds the windows of 12x12 pixels that may show a face.

        Args:
            pixels: f32 [N, h, w, 3], h and w at least 12.
            threshold: What a window's logit must exceed.

        Returns:
            Cells int64 [M, 3] (frame, row, column) in ascending order,
            offsets f32 [M, 4], logits f32 [M].
        """

    def load(self, frames: np.ndarray) -> Any:
        """Takes frames uint8 [N, h, w, 3] to where `crop` reads them."""

    def crop(
        self, loaded: Any, corners: np.ndarray, index: np.ndarray, size: int
    ) -> Any:
        """Cuts and scales boxes, by the rule of `tf.image.crop_and_resize`.

        Args:
            loaded: What `load` gave.
            corners: f32 [M, 4], y0, x0, y1, x1 as shares of h - 1 and w - 1;
                may lie outside of the frame, which is grey (`MEAN_PIXEL`).
            index: int32 [M], each box's frame.
            size: Side of the crops, pixels.

        Returns:
            f32 [M, size, size, 3], for `rnet` and `onet`.
        """

    def rnet(self, crops: Any) -> tuple[np.ndarray, np.ndarray]:
        """Judges crops of 24x24: offsets f32 [M, 4], logits f32 [M]."""

    def onet(self, crops: Any) -> tuple[np.ndarray, np.ndarray]:
        """Judges crops of 48x48: offsets f32 [M, 4], logits f32 [M]."""
