"""The models that a server holds, and how a ModelSpec finds one."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from serving.server import status
from serving.server.saved_model import LoadedModel
from serving.server.versions import VersionManager, VersionStatus


class Models:
    """Version managers by model name."""

    def __init__(self, managers: Iterable[VersionManager]):
        self._managers = {m.name: m for m in managers}

    def start(self, timeout_s: float | None = None) -> None:
        """Loads every model; see `VersionManager.start`."""
        for manager in self._managers.values():
            manager.start(timeout_s)

    def stop(self) -> None:
        """Unloads every model."""
        for manager in self._managers.values():
            manager.stop()

    @contextlib.contextmanager
    def use(self, request: Any) -> Iterator[tuple[int, LoadedModel]]:
        """Gives the version number and model that a request asks for.

        Args:
            request: Any request with a `model_spec`.

        Raises:
            StatusError: INVALID_ARGUMENT for a spec that names nothing or a
                label, NOT_FOUND for what is not loaded.
        """
        if not request.HasField("model_spec"):
            raise status.invalid("Missing ModelSpec")
        spec = request.model_spec
        if not spec.name:
            raise status.invalid("ModelSpec has no name specified.")
        if spec.version_label:
            raise status.invalid(
                f"Unrecognized servable version label: {spec.version_label}"
            )
        version = spec.version.value if spec.HasField("version") else None
        manager = self._managers.get(spec.name)
        if manager is None:
            wanted = (
                f"Latest({spec.name})"
                if version is None
                else f"Specific({spec.name}, {version})"
            )
            raise status.not_found(f"Servable not found for request: {wanted}")
        with manager.use(version) as found:
            yield found

    def statuses(self, request: Any) -> list[VersionStatus]:
        """Returns the versions that a GetModelStatusRequest asks for.

        Raises:
            StatusError: There is no spec, or no such model or version.
        """
        if not request.HasField("model_spec"):
            raise status.invalid("Missing ModelSpec")
        spec = request.model_spec
        manager = self._managers.get(spec.name)
        found = manager.statuses() if manager else []
        if not spec.HasField("version"):
            if not found:
                raise status.not_found(
                    f"Could not find any versions of model {spec.name}"
                )
            return found
        found = [v for v in found if v.version == spec.version.value]
        if not found:
            raise status.not_found(
                f"Could not find version {spec.version.value} of model "
                f"{spec.name}"
            )
        return found
