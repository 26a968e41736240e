"""docs/scaling.md is computed, and rightly."""

import json

import pytest

from benchmarks import capacity, scaling
from emorec.config import DataConfig

# Chosen so that what they give can be computed by hand.
FIGURES = {
    "prepare": 2.0,
    "features": 4.0,
    "video": 1.0,
    "training": 1000.0,
    "training_cores": 2.0,
    "record_kb": 1000.0,
    "feature_kb": 50.0,
    "manifest_kb": 1.0,
}


def results(figures=FIGURES) -> list[dict]:
    """Rows that hold some figures."""
    made = {}
    for key, value in figures.items():
        name, detail, *_ = capacity.FIGURES[key]
        row = made.setdefault(name, {"name": name, "detail": {}})
        if detail:
            row["detail"][detail] = value
        else:
            row["ours"] = value
    return list(made.values())


def test_every_figure_is_found_where_it_stands():
    assert scaling.measured(results()) == FIGURES


@pytest.mark.parametrize("key", FIGURES)
def test_a_figure_that_is_not_there_is_named(key):
    figures = {k: v for k, v in FIGURES.items() if k != key}
    with pytest.raises(
        SystemExit, match="results.json has no figure of .+; run `make bench`"
    ):
        scaling.measured(results(figures))


def test_a_million_clips_by_hand():
    given = scaling.assumed() | {
        "utilisation": 0.5,
        "peak": 3.0,
        "epochs": 36.0,
        "window": 5.0,
        "core_hour": 0.1,
        "gpu_cores": 2.0,
        "worker_cores": 16.0,
        "days": 30.0,
        "gb_month": 0.02,
    }
    found = scaling.need(864_000, FIGURES, given, 16)
    steady, features, training, serving = found.stages
    # 10 clips a second: 5 core-seconds in each, at half use 10 cores.
    assert (steady.cores, steady.machines) == (10, 1)
    assert steady.dollars == pytest.approx(24)
    assert features.cores == 5
    assert found.gpus == 2.5
    # 36 x 864 000 clips, 1000 a second on two cores: 17.28 core-hours.
    assert found.training_hours == pytest.approx(8.64)
    assert training.cores == pytest.approx(2 * 8.64 / 0.5 / 5)
    assert (serving.cores, serving.machines) == (60, 4)
    assert found.record_gb == 864
    assert found.feature_gb == pytest.approx(43.2)
    assert found.storage_dollars == pytest.approx(907.2 * 30 * 0.02 / 30)
    assert found.shards == 54_000
    assert found.limits[0].what == "training on one machine"
    assert found.limits[0].load == pytest.approx(8.64 / 5)


def test_the_page_names_each_bottleneck_and_each_assumption():
    page = scaling.page(results(), 16)
    assert page.count("**The first bottleneck: training on one machine") == 2
    for key in scaling.ASSUMED:
        assert f"| `{key}`: " in page
    for size in ("1,000,000", "100,000,000"):
        assert f"## {size} clips a day" in page


def test_the_page_is_what_the_results_give():
    if not scaling.RESULTS.is_file():
        assert not scaling.PAGE.exists(), "a page without results"
        return
    values = json.loads(scaling.RESULTS.read_text(encoding="utf-8"))
    page = scaling.page(values, DataConfig.shard_rows)
    assert scaling.PAGE.read_text(encoding="utf-8") == page, (
        "make it again: python -m benchmarks.scaling"
    )
