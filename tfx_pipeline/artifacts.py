"""Artifact types of our own, beside TFX's standard ones."""

from tfx.types import artifact


class DeadLetters(artifact.Artifact):
    """Videos that could not be read: `failures.csv` with their reasons.

    Its custom properties `failed` and `rows` are the rows of the manifest
    that could not be read, and all of them. (Not declared ones: the compiler
    for Kubeflow takes none of a type that is not TFX's, and wants a name of
    this form.)
    """

    TYPE_NAME = "emorec.DeadLetters"
