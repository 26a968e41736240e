"""A manifest of videos to a data set of sharded TFRecords."""

import concurrent.futures
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from emorec.config import Config, short_hash
from emorec.data import dataset, files, processes, shards
from emorec.data.manifest import Manifest
from emorec.errors import EmorecError, RecordError
from emorec.features import detector

PLAN = "plan.json"


def plan(
    manifest: Manifest,
    output_dir: str | os.PathLike,
    config: Config,
    people: str = "main",
    by_split: bool = False,
) -> list[shards.ShardTask]:
    """Cuts a manifest into shards; the same input gives the same plan.

    Args:
        manifest: The videos.
        output_dir: Where the shards go; may be remote.
        config: The resolved config.
        people: See `prepare`.
        by_split: Put the shards of a split into a folder `Split-<split>`, as
            TFX wants its examples.
    """
    tasks = []
    for split in sorted({row.split for row in manifest.rows}):
        rows = [_row(r, manifest) for r in manifest.rows if r.split == split]
        size = config.data.shard_rows
        total = -(-len(rows) // size)
        for i in range(total):
            name = f"{split}-{i:05d}-of-{total:05d}.tfrecord"
            if by_split:
                name = f"{dataset.SPLIT_FOLDER}{split}/{name}"
            tasks.append(
                shards.ShardTask(
                    path=files.join(str(output_dir), name),
                    split=split,
                    people=people,
                    config=config.to_dict(),
                    rows=tuple(rows[i * size : (i + 1) * size]),
                )
            )
    return tasks


def _row(row, manifest) -> shards.ShardRow:
    return shards.ShardRow(
        id=row.id,
        line=row.line,
        video=row.video,
        path=row.path,
        sha256=manifest.sha256[row.path],
        label=row.label or "",
        label_id=manifest.labels.id_of(row.label) if row.label else -1,
        start=row.start,
        end=row.end,
        identity=row.identity or "",
        source=row.source,
    )


def prepare(
    manifest: Manifest,
    output_dir: str | os.PathLike,
    config: Config,
    *,
    people: str = "main",
    workers: int = 1,
    overwrite: bool = False,
    by_split: bool = False,
    earlier: Sequence[str | os.PathLike] = (),
    write: Callable[[list[shards.ShardTask]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dataset.Dataset:
    """Writes the data set, going on where an earlier run stopped.

    Args:
        manifest: The videos.
        output_dir: Where the shards go; may be remote.
        config: The resolved config.
        people: `main`: the label belongs to the person who is seen most;
            `all`: to everybody.
        workers: Processes; 1 works in this one, 0 chooses
            (`processes.default_workers`).
        overwrite: Begin anew, whatever data set the folder holds: all its
            shards are removed, finished ones of this very task as well.
        by_split: See `plan`.
        earlier: Data sets, finished or not, whose shards of the same task
            are copied instead of made anew.
        write: Writes the shards that are not there yet, elsewhere than in
            this process (a Beam pipeline); `workers` is not used then.
        progress: Called with (rows done, all rows).

    Raises:
        EmorecError: The folder holds another data set, or no video at all
            could be read.
    """
    tasks = plan(manifest, output_dir, config, people, by_split)
    _claim(output_dir, tasks, overwrite)
    for task in tasks:
        files.remove_leftovers(task.path)
    shards.adopt(tasks, earlier)
    rows = sum(len(t.rows) for t in tasks)
    summaries, done = [], 0

    def step(count):
        nonlocal done
        done += count
        if progress is not None:
            progress(done, rows)

    for summary in _run(tasks, workers, write, step):
        summaries.append(summary)
    made = _describe(manifest, output_dir, config, people, summaries)
    if not any(v["records"] for v in made.splits.values()):
        raise RecordError(
            f"{manifest.path}: none of its {rows} videos could be read; "
            f"the first: {made.failures[0]['reason']}"
        )
    made.write()
    return made


def _claim(folder, tasks, overwrite):
    """Refuses to mix two data sets in one folder.

    With `overwrite`, removes every shard of the data set that is there, even
    those that would fit: to begin anew is what was asked for.
    """
    ours = {shards.relative_name(t.path): t.hash for t in tasks}
    path = files.join(folder, PLAN)
    if files.exists(path):
        theirs = files.read_json(path, "plan of a data set", "delete it")
        if not overwrite:
            if theirs.get("shards") == ours:
                return
            raise EmorecError(
                f"{folder}: holds a data set of another manifest or config; "
                "choose another --output_dir, or give --overwrite"
            )
        files.remove(files.join(folder, dataset.FILE))
        for name in theirs.get("shards", {}):
            if dataset.is_shard_name(name):
                shard = files.join(folder, name)
                files.remove(shard)
                files.remove(shards.summary_path(shard))
    files.write_json(path, {"shards": ours})


def _run(tasks, workers, write, step) -> Iterator[shards.ShardSummary]:
    """Yields the summaries in the order of the tasks."""
    waiting = []
    for task in tasks:
        if shards.finished(task) is not None:
            step(len(task.rows))
        else:
            waiting.append(task)
    if write is not None:
        write(waiting)
        for task in waiting:
            step(len(task.rows))
    elif (workers := _workers(workers, waiting)) > 1:
        _run_pool(waiting, workers, step)
    else:
        if waiting:
            detector.import_tensorflow()
        for task in waiting:
            shards.write_shard(task, lambda row: step(1))
    # All are there by now: this reads their summaries, in order.
    yield from map(shards.write_shard, tasks)


def _workers(asked, waiting) -> int:
    rows = sum(len(task.rows) for task in waiting)
    return min(asked or processes.default_workers(rows), len(waiting))


def _run_pool(waiting, workers, step):
    made = processes.Processes()
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=made,
        initializer=processes.begin_video_worker,
        initargs=(workers, detector.import_tensorflow),
    )
    try:
        futures = {pool.submit(shards.write_shard, t): t for t in waiting}
        for future in concurrent.futures.as_completed(futures):
            future.result()
            step(len(futures[future].rows))
    except concurrent.futures.process.BrokenProcessPool as e:
        raise EmorecError(
            "a worker process was killed, perhaps for want of memory; run "
            "the command again with fewer --workers: finished shards are kept"
        ) from e
    except (KeyboardInterrupt, SystemExit):
        # A shard may take minutes: nobody who wants an end waits for it.
        made.kill()
        pool.shutdown(cancel_futures=True)
        for task in waiting:
            files.remove_leftovers(task.path)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _describe(
    manifest, output_dir, config, people, summaries
) -> dataset.Dataset:
    splits = {}
    for s in summaries:
        split = splits.setdefault(
            s.split,
            {
                "files": [],
                "rows": 0,
                "records": 0,
                "frames_total": 0,
                "frames_with_face": 0,
                "no_face": 0,
                "labels": Counter(),
            },
        )
        split["files"].append(shards.relative_name(s.path))
        for key in (
            "rows",
            "records",
            "frames_total",
            "frames_with_face",
            "no_face",
        ):
            split[key] += getattr(s, key)
        split["labels"].update(s.labels)
    sources = Counter()
    for s in summaries:
        sources.update(s.sources)
    return dataset.Dataset(
        path=str(output_dir),
        config=config,
        labels=manifest.labels,
        splits={
            k: {**v, "labels": dict(v["labels"])} for k, v in splits.items()
        },
        failures=[f for s in summaries for f in s.failures],
        damaged=[f for s in summaries for f in s.damaged],
        sources=dict(sources),
        fingerprint=_fingerprint(manifest, people, summaries),
    )


def _fingerprint(manifest, people, summaries) -> str:
    """Names what the records hold, but for the config's part in it."""
    failed = sorted(f["video"] for s in summaries for f in s.failures)
    return short_hash([manifest.fingerprint, people, failed])
