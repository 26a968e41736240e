"""A local S3 server (moto), for tests of `s3://` paths.

    with s3.s3_server() as server:
        done = server.python("...", f"{server.url}/a.tfrecord")

The server is a process of its own: within this one it would deadlock, for
TensorFlow's writer holds the interpreter's lock while it waits for an answer.
What opens `s3://` paths had better run in a process of its own too, for
tensorflow-io may abort the process that has done so, at its end.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_STARTS_S = 60
BUCKET = "emorec-test"
# Ends a child at once and well, whatever its libraries do at their end.
_END = "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n"


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        address: `http://127.0.0.1:<port>`.
        bucket: The bucket that is there.
        variables: What the environment of its users must hold.
    """

    address: str
    bucket: str
    variables: dict[str, str]

    @property
    def url(self) -> str:
        """The bucket as a folder, `s3://<bucket>`."""
        return f"s3://{self.bucket}"

    def environment(self) -> dict[str, str]:
        """The environment of a process that is to use the server."""
        return {**os.environ, **self.variables, "PYTHONPATH": str(_ROOT)}

    def python(
        self, code: str, *arguments, timeout: float = 240
    ) -> subprocess.CompletedProcess:
        """Runs Python code in a process of its own; fails if that fails."""
        done = subprocess.run(
            [sys.executable, "-c", code + _END, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr
        return done

    def put(self, path: str | os.PathLike, key: str) -> str:
        """Stores a local file; returns its `s3://` path."""
        data = pathlib.Path(path).read_bytes()
        self._client.put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"{self.url}/{key}"

    def get(self, key: str) -> bytes:
        """Returns what is stored under a key of the bucket."""
        found = self._client.get_object(Bucket=self.bucket, Key=key)
        return found["Body"].read()

    def keys(self, prefix: str = "") -> list[str]:
        """Returns the keys of the bucket (no more than 1000), sorted."""
        found = self._client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", ())]

    @functools.cached_property
    def _client(self):
        # Pure Python: unlike tensorflow-io it does no harm to this process.
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name=self.variables["AWS_REGION"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
        )


@contextlib.contextmanager
def s3_server() -> Iterator[Server]:
    """Starts a server with an empty bucket, and ends it."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            # It takes a free port and tells it.
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            address = _address(process, log)
            # Unsigned requests may make a bucket, but not read from it.
            request = urllib.request.Request(
                f"{address}/{BUCKET}", b"", method="PUT"
            )
            urllib.request.urlopen(request, timeout=30).close()
            variables = {
                "S3_ENDPOINT": address,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            yield Server(address, BUCKET, variables)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _address(process, log) -> str:
    """Waits for the server's line that tells where it listens."""
    ends = time.monotonic() + _STARTS_S
    while True:
        log.seek(0)
        text = log.read()
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", text)
        if found:
            return found[1]
        assert process.poll() is None, f"moto has ended: {text}"
        assert time.monotonic() < ends, f"moto does not start: {text}"
        time.sleep(0.05)
