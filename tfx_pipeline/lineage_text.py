"""A model's lineage as lines for people."""

from tfx_pipeline import evaluation_figures
from tfx_pipeline.lineage import Lineage

_WIDTH = 12
# What of the Trainer's parameters has a line of its own.
_TOLD = ("system", "seed", "assignments", "code", "config", "tuned")


def lines(found: Lineage) -> list[str]:
    """Returns a line for each thing that a model is made of, and notes."""
    told = {
        "model": _model(found),
        "data": _data(found.data),
        "records": _records(found.data),
        "sources": _counts(found.data.get("sources", {}), "rows"),
        "config": _config(found),
        "training": _training(found.training),
        "settings": ", ".join(found.training.get("assignments") or []),
        "tuned": _pairs(found.training.get("tuned") or {}),
        "warm start": " from ".join(f"model {b['id']}" for b in found.bases),
        "code": _pairs(found.code),
        "evaluation": evaluation_figures.words(found.evaluation)
        if found.evaluation
        else "",
        "servable": _servable(found.servable),
    }
    told |= {
        f"{stream} CNN": _encoder(encoder)
        for stream, encoder in found.encoders.items()
    }
    made = [f"{k:<{_WIDTH}}{v}" for k, v in told.items() if v]
    return made + [f"note: {note}" for note in found.notes]


def _model(found) -> str:
    run = found.model["run_id"]
    return f"{found.model['id']}" + (f", trained in run {run}" if run else "")


def _data(data) -> str:
    given = data.get("given", {})
    parts = [
        "/".join(
            str(given[k])
            for k in ("input_base", "manifest", "data")
            if given.get(k)
        )
    ]
    parts += [
        f"{name} {data[name]}"
        for name in ("span", "version")
        if data.get(name) is not None
    ]
    if data.get("fingerprint"):
        parts.append(f"fingerprint {data['fingerprint']}")
    return ", ".join(filter(None, parts))


def _records(data) -> str:
    text = ", ".join(
        f"{name} {split['records']} clips of {split['rows']} rows"
        for name, split in data.get("splits", {}).items()
    )
    if data.get("failed"):
        text += f"; {data['failed']} rows unreadable"
    return text


def _config(found) -> str:
    hashes = {
        "records": found.data.get("config_hash"),
        "training": found.training.get("config"),
    }
    return _pairs({k: v for k, v in hashes.items() if v})


def _training(training) -> str:
    more = {
        k: v
        for k, v in training.items()
        if k not in _TOLD and v != "" and isinstance(v, str | int | float)
    }
    if training.get("members"):
        more["members"] = " and ".join(training["members"])
    told = {k: training[k] for k in ("system", "seed") if k in training}
    return _pairs({**told, **more})


def _encoder(encoder) -> str:
    kept = {
        k: v for k, v in encoder.items() if isinstance(v, str | int | float)
    }
    return _pairs(kept)


def _servable(servable) -> str:
    if not servable:
        return ""
    text = "blessed" if servable["blessed"] else "not blessed"
    return f"{text}: {servable['reason']}" if servable["reason"] else text


def _pairs(values: dict) -> str:
    return ", ".join(f"{k} {v}" for k, v in values.items())


def _counts(values: dict, unit: str) -> str:
    return ", ".join(f"{k or '-'} {n} {unit}" for k, n in values.items())
