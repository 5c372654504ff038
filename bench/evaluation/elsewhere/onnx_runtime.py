"""onnxruntime on the model, on one thread; and the judge of a native build of the kernel, on the same images.

The request has `model`, `library`, `images`, `seed`, `times` and `tolerance`. It is not ready, and says why, where a
score of the library is further from onnxruntime's than the tolerance, for any image.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnxruntime

from .serving import Told, Work, serve

SIDE, CLASSES = 28, 10


def make(request: dict[str, Any]) -> tuple[Work[np.ndarray], Told[np.ndarray]]:
    """Compare, then return what runs the model so many times, and what tells the weighted sum of the scores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    images, theirs = _library(request)

    def work() -> np.ndarray:
        scores = np.zeros((len(images), CLASSES), np.float32)
        for number in range(request["times"]):
            image = images[number % len(images)]
            (scores[number % len(images)],) = session.run(["scores"], {"image": image})[0]
        return scores

    def told(scores: np.ndarray) -> tuple[str, float]:
        weights = np.arange(1, scores.size + 1, dtype=np.float64)
        return "", float(np.dot(scores.ravel().astype(np.float64), weights))

    apart = np.abs(work() - theirs)
    if not apart.max() <= request["tolerance"]:
        image, digit = np.unravel_index(apart.argmax(), apart.shape)
        raise SystemExit(f"score {digit} of image {image} is {apart.max():.3g} from onnxruntime's")
    return work, told


def _library(request: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    library = ctypes.CDLL(request["library"])
    library.prepare.argtypes = library.work.argtypes = (ctypes.c_uint64, ctypes.c_uint64)
    library.prepare.restype = library.work.restype = ctypes.c_uint64
    if not library.prepare(request["images"], request["seed"]):
        raise MemoryError
    library.work(0, request["images"])
    images = _floats(library.images, (request["images"], 1, 1, SIDE, SIDE))
    return images, _floats(library.scores, (request["images"], CLASSES))


def _floats(function: Any, shape: tuple[int, ...]) -> np.ndarray:
    function.restype = ctypes.POINTER(ctypes.c_float)
    return np.ctypeslib.as_array(function(), shape).copy()


if __name__ == "__main__":
    serve(make)
