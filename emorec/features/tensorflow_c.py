"""TensorFlow's C API by ctypes: graphs run without TensorFlow's Python.

`import tensorflow` takes 1.5 s, and of that the shared library .2 s. What is
declared here is of `tensorflow/c/c_api.h`, which is public and made for other
languages; the library lies in TensorFlow's own wheel. A later `import
tensorflow` in the process takes the same library.
"""

import ctypes
import functools
import importlib.util
import os
import pathlib
import sys
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np

# TF_DataType of `tensorflow/c/tf_datatype.h`.
_DTYPES = {
    number: np.dtype(name)
    for number, name in {
        1: "float32",
        2: "float64",
        3: "int32",
        4: "uint8",
        9: "int64",
        10: "bool",
    }.items()
}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_POINTER = ctypes.c_void_p
_DEALLOCATE = ctypes.CFUNCTYPE(None, _POINTER, ctypes.c_size_t, _POINTER)


class _Output(ctypes.Structure):
    """TF_Output: an operation's output."""

    _fields_ = [("operation", _POINTER), ("index", ctypes.c_int)]


_SIGNATURES = {
    "TF_NewStatus": (_POINTER,),
    "TF_DeleteStatus": (None, _POINTER),
    "TF_GetCode": (ctypes.c_int, _POINTER),
    "TF_Message": (ctypes.c_char_p, _POINTER),
    "TF_NewBufferFromString": (_POINTER, ctypes.c_char_p, ctypes.c_size_t),
    "TF_DeleteBuffer": (None, _POINTER),
    "TF_NewGraph": (_POINTER,),
    "TF_DeleteGraph": (None, _POINTER),
    "TF_NewImportGraphDefOptions": (_POINTER,),
    "TF_DeleteImportGraphDefOptions": (None, _POINTER),
    "TF_GraphImportGraphDef": (None, *[_POINTER] * 4),
    "TF_GraphNextOperation": (
        _POINTER,
        _POINTER,
        ctypes.POINTER(ctypes.c_size_t),
    ),
    "TF_OperationName": (ctypes.c_char_p, _POINTER),
    "TF_OperationOpType": (ctypes.c_char_p, _POINTER),
    "TF_GraphGetTensorNumDims": (ctypes.c_int, _POINTER, _Output, _POINTER),
    "TF_GraphGetTensorShape": (
        None,
        _POINTER,
        _Output,
        ctypes.POINTER(ctypes.c_int64),
        ctypes.c_int,
        _POINTER,
    ),
    "TF_NewSessionOptions": (_POINTER,),
    "TF_DeleteSessionOptions": (None, _POINTER),
    "TF_SetConfig": (
        None,
        _POINTER,
        ctypes.c_char_p,
        ctypes.c_size_t,
        _POINTER,
    ),
    "TF_NewSession": (_POINTER, *[_POINTER] * 3),
    "TF_CloseSession": (None, _POINTER, _POINTER),
    "TF_DeleteSession": (None, _POINTER, _POINTER),
    "TF_SessionRun": (
        None,
        _POINTER,  # session
        _POINTER,  # run options
        ctypes.POINTER(_Output),
        ctypes.POINTER(_POINTER),
        ctypes.c_int,
        ctypes.POINTER(_Output),
        ctypes.POINTER(_POINTER),
        ctypes.c_int,
        _POINTER,  # targets
        ctypes.c_int,
        _POINTER,  # metadata
        _POINTER,  # status
    ),
    "TF_NewTensor": (
        _POINTER,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_int64),
        ctypes.c_int,
        _POINTER,
        ctypes.c_size_t,
        _DEALLOCATE,
        _POINTER,
    ),
    "TF_DeleteTensor": (None, _POINTER),
    "TF_TensorType": (ctypes.c_int, _POINTER),
    "TF_NumDims": (ctypes.c_int, _POINTER),
    "TF_Dim": (ctypes.c_int64, _POINTER, ctypes.c_int),
    "TF_TensorByteSize": (ctypes.c_size_t, _POINTER),
    "TF_TensorData": (_POINTER, _POINTER),
}


_SLOW = ("TF_GraphImportGraphDef", "TF_NewSession", "TF_SessionRun")


class TensorFlowError(RuntimeError):
    """What TensorFlow answers instead of a result."""


def files() -> list[pathlib.Path] | None:
    """Returns TensorFlow's shared libraries, in the order of their loading.

    None where this TensorFlow, or this system, keeps them otherwise.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        return None
    end = ".2.dylib" if sys.platform == "darwin" else ".so.2"
    folder = pathlib.Path(spec.origin).parent
    names = ("libtensorflow_framework", "libtensorflow_cc")
    found = [folder / (name + end) for name in names]
    return found if all(path.is_file() for path in found) else None


_lock = threading.Lock()


def library() -> ctypes.PyDLL | None:
    """Returns the library, loaded once; None where there is none.

    Other threads go on meanwhile, unless they load libraries too.
    """
    with _lock:
        return _loaded()


@functools.cache
def _loaded() -> ctypes.PyDLL | None:
    paths = files()
    if paths is None:
        return None
    try:
        # ctypes holds Python's lock while it loads one, so the loader is
        # called as any function.
        load = ctypes.CDLL(None).dlopen
        load.restype, load.argtypes = _POINTER, [ctypes.c_char_p, ctypes.c_int]
        for path in paths:
            load(os.fsencode(path), os.RTLD_NOW)
        # What takes no time keeps Python's lock: to get it back takes longer.
        lib = ctypes.PyDLL(str(paths[-1]))
        slow = ctypes.CDLL(str(paths[-1]))
        for name in _SLOW:
            setattr(lib, name, getattr(slow, name))
        for name, (answer, *given) in _SIGNATURES.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = answer, given
    except (OSError, AttributeError):
        return None
    return lib


class Session:
    """A graph in a session; for use from any number of threads.

    Args:
        graph: A serialized GraphDef without variables.
        config: A serialized ConfigProto.

    Attributes:
        operations: Names and types of the graph's, in its order.

    Raises:
        TensorFlowError: The graph is none that this TensorFlow can run.
    """

    def __init__(self, graph: bytes, config: bytes):
        self._lib = lib = library()
        self._graph = lib.TF_NewGraph()
        weakref.finalize(self, lib.TF_DeleteGraph, self._graph).atexit = False
        buffer = lib.TF_NewBufferFromString(graph, len(graph))
        options = lib.TF_NewImportGraphDefOptions()
        try:
            self._checked(
                lib.TF_GraphImportGraphDef, self._graph, buffer, options
            )
        finally:
            lib.TF_DeleteImportGraphDefOptions(options)
            lib.TF_DeleteBuffer(buffer)
        self._found = dict(self._walk())
        self.operations = [
            (name, lib.TF_OperationOpType(operation).decode())
            for name, operation in self._found.items()
        ]
        options = lib.TF_NewSessionOptions()
        try:
            self._checked(lib.TF_SetConfig, options, config, len(config))
            self._session = self._checked(
                lib.TF_NewSession, self._graph, options
            )
        finally:
            lib.TF_DeleteSessionOptions(options)
        # Called before the graph's: the latest comes first. At the end of the
        # process all goes anyway.
        weakref.finalize(self, _end, lib, self._session).atexit = False

    def callable(
        self, inputs: Sequence[str], answers: Sequence[str]
    ) -> Callable[..., list[np.ndarray]]:
        """Returns what runs the graph on arrays, one for each input.

        Args:
            inputs: Names of placeholders.
            answers: Names of operations whose first outputs are given back.

        Returns:
            Arrays -> arrays. It raises ValueError for an array of another
            shape than the placeholder's, TensorFlowError where the graph fails.
        """
        fed, asked = self._outputs(inputs), self._outputs(answers)
        shapes = [self._shape(output) for output in fed]

        def run(*arrays):
            # Referred to until the end: TensorFlow reads their memory.
            arrays = [np.require(array, requirements="C") for array in arrays]
            for name, array, shape in zip(inputs, arrays, shapes, strict=True):
                _check(name, array, shape)
            given = (_POINTER * len(fed))()
            found = (_POINTER * len(asked))()
            try:
                for i, array in enumerate(arrays):
                    given[i] = self._tensor(array)
                self._checked(
                    self._lib.TF_SessionRun,
                    self._session,
                    None,
                    fed,
                    given,
                    len(fed),
                    asked,
                    found,
                    len(asked),
                    None,
                    0,
                    None,
                )
            finally:
                for tensor in given:
                    self._lib.TF_DeleteTensor(tensor)
            return [self._array(tensor) for tensor in found]

        return run

    def _walk(self):
        place = ctypes.c_size_t(0)
        while True:
            operation = self._lib.TF_GraphNextOperation(self._graph, place)
            if not operation:
                return
            yield self._lib.TF_OperationName(operation).decode(), operation

    def _outputs(self, names):
        return (_Output * len(names))(
            *(_Output(self._found[name], 0) for name in names)
        )

    def _shape(self, output) -> list[int] | None:
        """Returns a placeholder's shape, -1 for any length; None: any shape."""
        given = self._graph, output
        rank = self._checked(self._lib.TF_GraphGetTensorNumDims, *given)
        if rank < 0:
            return None
        shape = (ctypes.c_int64 * rank)()
        self._checked(self._lib.TF_GraphGetTensorShape, *given, shape, rank)
        return list(shape)

    def _tensor(self, array):
        return self._lib.TF_NewTensor(
            _NUMBERS[array.dtype],
            (ctypes.c_int64 * array.ndim)(*array.shape),
            array.ndim,
            array.ctypes.data,
            array.nbytes,
            _keep,
            None,
        )

    def _array(self, tensor) -> np.ndarray:
        """Returns an array in the tensor's own memory, which it frees."""
        lib = self._lib
        shape = [lib.TF_Dim(tensor, i) for i in range(lib.TF_NumDims(tensor))]
        size = lib.TF_TensorByteSize(tensor)
        # Where there is nothing, there may be no memory.
        memory = ctypes.c_char * size
        if size:
            memory = memory.from_address(lib.TF_TensorData(tensor))
        else:
            memory = memory()
        weakref.finalize(memory, lib.TF_DeleteTensor, tensor).atexit = False
        dtype = _DTYPES[lib.TF_TensorType(tensor)]
        return np.frombuffer(memory, dtype).reshape(shape)

    def _checked(self, function, *given):
        """Calls what takes a status last.

        Raises:
            TensorFlowError: It has failed.
        """
        status = self._lib.TF_NewStatus()
        try:
            answer = function(*given, status)
            if self._lib.TF_GetCode(status):
                message = self._lib.TF_Message(status)
                raise TensorFlowError(message.decode(errors="replace"))
            return answer
        finally:
            self._lib.TF_DeleteStatus(status)


def _check(name, array, shape):
    """Raises ValueError: some operations end the process otherwise."""
    if shape is not None and (
        array.ndim != len(shape)
        or any(n not in (-1, m) for n, m in zip(shape, array.shape))
    ):
        raise ValueError(
            f"{name}: must be of shape {shape}. Received: {list(array.shape)}"
        )


@_DEALLOCATE
def _keep(data, size, argument):
    """Frees nothing: an array's memory is NumPy's."""


def _end(lib, session):
    status = lib.TF_NewStatus()
    lib.TF_CloseSession(session, status)
    lib.TF_DeleteSession(session, status)
    lib.TF_DeleteStatus(status)
