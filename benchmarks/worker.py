"""The process that runs sides; standard library alone, for any environment.

One JSON object a line on standard input, one answer a line on what was
standard output. What a side itself prints goes to standard error.

    {"forget": true}                               ->  {}
    {"prepare": MODULE, "args": {...}, "slot": 0}  ->  {"ready": seconds}
    {"run": 0}               ->  {"seconds", "cpu", "units", ...} of that slot

A failure answers {"error": one line}, and the process goes on.
"""

import gc
import importlib
import importlib.metadata
import json
import os
import resource
import sys
import time
import traceback

# Distribution by the module that shows that it was loaded.
PACKAGES = {
    "av": "av",
    "cv2": "opencv-python-headless",
    "facenet_pytorch": "facenet-pytorch",
    "fer": "fer",
    "keras": "keras",
    "mtcnn": "mtcnn",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "tensorflow": "tensorflow",
    "torch": "torch",
}


def one_line(error: BaseException) -> str:
    """Returns an error's class and message without line breaks."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def versions() -> dict[str, str]:
    """Returns the versions of the known packages that were loaded."""
    found = {"python": sys.version.split()[0]}
    for module, name in PACKAGES.items():
        if module in sys.modules:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "unknown"
    return found


def cpu_seconds() -> float:
    """CPU time of all threads so far, children that ended included."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(
            resource.getrusage,
            (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN),
        )
    )


def peak_mb() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(run) -> dict:
    """Calls `run` once; returns its answer with seconds and CPU seconds."""
    cpu, start = cpu_seconds(), time.perf_counter()
    answer = run()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "cpu": cpu_seconds() - cpu,
        "peak_mb": peak_mb(),
        "versions": versions(),
        **answer,
    }


class Host:
    """Holds the prepared sides of one comparison, by slot."""

    def __init__(self):
        self._runs = {}

    def answer(self, request: dict) -> dict:
        """Does what one line asks for; an error is an answer too."""
        try:
            if "forget" in request:
                self._runs.clear()
                gc.collect()
                return {}
            if "prepare" in request:
                start = time.perf_counter()
                side = importlib.import_module(request["prepare"])
                self._runs[request["slot"]] = side.prepare(request["args"])
                return {"ready": time.perf_counter() - start}
            return measured(self._runs[request["run"]])
        except Exception as error:
            traceback.print_exc()
            return {"error": one_line(error)}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    host = Host()
    for line in sys.stdin:
        replies.write(json.dumps(host.answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
