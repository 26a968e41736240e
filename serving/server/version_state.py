"""What is known of one version of a model."""

import dataclasses
import enum
from typing import Any

from serving.server.status import StatusError


class State(enum.IntEnum):
    """ModelVersionStatus.State of get_model_status.proto."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass
class Version:
    """A version while it is loaded, used and unloaded.

    Attributes:
        number: The version.
        path: Its folder.
        state: Its state.
        error: Why it did not load.
        model: What the loader made of it, while it is loaded.
        users: Requests that use the model just now.
        stamp: `version_folders.stamp` when it was loaded.
    """

    number: int
    path: str
    state: State = State.START
    error: StatusError | None = None
    model: Any = None
    users: int = 0
    stamp: tuple = ()


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus tells of one version."""

    version: int
    state: State
    error: StatusError | None
