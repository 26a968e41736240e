"""Writes a model card and a data card, in Markdown, for an exported model.

Each version of a SavedModel has its own among its assets, as an ONNX folder
has beside its files; `put_beside` copies those of the newest version into the
base path, where people look first. (A model server passes over files there.)
"""

import os
import pathlib
from collections.abc import Sequence

from emorec.data import files
from emorec.export import card_figures, data_card, model_card
from emorec.export.card_figures import Figures
from emorec.export.names import DATA_CARD, MODEL_CARD
from emorec.training.bundle import Bundle


def figures_of(
    bundle: Bundle, evaluations: Sequence[str | os.PathLike]
) -> list[Figures]:
    """Collects what was measured of a model.

    Args:
        bundle: The model.
        evaluations: Folders of `emorec evaluate`.

    Returns:
        Those of the evaluations, then those of the training run.

    Raises:
        ModelError: A folder holds no evaluation, or one of another model.
    """
    description = bundle.describe()
    found = [card_figures.read(f, description) for f in evaluations]
    own = card_figures.of_training(description)
    return [*found, *([own] if own else [])]


def write(
    folder: str | os.PathLike,
    bundle: Bundle,
    figures: Sequence[Figures] | None = None,
    version: int | None = None,
) -> None:
    """Writes both cards.

    Args:
        folder: Where to; it is there.
        bundle: The model.
        figures: Of `figures_of`; by default those of its training run.
        version: The exported version's number, where it has one.

    Raises:
        EmorecError: A card cannot be written.
    """
    description = bundle.describe()
    if figures is None:
        figures = figures_of(bundle, ())
    pages = {
        MODEL_CARD: model_card.text(
            description,
            figures,
            parameters=bundle.model.count_params(),
            version=version,
        ),
        DATA_CARD: data_card.text(description),
    }
    for name, page in pages.items():
        with files.atomic(pathlib.Path(folder) / name) as temporary:
            temporary.write_text(page, encoding="utf-8")


def put_beside(version: pathlib.Path) -> list[pathlib.Path]:
    """Copies a version's cards into the base path, if it is the newest.

    Args:
        version: The folder of `saved_model.export`.

    Returns:
        The copies; none where a newer version is there.

    Raises:
        EmorecError: A card cannot be written.
    """
    from emorec.export import saved_model

    if max(saved_model.versions(version.parent)) != int(version.name):
        return []
    made = []
    for name in (MODEL_CARD, DATA_CARD):
        made.append(version.parent / name)
        with files.atomic(made[-1]) as temporary:
            temporary.write_bytes((version / "assets" / name).read_bytes())
    return made
