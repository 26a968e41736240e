"""An ONNX directory of `emorec export --format onnx`, read with suspicion.

Every file's SHA-256 must be the one in `onnx.json`, of the very bytes that are
run: a file is read once. (This tells a damaged or a mixed directory. It is no
signature: who can write one file can write `onnx.json` too. ONNX itself holds
no code beyond the runtime's own operators.)
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

from emorec.errors import EmorecError, ModelError
from emorec.export import names

# What one protobuf message can hold, and so one ONNX file.
MAX_BYTES = 2 << 30
_REMEDY = "make it again with `emorec export --format onnx`"


class OnnxFolder:
    """The files of one ONNX directory.

    Args:
        path: The directory.
        threads: Of each network; by default one for every core that this
            process may use.

    Attributes:
        path: The directory.

    Raises:
        ModelError: It is absent, or no ONNX directory of emorec.
        EmorecError: onnxruntime is not installed.
    """

    def __init__(self, path: str | os.PathLike, threads: int | None = None):
        self.path = pathlib.Path(path)
        self._runtime = _runtime()
        self._threads = threads or _cores()
        self._hashes = self._read_hashes()

    def _read_hashes(self) -> dict[str, str]:
        name = names.ONNX_JSON
        values = self._json(name, self._bytes(name))
        form = values.get("format") if isinstance(values, dict) else None
        if form != names.ONNX_FORMAT:
            raise ModelError(
                f"{self.path}: {name} must have the format "
                f"{names.ONNX_FORMAT}. Received: {_shown(form)}; {_REMEDY}"
            )
        if not isinstance(values.get("files"), dict):
            raise ModelError(
                f"{self.path}: {name} lists no `files` with their SHA-256; "
                f"{_REMEDY}"
            )
        return values["files"]

    def description(self) -> object:
        """Returns what `names.DESCRIPTION` holds: `Bundle.describe()`."""
        name = names.DESCRIPTION
        return self._json(name, self._checked(name))

    def session(self, name: str, inputs: set[str], outputs: set[str]):
        """Loads a network.

        Args:
            name: Its file.
            inputs: The names that it may have; it may lack some.
            outputs: The names that it must have.

        Returns:
            An `onnxruntime.InferenceSession`.

        Raises:
            ModelError: It is absent, damaged, or another network.
        """
        data = self._checked(name)
        options = self._runtime.SessionOptions()
        # Given, because the default pins threads to cores, those that the
        # process may not use among them.
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Threads that wait would take the cores from OpenCV's and from those
        # of the other networks: a frame's faces in 16.6 ms instead of 10.7.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # What fails is raised.
        with self.named_errors(name):
            session = self._runtime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        has = {i.name for i in session.get_inputs()}
        gives = {
            o.name for o in session.get_outputs() if o.type == "tensor(float)"
        }
        if not has <= inputs or not outputs <= gives:
            raise ModelError(
                f"{self.path}: {name} is another network than emorec.json "
                f"describes: it must take {_listed(inputs)} and give "
                f"{_listed(outputs)}. Received: {_listed(has)} and "
                f"{_listed(gives)}; {_REMEDY}"
            )
        return session

    @contextlib.contextmanager
    def named_errors(self, name: str) -> Iterator[None]:
        """Turns the runtime's errors into one line that names a file."""
        state = self._runtime.capi.onnxruntime_pybind11_state
        try:
            yield
        # They have no base of their own.
        except (
            state.EPFail,
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NoSuchFile,
            state.NotImplemented,
            state.RuntimeException,
            RuntimeError,
        ) as e:
            raise ModelError(
                f"{self.path}: {name} cannot be run by onnxruntime "
                f"{self._runtime.__version__} "
                f"({' '.join(str(e).split())[:200]}); {_REMEDY}"
            ) from e

    def _checked(self, name: str) -> bytes:
        """Returns a file that is the one which was exported."""
        data = self._bytes(name)
        is_ = hashlib.sha256(data).hexdigest()
        if self._hashes.get(name) != is_:
            raise ModelError(
                f"{self.path}: {name} is not the file that was exported: its "
                f"SHA-256 is another than in {names.ONNX_JSON}; {_REMEDY}"
            )
        return data

    def _bytes(self, name: str) -> bytes:
        path = self.path / name
        try:
            size = path.stat().st_size
            # Not of a pipe, which would be waited for.
            if path.is_file() and size <= MAX_BYTES:
                return path.read_bytes()
            problem = f"no file of at most {MAX_BYTES} bytes"
        except OSError as e:
            problem = e.strerror
        raise ModelError(
            f"{self.path}: no ONNX directory of emorec ({name}: {problem}); "
            "make one with `emorec export --format onnx`"
        )

    def _json(self, name, data):
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as e:
            raise ModelError(
                f"{self.path}: {name} holds no JSON "
                f"({' '.join(str(e).split())[:200]}); {_REMEDY}"
            ) from e


def _runtime():
    try:
        import onnxruntime
    except ImportError as e:
        raise EmorecError(
            "running a model of ONNX needs onnxruntime "
            f"({' '.join(str(e).split())[:200]}); install emorec[onnx-runtime]"
        ) from e
    # Only builds for Windows have any; the call does nothing elsewhere.
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Not on macOS.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shown(value) -> str:
    return repr(value)[:80]


def _listed(found) -> str:
    return ", ".join(sorted(found))
