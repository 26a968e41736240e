"""Fixtures of the tests of models."""

import pytest
from testing import models


@pytest.fixture(scope="session", params=models.ALL)
def case(request) -> models.Case:
    """Each system in small, a long cascade, and ablations; read-only."""
    return models.compiled(request.param)
