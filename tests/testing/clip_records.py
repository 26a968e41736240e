"""Records of small clips, and TFDV's statistics of them without Beam."""

import numpy as np
from tensorflow_data_validation.statistics import stats_impl
from tfx_bsl.coders import example_coder

from emorec.data import records
from emorec.labels import MEC2017
from emorec.video.clip import Clip
from tfx_pipeline import schema, statistics

SCHEMA = schema.for_labels(MEC2017)


def clip(frames=3, total=4, start=0.0):
    return Clip(
        track=0 if frames else -1,
        window=0,
        start=start,
        end=start + 1.0,
        times=np.arange(frames, dtype=np.float32),
        boxes=np.ones((frames, 4), np.float32),
        face=(b"\xff\xd8\xff",) * frames,
        context=(b"\xff\xd8\xff",) * frames,
        frames_total=total,
        frame_size=(64, 48),
    )


def example(number=0, label="happy", frames=3, **more):
    """A record as `prepare` writes it, of a small clip."""
    values = {
        "clip_id": f"a-{number}/t0/w0",
        "label": label,
        "label_id": MEC2017.index(label) if label in MEC2017 else -1,
        "source": "films",
        "identity": "anna",
        "video_path": f"{number}.mp4",
        "video_sha256": "0" * 64,
        "config_hash": "abc",
    }
    return records.to_example(clip(frames), **{**values, **more})


def stats_of(examples):
    """TFDV's statistics, without Beam."""
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    batch = decoder.DecodeBatch([e.SerializeToString() for e in examples])
    options = statistics.options()
    options.schema = SCHEMA
    return stats_impl.generate_statistics_in_memory(batch, options)
