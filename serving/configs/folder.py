"""Writes all files of a plan into a folder."""

import contextlib
import os
import shutil
import tempfile

from emorec.errors import EmorecError
from serving.configs import plan as plans
from serving.configs import texts
from serving.deploy import check, render


def contents(plan: plans.Plan, folder: str) -> dict[str, str]:
    """Returns the files of a plan.

    Args:
        plan: The plan.
        folder: Where they will be; an absolute path, for the command lines.

    Returns:
        Texts by the files' names.
    """
    found = {
        "models.config": texts.models_text(plan),
        "batching_parameters.txt": texts.batching_text(plan),
        "batching_parameters.gpu.txt": texts.batching_text(plan, gpu=True),
        "monitoring.config": texts.monitoring_text(),
    }
    if plan.log_prefix:
        found["models.logged.config"] = texts.models_text(plan, logged=True)
    if plan.tls:
        found["ssl.config"] = texts.ssl_text(plan.tls)
    for kind, gpu in (("cpu", False), ("gpu", True)):
        found[f"docker-compose.{kind}.yml"] = render.compose(plan, gpu)
        found[f"kubernetes.{kind}.yaml"] = render.kubernetes(plan, gpu)
    found["prometheus_adapter.yaml"] = render.prometheus_adapter()
    found["COMMANDS.txt"] = texts.commands_text(plan, folder)
    return found


def write(plan: plans.Plan, folder: str, overwrite: bool = False) -> list[str]:
    """Writes the files of a plan, all of them or none.

    They are written beside their places, checked as `check.check` does, and
    renamed. A file that is there already with the same text is left alone.

    Args:
        plan: The plan.
        folder: The folder, which is there.
        overwrite: Whether files of another text are replaced.

    Returns:
        The names of the files that are new.

    Raises:
        EmorecError: A file is there with another text, cannot be written, or
            a check has found something.
    """
    folder = os.path.abspath(folder)
    found = contents(plan, folder)
    changed = {n: t for n, t in found.items() if _differs(folder, n, t)}
    taken = [n for n in changed if os.path.lexists(os.path.join(folder, n))]
    if taken and not overwrite:
        raise EmorecError(
            f"{folder}: {', '.join(taken)} would change; --overwrite replaces "
            "what is there, or choose another --output_dir"
        )
    try:
        temporary = tempfile.mkdtemp(prefix=".serving_config.", dir=folder)
        try:
            for name, text in found.items():
                _write(os.path.join(temporary, name), text)
            faults = check.check([temporary])
            if faults:
                first = faults[0].replace(f"{temporary}{os.sep}", "")
                raise EmorecError(
                    f"nothing was written, {len(faults)} finding"
                    f"{'s' * (len(faults) > 1)}; the first: {first}"
                )
            for name in changed:
                os.replace(
                    os.path.join(temporary, name), os.path.join(folder, name)
                )
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)
    except OSError as e:
        raise EmorecError(
            f"{folder}: cannot be written ({e.strerror or e}); choose another "
            "--output_dir"
        ) from e
    return list(changed)


def _write(path: str, text: str) -> None:
    # Before the first letter of a private key is in it.
    mode = 0o600 if os.path.basename(path) == "ssl.config" else 0o644
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(number, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def _differs(folder: str, name: str, text: str) -> bool:
    path = os.path.join(folder, name)
    if os.path.islink(path) or not os.path.isfile(path):
        return True
    try:
        with open(path, encoding="utf-8", newline="") as file:
            same = file.read(len(text) + 1) == text
    except (OSError, UnicodeDecodeError):
        return True
    return not same or (
        name == "ssl.config" and os.stat(path).st_mode & 0o077 != 0
    )
