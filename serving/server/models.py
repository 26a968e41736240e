"""The models that a server holds, and how a ModelSpec finds one."""

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from emorec.errors import UsageError
from serving.server import model_config, starting, status
from serving.server.model_config import ModelConfig, ModelServerConfig
from serving.server.request_log import RequestLog
from serving.server.saved_model import LoadedModel
from serving.server.version_state import VersionStatus
from serving.server.versions import VersionManager, not_served

# Seconds between two looks whether what a reload waits for has come.
_LOOK_S = 0.1


class Models:
    """The models of a ModelServerConfig, which `reload` replaces."""

    def __init__(
        self,
        config: ModelServerConfig,
        *,
        loader: Callable[[str], LoadedModel] = LoadedModel,
        poll_s: float = 1.0,
        allow_labels_for_unavailable: bool = False,
    ):
        """Loads nothing yet; see `start`.

        Args:
            config: The models.
            loader: Makes a model of a version's folder.
            poll_s: Seconds between two looks for versions; 0 looks once,
                less than 0 never.
            allow_labels_for_unavailable: Whether a new label may go to a
                version that is not available; so must any at the start.

        Raises:
            StatusError: As `reload`.
        """
        self._loader = loader
        self._poll_s = poll_s
        self._allow_unavailable = allow_labels_for_unavailable
        self._reload_lock = threading.Lock()
        # Replaced as a whole, never changed: read without a lock.
        self._managers: dict[str, VersionManager] = {}
        self._labels: model_config.Labels = {}
        self._logs: dict[str, RequestLog] = {}
        # Models that were taken out: their versions' states are still told.
        self._retired: dict[str, VersionManager] = {}
        self._configs: dict[str, ModelConfig] = {}
        self._is_stopped = False
        self._replace(config)

    @property
    def names(self) -> list[str]:
        """The models' names."""
        return list(self._managers)

    @property
    def base_paths(self) -> list[str]:
        """The folders of the models' versions."""
        return [manager.base_path for manager in self._managers.values()]

    def start(self, timeout_s: float | None = None) -> None:
        """Loads every model; see `starting.start_all`."""
        starting.start_all(self._managers.values(), timeout_s)

    def stop(self) -> None:
        """Unloads every model and finishes the request logs."""
        with self._reload_lock:
            self._is_stopped = True
            managers, logs = self._managers, self._logs
        for manager in managers.values():
            manager.stop()
        for log in logs.values():
            log.close()

    def reload(
        self,
        config: ModelServerConfig,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Replaces the whole list of models.

        Models that are not in the new list go first; then new ones load, and
        are waited for, as the real server does. One that stays is looked at
        once.

        Args:
            config: The new list.
            is_over: Whether nobody waits for the end any more.

        Raises:
            StatusError: INVALID_ARGUMENT or FAILED_PRECONDITION, nothing has
                changed: the config is not valid, or a label goes to a
                version that is not available. UNKNOWN, the list is replaced:
                a new model does not load. ABORTED, it is not waited for any
                more.
        """
        with self._reload_lock:
            if self._is_stopped:
                raise _aborted("the server is stopping")
            added, changed, removed = self._replace(config)
        for manager in removed:
            manager.retire()
        if removed:
            gc.collect()  # See `VersionManager._close_if_idle`.
        for manager in added:
            manager.watch()
        for manager in [*added, *changed]:
            manager.poll()
        _wait_all(added, is_over)

    @contextlib.contextmanager
    def use(self, request: Any) -> Iterator[tuple[int, LoadedModel]]:
        """Gives the version number and model that a request asks for.

        Args:
            request: Any request with a `model_spec`.

        Raises:
            StatusError: INVALID_ARGUMENT for a spec that names nothing or an
                unknown label, NOT_FOUND for what is not loaded.
        """
        if not request.HasField("model_spec"):
            raise status.invalid("Missing ModelSpec")
        spec = request.model_spec
        if not spec.name:
            raise status.invalid("ModelSpec has no name specified.")
        version = None
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            version = spec.version.value
        elif choice == "version_label":
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise status.invalid(
                    f"Unrecognized servable version label: {spec.version_label}"
                )
        manager = self._managers.get(spec.name)
        if manager is None:
            raise not_served(spec.name, version)
        with manager.use(version) as found:
            yield found

    def statuses(self, request: Any) -> list[VersionStatus]:
        """Returns the versions that a GetModelStatusRequest asks for.

        Those of a model that a reload has taken out are told too.

        Raises:
            StatusError: There is no spec, or no such model or version.
        """
        if not request.HasField("model_spec"):
            raise status.invalid("Missing ModelSpec")
        spec = request.model_spec
        found = []
        for managers in (self._managers, self._retired):
            if not found and spec.name in managers:
                found = managers[spec.name].statuses()
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

    def request_log(self, name: str) -> RequestLog | None:
        """Returns where requests to a model are logged, None for nowhere."""
        return self._logs.get(name)

    def _replace(self, config):
        """Puts a config in place; returns managers added, changed, removed."""
        models = model_config.check(config)
        labels = model_config.labels(
            models, self._labels, self._is_available, self._allow_unavailable
        )
        logs = self._make_logs(models)
        managers, added, changed = {}, [], []
        for model in models:
            manager = self._managers.get(model.name)
            source = (model.base_path, model.model_version_policy)
            if manager is None:
                manager = VersionManager(
                    model.name, *source, self._loader, self._poll_s
                )
                added.append(manager)
            elif manager.configure(*source):
                changed.append(manager)
            managers[model.name] = manager
        before, self._managers = self._managers, managers
        self._labels = labels
        self._configs = {model.name: model for model in models}
        logs_before, self._logs = self._logs, logs
        for log in logs_before.values():
            if log not in logs.values():
                log.close()
        removed = {n: m for n, m in before.items() if n not in managers}
        self._retired |= removed
        return added, changed, list(removed.values())

    def _make_logs(self, models: Sequence[ModelConfig]) -> dict:
        logs = {}
        for model in models:
            if not model.HasField("logging_config"):
                continue
            before = self._configs.get(model.name)
            if before and before.logging_config == model.logging_config:
                logs[model.name] = self._logs[model.name]
                continue
            try:
                logs[model.name] = RequestLog(model.logging_config, model.name)
            except UsageError as e:
                raise status.invalid(str(e)) from e
        return logs

    def _is_available(self, name: str, version: int) -> bool:
        manager = self._managers.get(name)
        return manager is not None and manager.has(version)


def _wait_all(
    managers: Sequence[VersionManager], is_over: Callable[[], bool]
) -> None:
    """Waits until each model serves or has failed; raises StatusError."""
    failed = []
    for manager in managers:
        while True:
            is_serving = manager.is_serving
            if manager.failure() or (not is_serving and manager.poll_s == 0):
                failed.append(manager)
                break
            if is_serving:
                break
            if manager.is_stopping:
                raise _aborted(f"model {manager.name} was taken out meanwhile")
            if is_over():
                raise _aborted(f"not waited for: {manager.complaint}")
            manager.wait_stopping(_LOOK_S)
    if failed:
        reasons = "".join(f"{{{_reason(m)}}}, " for m in failed)
        raise status.StatusError(
            grpc.StatusCode.UNKNOWN,
            f"{len(failed)} model(s) did not become available: {{{reasons}}}",
        )


def _reason(manager: VersionManager) -> str:
    for found in manager.statuses():
        if found.error:
            return (
                f"{{name: {manager.name} version: {found.version}}} due to "
                f"error: {found.error.code.name}: {found.error.message}"
            )
    return f"{{name: {manager.name}}} due to error: {manager.complaint}"


def _aborted(message: str) -> status.StatusError:
    return status.StatusError(grpc.StatusCode.ABORTED, message)
