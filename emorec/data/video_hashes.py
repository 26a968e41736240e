"""SHA-256 of a manifest's videos: by it a copy under another name is found."""

import concurrent.futures
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence

from emorec.data import files, remote
from emorec.data.csv_lines import Faults

_THREADS = 4


def of_rows(rows: Sequence, faults: Faults) -> dict[str, str]:
    """Returns path -> SHA-256 of the files that can be read, each read once.

    Args:
        rows: `manifest.Row`s.
        faults: Is told of the others.
    """
    lines = defaultdict(list)
    for row in rows:
        lines[row.path].append(row)
    sha256 = {}
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for path, result in zip(lines, pool.map(_of_file, lines)):
            if not isinstance(result, str):
                for row in lines[path]:
                    faults.add(
                        row.line,
                        f"video {row.video[:200]!r} cannot be read "
                        f"({result.strerror}): {path[:400]!r}",
                    )
            else:
                sha256[path] = result
    return sha256


def _of_file(path: str) -> str | OSError:
    if files.is_remote(path):
        return _of_remote(path)
    try:
        # Opening a pipe or a device could block for ever.
        if os.path.exists(path) and not os.path.isfile(path):
            return OSError(0, "it is not a file")
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        return e


def _of_remote(path: str) -> str | OSError:
    """Hashes as it reads; a film need not fit on this machine's disk."""
    if not files.exists(path):
        return OSError(0, remote.ABSENT)
    digest = hashlib.sha256()
    for data in remote.chunks(path):
        digest.update(data)
    return digest.hexdigest()
