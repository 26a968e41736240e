"""Pusher whose version is a new one, and the one that a server takes."""

import time
from typing import Any

from tfx import types
from tfx.components import Pusher
from tfx.components.pusher import executor as pusher
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from emorec.errors import ExportError
from tfx_pipeline import pushes

# How long a version may lie in the future, of a rollback a moment ago.
_WAIT_S = 10


class Executor(pusher.Executor):
    """TFX's executor, at a second that has no version yet.

    A version is the Unix time in seconds. TFX skips the push where that is
    taken and calls it done; and a server would never take one that is lower
    than what is there.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `tfx.components.Pusher`.

        Raises:
            ExportError: A version is there that no new one would exceed.
        """
        if self.CheckBlessing(input_dict):
            destination = pusher_pb2.PushDestination()
            proto_utils.json_to_proto(
                exec_properties[standard_component_specs.PUSH_DESTINATION_KEY],
                destination,
            )
            _wait_for_number(destination.filesystem.base_directory)
        super().Do(input_dict, output_dict, exec_properties)


def _wait_for_number(base: str) -> None:
    highest = max(pushes.numbers(base), default=0)
    if highest > time.time() + _WAIT_S:
        raise ExportError(
            f"{base}: holds the version {highest}, and a server takes the "
            f"highest, so that the new one, {int(time.time())}, would never "
            "be served; move it away or choose another `serving_dir`"
        )
    while time.time() < highest + 1:
        time.sleep(0.05)


class VersionPusher(Pusher):
    """TFX's Pusher to a base path of version folders, safe of its numbers.

    Inputs, outputs and parameters are those of `tfx.components.Pusher`.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
