"""The pipeline as a KFP v2 spec, for Kubeflow Pipelines and Vertex AI."""

import dataclasses
import os
import re
import tempfile

from emorec.data import files
from emorec.errors import ConfigError
from tfx_pipeline.settings import Settings

# Where the image (Dockerfile) has the committed schema.
SCHEMA_IN_IMAGE = "/opt/emorec/tfx_pipeline/schema/schema.pbtxt"
# [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]; a space or a quote is a slip.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")


def compile_pipeline(
    settings: Settings, image: str, path: str | os.PathLike
) -> list[str]:
    """Writes the pipeline's spec.

    Args:
        settings: Whose paths are remote.
        image: The container image of every node (tfx_pipeline/Dockerfile).
        path: The file to be: `.yaml` or `.yml` for a KFP pipeline spec,
            `.json` for a job of Vertex AI.

    Returns:
        The names of the nodes.

    Raises:
        ConfigError: A path is local, the name of the image or of the file is
            wrong, or the settings do not fit together.
        ModuleNotFoundError: kfp is not installed.
    """
    _check(settings, image, str(path))
    # Named here, for the message: TFX only lacks an attribute without it.
    import kfp  # noqa: F401
    from tfx import v1 as tfx

    from tfx_pipeline import pipeline

    made = pipeline.create(_for_kubeflow(settings), managed=True)
    config = tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
        display_name=settings.pipeline_name,
        default_image=image,
        use_pipeline_spec_2_1=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        name = "pipeline" + os.path.splitext(path)[1]
        runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
            config=config, output_dir=folder, output_filename=name
        )
        runner.run(made)
        with (
            files.atomic(path) as temporary,
            open(os.path.join(folder, name), "rb") as source,
        ):
            temporary.write_bytes(source.read())
    return [node.id for node in made.components]


def _for_kubeflow(settings: Settings) -> Settings:
    """Settings that hold inside the containers.

    KFP takes lower-case letters, digits and `-` in a pipeline's name.
    """
    schema = settings.schema_file
    if not schema and settings.input.labels == "mec2017":
        schema = SCHEMA_IN_IMAGE
    return dataclasses.replace(
        settings,
        pipeline_name=settings.pipeline_name.replace("_", "-"),
        schema_file=schema,
    )


def _check(settings: Settings, image: str, path: str):
    if not _IMAGE.fullmatch(image):
        raise ConfigError(
            f"`--image` must be REGISTRY/NAME:TAG. Received: {image!r}"
        )
    if not path.endswith((".yaml", ".yml", ".json")):
        raise ConfigError(
            f"`--output` must end in .yaml or .json. Received: {path!r}"
        )
    paths = {
        "pipeline_root": settings.pipeline_root,
        "serving_dir": settings.serving_dir,
        "input.base": settings.input.base,
        "schema_file": settings.schema_file,
        "encoders.face_weights": settings.encoders.face_weights,
        "encoders.context_weights": settings.encoders.context_weights,
    }
    for name, value in paths.items():
        if value and not files.is_remote(value):
            raise ConfigError(
                f"pipeline settings: `{name}` must be remote (gs://, s3://, "
                f"hdfs://), for every node is a container. Received: {value!r}"
            )
