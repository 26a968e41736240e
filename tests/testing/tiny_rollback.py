"""Rolls the tiny pipeline back, and tells what came of it; be in its folder."""

import pathlib
import sqlite3

from testing import tiny_pipeline
from tfx_pipeline import metadata_store, pushes, rollback, status

SERVING = pathlib.Path(tiny_pipeline.SERVING)


def roll_back(version=None, serving_dir=tiny_pipeline.SERVING):
    return rollback.roll_back(
        tiny_pipeline.METADATA, tiny_pipeline.NAME, serving_dir, version
    )


def told():
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        return status.collect(store, tiny_pipeline.NAME)


def tree(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def everything():
    """All that a failed rollback must leave as it was."""
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        executions = len(store.get_executions())
    return tree(SERVING), sorted(p.name for p in SERVING.iterdir()), executions


def change(statement, *values):
    """Changes ML Metadata behind its back."""
    with sqlite3.connect(tiny_pipeline.METADATA) as connection:
        connection.execute(statement, values)
    connection.close()


def copies():
    """The places of the first version: the server's, two of the pipeline's."""
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        pushed = pushes.pushed_versions(store, tiny_pipeline.NAME)[-1]
        [model] = store.get_artifacts_by_id([pushed.model_id])
    return pushed.destination, pushed.archive, f"{model.uri}/Format-Serving"
