"""What a million clips a day take, computed from the measured rates.

  python -m benchmarks.scaling      writes docs/scaling.md

Rates come from `benchmarks/results.json` and nowhere else; what nobody
measured is one of `ASSUMED` and stands as such beside every figure that it
enters. A test holds that the page is what this computes.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping

from benchmarks import scaling_page
from benchmarks.capacity import FIGURES

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "scaling.md"
# Clips a day.
SIZES = (1_000_000, 100_000_000)
DAY = 86_400.0

# name -> (value, unit, what it is). Prices are round figures of the order
# that clouds ask for on demand; put your own in.
ASSUMED = {
    "utilisation": (0.7, "", "share of a core's time that does our work"),
    "peak": (3.0, "", "requests in the busiest hour over the mean"),
    "epochs": (20.0, "", "passes of a training run over a day's clips"),
    "window": (4.0, "hours", "in which a day's training has to end"),
    "core_hour": (0.04, "$", "price of a core for an hour"),
    "gpu_hour": (0.7, "$", "price of a small inference GPU for an hour"),
    "gpu_cores": (
        30.0,
        "cores",
        "that one GPU replaces for the CNNs (no GPU was measured)",
    ),
    "gb_month": (0.02, "$", "price of a GB in an object store for a month"),
    "days": (30.0, "days", "for which records and features are kept"),
    "video_mb": (0.5, "MB", "of video a clip: 4 s of 1 Mbit/s"),
    "worker_cores": (16.0, "cores", "of a Beam worker or a server replica"),
    "memory_gb": (64.0, "GB", "memory of the machine that plans the shards"),
    "files": (1e6, "files", "of one data set that a listing should hold"),
    "read_gbit": (10.0, "Gbit/s", "that one machine reads of the store"),
}


@dataclasses.dataclass(frozen=True)
class Limit:
    """Something that ends at a size.

    Attributes:
        what: Its name.
        needed: What this size needs.
        bound: What there is.
        unit: Of both.
        remedy: What to do then.
    """

    what: str
    needed: float
    bound: float
    unit: str
    remedy: str

    @property
    def load(self) -> float:
        """Need over bound; above 1 it does not fit."""
        return self.needed / self.bound


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the work at one size.

    Attributes:
        what: Its name.
        engine: What spreads it over machines.
        core_s: Core-seconds a clip, measured.
        cores: Cores that are needed all day; of training while it lasts, of
            serving at the peak.
        machines: Of `worker_cores` cores.
        dollars: A day.
    """

    what: str
    engine: str
    core_s: float
    cores: float
    machines: int
    dollars: float


@dataclasses.dataclass(frozen=True)
class Need:
    """All that one size takes; storage in GB, `limits` most loaded first."""

    clips: int
    stages: tuple[Stage, ...]
    record_gb: float
    feature_gb: float
    storage_dollars: float
    gpus: float
    gpu_dollars: float
    training_hours: float
    shards: int
    limits: tuple[Limit, ...]


def measured(results: list[dict]) -> dict[str, float]:
    """Picks the figures that the page rests on.

    Args:
        results: The objects of `results.json`.

    Returns:
        Key of `capacity.FIGURES` -> the figure.

    Raises:
        SystemExit: One is absent or was not run.
    """
    rows = {row["name"]: row for row in results}
    made = {}
    for key, (name, detail, _, _) in FIGURES.items():
        row = rows.get(name, {})
        found = row.get("detail", {}).get(detail) if detail else row.get("ours")
        if found is None:
            raise SystemExit(
                f"{RESULTS.name} has no figure of {name!r}; run `make bench`"
            )
        made[key] = float(found)
    return made


def assumed() -> dict[str, float]:
    """Returns the assumed values alone."""
    return {key: value for key, (value, _, _) in ASSUMED.items()}


def need(
    clips: int,
    rates: Mapping[str, float],
    given: Mapping[str, float],
    shard_rows: int,
) -> Need:
    """Computes what a number of clips a day takes.

    Args:
        clips: Clips a day.
        rates: `measured(...)`.
        given: `assumed()`.
        shard_rows: `data.shard_rows`.
    """
    stages = (
        _steady("preparation", 1 / rates["prepare"], clips, given),
        _steady("features", 1 / rates["features"], clips, given),
        _training(clips, rates, given),
        _serving(clips, rates, given),
    )
    gpus = stages[1].cores / given["gpu_cores"]
    record_gb = clips * rates["record_kb"] / 1e6
    feature_gb = clips * rates["feature_kb"] / 1e6
    kept = (record_gb + feature_gb) * given["days"]
    hours = clips * given["epochs"] / rates["training"] / 3600
    return Need(
        clips=clips,
        stages=stages,
        record_gb=record_gb,
        feature_gb=feature_gb,
        storage_dollars=kept * given["gb_month"] / 30,
        gpus=gpus,
        gpu_dollars=gpus * 24 * given["gpu_hour"],
        training_hours=hours,
        shards=-(-clips // shard_rows),
        limits=_limits(clips, rates, given, shard_rows, hours),
    )


def _stage(what, engine, core_s, cores, hours, given) -> Stage:
    return Stage(
        what,
        engine,
        core_s,
        cores,
        math.ceil(cores / given["worker_cores"]),
        cores * hours * given["core_hour"],
    )


def _steady(what, core_s, clips, given) -> Stage:
    cores = clips * core_s / DAY / given["utilisation"]
    return _stage(what, "Beam workers", core_s, cores, 24, given)


def _training(clips, rates, given) -> Stage:
    core_s = given["epochs"] * rates["training_cores"] / rates["training"]
    hours = clips * core_s / 3600 / given["utilisation"]
    cores = hours / given["window"]
    return _stage(
        "training", "tf.distribute", core_s, cores, given["window"], given
    )


def _serving(clips, rates, given) -> Stage:
    core_s = 1 / rates["video"]
    cores = clips * core_s / DAY * given["peak"] / given["utilisation"]
    return _stage(
        "serving, `video`", "TF Serving replicas", core_s, cores, 24, given
    )


def _limits(clips, rates, given, shard_rows, hours) -> tuple[Limit, ...]:
    found = (
        Limit(
            "training on one machine",
            hours,
            given["window"],
            "hours",
            "MultiWorkerMirroredStrategy, or train on a sample of the clips",
        ),
        Limit(
            "the manifest and its plan in one process",
            clips * rates["manifest_kb"] / 1e6,
            given["memory_gb"],
            "GB",
            "one manifest for each hour or source: spans of ClipExampleGen",
        ),
        Limit(
            "shard files of a day",
            2 * clips / shard_rows,
            given["files"],
            "files",
            "a larger `data.shard_rows` (each has a summary beside it)",
        ),
        Limit(
            "videos read by one machine",
            clips * given["video_mb"] * 8 / 1000 / DAY,
            given["read_gbit"],
            "Gbit/s",
            "more workers: each reads its own videos",
        ),
        Limit(
            "preparation on one worker",
            clips / rates["prepare"] / DAY / given["utilisation"],
            given["worker_cores"],
            "cores",
            "`--runner=beam` on Dataflow, Flink or Spark",
        ),
    )
    return tuple(sorted(found, key=lambda limit: -limit.load))


def main() -> None:
    from emorec.config import DataConfig

    try:
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise SystemExit(
            f"{RESULTS.name} cannot be read ({e}); run `make bench`"
        ) from e
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(results, DataConfig.shard_rows), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


def page(results: list[dict], shard_rows: int) -> str:
    """Returns the text of docs/scaling.md."""
    rates, given = measured(results), assumed()
    needs = [need(clips, rates, given, shard_rows) for clips in SIZES]
    return scaling_page.render(rates, FIGURES, ASSUMED, needs, shard_rows)


if __name__ == "__main__":
    main()
