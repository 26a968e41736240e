"""Artifact types of our own, beside TFX's standard ones."""

from tfx.types import artifact


class DeadLetters(artifact.Artifact):
    """Videos that could not be read: `failures.csv` with their reasons.

    Properties:
        failed: Rows of the manifest that could not be read.
        rows: All rows of the manifest.
    """

    TYPE_NAME = "EmorecDeadLetters"
    PROPERTIES = {
        "failed": artifact.Property(type=artifact.PropertyType.INT),
        "rows": artifact.Property(type=artifact.PropertyType.INT),
    }
