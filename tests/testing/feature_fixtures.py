"""Fixtures of tests that read records of features from TFX's artifacts.

A test module takes them by `pytest_plugins = ["testing.feature_fixtures"]`.
"""

import pytest


@pytest.fixture(scope="session")
def examples_artifact(prepared, tmp_path_factory):
    """The data set `prepared` as ClipExampleGen hands it on; read-only."""
    from testing import feature_artifacts

    folder = tmp_path_factory.mktemp("examples") / "examples" / "1"
    return feature_artifacts.examples(prepared, folder)


@pytest.fixture(scope="session")
def features_artifact(examples_artifact, tmp_path_factory):
    """FeatureExtractor's output for `examples_artifact`; read-only."""
    from testing import feature_artifacts

    root = tmp_path_factory.mktemp("features")
    with feature_artifacts.no_published_weights(root / "cache"):
        return feature_artifacts.extract(
            examples_artifact, root / "features" / "1"
        )
