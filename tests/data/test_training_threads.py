"""How many threads an operation gets where training runs two at once."""

import os
import subprocess
import sys

import pytest

from emorec.data import processes

NAME = "TF_NUM_INTRAOP_THREADS"
CODE = """
import os
from emorec.data import processes
processes.{call}
print(os.environ["TF_NUM_INTRAOP_THREADS"])
"""


@pytest.mark.parametrize(
    ("call", "given", "wanted"),
    [
        ("begin_training()", None, processes.share(2)),
        ("begin_training()", "7", 7),
        ("begin_training_worker(1)", None, processes.share(2)),
        ("begin_training_worker(1000)", "7", 1),
    ],
)
def test_an_operation_gets_its_share_or_what_the_user_set(call, given, wanted):
    env = {k: v for k, v in os.environ.items() if k != NAME}
    if given:
        env[NAME] = given
    found = subprocess.run(
        [sys.executable, "-c", CODE.format(call=call)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(found.stdout) == wanted
