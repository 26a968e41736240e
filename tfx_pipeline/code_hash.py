"""A hash of the code that a component runs, for the key of its cache.

TFX answers from its cache where inputs and parameters are those of an earlier
run; that the code has changed it does not see. So a component takes this
hash as a parameter.
"""

import functools
import hashlib
import pathlib

_ROOT = pathlib.Path(__file__).resolve().parents[1]


@functools.cache
def code_hash(*parts: str) -> str:
    """Returns 16 hex digits over the Python files of some packages.

    Args:
        *parts: Paths below the folder that holds `emorec` and
            `tfx_pipeline`: a file (`emorec/config.py`) or a package, taken
            with all its subpackages (`emorec/video`).

    Raises:
        FileNotFoundError: A part does not exist.
    """
    digest = hashlib.sha256()
    for part in sorted(parts):
        path = _ROOT / part
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(path)
        for file in found:
            digest.update(file.relative_to(_ROOT).as_posix().encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
