"""A SavedModel in a TF1 session, as a model server holds it.

`tf.saved_model.load` is how Python reads it; this finds what only a server
would: variables that are not tracked, above all.
"""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

# The public `tf.compat.v1.saved_model.load` is this very class and one line
# that logs a deprecation warning.
from tensorflow.python.saved_model import loader_impl


class GraphSession:
    """A SavedModel that was loaded for serving; a context manager.

    Attributes:
        signatures: Its SignatureDefs by name.

    Args:
        folder: The SavedModel.

    Raises:
        tf.errors.OpError: It cannot be loaded.
    """

    signatures: Mapping[str, meta_graph_pb2.SignatureDef]

    def __init__(self, folder: str | os.PathLike):
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            meta_graph = loader_impl.SavedModelLoader(str(folder)).load(
                self._session, [tf.saved_model.SERVING]
            )
        except BaseException:
            self._session.close()
            raise
        self.signatures = dict(meta_graph.signature_def)

    def __enter__(self) -> "GraphSession":
        return self

    def __exit__(self, *_) -> None:
        self._session.close()

    def run(
        self, name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs a signature for all its outputs.

        Args:
            name: Its name.
            inputs: An array for each of its inputs.

        Raises:
            tf.errors.OpError: An op fails.
        """
        signature = self.signatures[name]
        return self._session.run(
            {k: v.name for k, v in signature.outputs.items()},
            {signature.inputs[k].name: v for k, v in inputs.items()},
        )
