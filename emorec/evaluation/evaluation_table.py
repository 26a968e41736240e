"""An evaluation as text for a terminal, shares in percent."""

from emorec.evaluation import bootstrap, metrics
from emorec.evaluation.evaluation_result import Report

# More sources than this are left to the files.
_MAX_SOURCES = 20


def format_report(report: Report) -> str:
    """Returns the figures as lines of text."""
    lines = [
        metrics.format_table(report.metrics),
        "",
        *_intervals(report),
        *_sources(report),
        *_calibration(report),
        f"majority class ({report.majority}): ACC "
        f"{100 * report.majority_metrics.acc:.2f} %, MAP "
        f"{100 * report.majority_metrics.map:.2f} %",
        f"{report.coverage:.1%} of the sampled frames had a face",
    ]
    if report.unreadable:
        lines.append(
            f"{report.unreadable} videos of the split could not be read and "
            "are not counted"
        )
    if report.caution:
        lines.append(f"note: {report.caution}")
    return "\n".join(lines)


def _intervals(report) -> list[str]:
    found = [
        f"{name} {100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"
        for name, ends in report.intervals.items()
        if ends is not None
    ]
    if not found:
        return []
    return [f"{bootstrap.LEVEL:.0%} intervals: {', '.join(found)}"]


def _sources(report) -> list[str]:
    """A line a source, where there are several."""
    if len(report.sources) < 2:
        return []
    lines = [
        f"source {source.name or '(not named)'}: {source.metrics.n} clips, "
        f"ACC {100 * source.metrics.acc:.2f} %, MAP "
        f"{100 * source.metrics.map:.2f} %"
        for source in report.sources[:_MAX_SOURCES]
    ]
    if len(report.sources) > _MAX_SOURCES:
        more = len(report.sources) - _MAX_SOURCES
        lines.append(f"{more} more sources are in metrics.json")
    return lines


def _calibration(report) -> list[str]:
    found = report.calibration
    if found is None:
        return []
    line = f"calibration error (ECE): {100 * found['ece_before']:.1f} %"
    if found["temperature"] is None:
        return [f"{line}; the model has no temperature"]
    return [
        f"{line}, with the model's temperature {found['temperature']:.3f} "
        f"{100 * found['ece_after']:.1f} %"
    ]
