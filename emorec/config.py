"""The config tree: frozen dataclasses, the only place of emorec's defaults.

Flags hold paths and choices of one run; every other knob is a field here and
is overridden by name, `--set clip.face_margin=0.3`. The resolved config is
written beside every product. `Config.data_hash()` covers the sections that
decide a record's content, so that records, models and clips that do not fit
each other are refused by name.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable

from emorec import config_check, config_values
from emorec.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class VideoConfig:
    """How frames come out of a file (`emorec.video.reader`).

    Attributes:
        fps: Frames analysed per second. Ours: the paper's rate is lost.
        max_pixels: Largest width x height that is decoded.
        frame_timeout_s: Longest time in seconds that one frame may take to
            decode.
        max_file_bytes: Largest file that is opened.
        buffer_frames: Decoded frames that may wait for the detector.
    """

    fps: float = 8.0
    max_pixels: int = 8192 * 4320
    frame_timeout_s: float = 20.0
    max_file_bytes: int = 64 << 30
    buffer_frames: int = 16


@dataclasses.dataclass(frozen=True)
class DetectorConfig:
    """The face detector (`emorec.video.faces`).

    Attributes:
        input_width: Frames wider than this are reduced to it before
            detection, in pixels; 0 keeps the full width.
        min_face_size: Smallest face side that is looked for, in pixels of
            the frame as it is analysed (after `input_width`).
        scale_factor: Ratio between two levels of the image pyramid.
        thresholds: Score thresholds of PNet, RNet and ONet.
        batch_frames: Frames that go through the networks together.
        max_faces: Most faces kept in one frame, the best scores first.
        detect_every: Frames whose number is a multiple of this are searched
            for faces; the others only near those found, where nobody comes or
            goes (`emorec.video.follow`). 1 searches every frame. Up to three
            times as many whole frames wait in memory.
        follow_score: A frame is searched in full where a followed face scores
            less than this, 0 to 1.
        scene_cut: Mean difference of two frames' thumbnails, 0 to 255, above
            which both are searched. Moving cameras gave up to 21, cuts and
            clips joined at random 32 and more.
    """

    input_width: int = 640
    min_face_size: int = 32
    scale_factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8)
    batch_frames: int = 16
    max_faces: int = 64
    detect_every: int = 3
    follow_score: float = 0.95
    scene_cut: float = 25.0


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """How boxes become people (`emorec.video.tracks`).

    Attributes:
        min_iou: Least overlap of two boxes of one person, 0 to 1.
        max_gap_s: Longest time in seconds without a face within a track.
        min_frames: Shortest track that is kept, in frames at `video.fps`; a
            video of fewer sampled frames keeps tracks of its own length.
        min_score: A track is kept where its best face scores this much, 0 to
            1. A false face may last (a wall and a van for 10 frames, at most
            .93), and every real one that was looked at has a clear moment.
    """

    min_iou: float = 0.3
    max_gap_s: float = 1.0
    min_frames: int = 3
    min_score: float = 0.95


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """The two streams of one track (`emorec.video.clip`).

    Attributes:
        clip_frames: Longest clip for evaluation and prediction, in sampled
            frames. Ours.
        face_margin: Border added around the square of the face box's longer
            side, as a share of it, on every side. Ours: mini-XCEPTION was
            surer of the right class the tighter the crop (BUILD_NOTES.md).
        crop_size: Height and width at which both streams are stored, pixels.
        jpeg_quality: Quality of the stored JPEG crops (4:4:4), 1 to 100.
    """

    clip_frames: int = 32
    face_margin: float = 0.0
    crop_size: int = 224
    jpeg_quality: int = 95


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What `prepare` writes (`emorec.data`).

    Attributes:
        train_phases: Training records are sampled at `train_phases` x
            `video.fps`, so that each epoch can draw another phase.
        train_frames: Longest training record in seconds x `video.fps`; a
            longer track goes on in a further record.
        shard_rows: Manifest rows in one shard.
    """

    train_phases: int = 2
    train_frames: int = 128
    shard_rows: int = 16


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """The frozen encoders (`emorec.features`).

    Attributes:
        face_encoder: Preset of the face stream's CNN, or the path of a Keras
            classifier (a file, or a folder of `emorec train_face`).
        context_encoder: The same of the context stream's CNN.
        file_pixels: What a Keras file of others expects: `raw` (0 to 255),
            `unit` (0 to 1), `signed` (-1 to 1) or `caffe` (BGR, 0 to 255
            less ImageNet's mean).
        batch_frames: Frames that go through an encoder together.
        bfloat16: Which encoders of a model folder compute in bfloat16 when it
            answers, where the CPU can: `none`, `context` or `all`. Stored
            features, evaluations and exported models are of float32.
    """

    face_encoder: str = "mini_xception"
    context_encoder: str = "squeezenet"
    file_pixels: str = "raw"
    batch_frames: int = 16
    bfloat16: str = "context"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network that is trained (`emorec.models`).

    Attributes:
        system: The id of the system.
        encoder_units: F, size of the dense encoding of each stream; 0 is the
            system's own (`emorec.models.presets`, derived from the paper's
            Table I).
        rnn_units: H, LSTM units; 0 is the system's own.
        dropout: Share of the encoded features and of the final state that is
            dropped in training. Ours.
        attention: Whether a cascade attends to its earlier stacks; `false`
            cuts that for an ablation.
        seeding: Whether a cascade's later stacks start from the state of the
            one before; `false` starts them from zeros.
        conv_filters: Filters of each 3D convolution (`cnn_2d3d`). Ours.
        time_bins: Steps that the 2D-3D-CNN's adaptive pooling makes of a
            clip. Ours.
    """

    system: str = "caca_rnn_a"
    encoder_units: int = 0
    rnn_units: int = 0
    dropout: float = 0.3
    attention: bool = True
    seeding: bool = True
    conv_filters: int = 64
    time_bins: int = 4


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training loop (`emorec.training`). All ours but Adam.

    Attributes:
        learning_rate: Adam's step size.
        batch_size: Clips per step.
        epochs: Most epochs.
        patience: Epochs without a better validation loss before stopping.
        class_weights: Weigh each class by the inverse of its frequency.
        clip_norm: Largest global norm of a gradient.
        source_weights: `name=weight,...`: how often an epoch sees a record of
            each source, on average; 1 for a source that is not named.
    """

    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 50
    patience: int = 10
    class_weights: bool = True
    clip_norm: float = 5.0
    source_weights: str = ""


@dataclasses.dataclass(frozen=True)
class FaceTrainConfig:
    """Training of a face classifier (`emorec.features.train_face`). All ours.

    Attributes:
        image_size: Height and width of the images, pixels; 0 is the
            architecture's own.
        learning_rate: Adam's step size.
        batch_size: Images per step.
        epochs: Most epochs.
        patience: Epochs without a better validation loss before stopping.
        validation_share: Share of the images held out where the images come
            without a split of their own.
        class_weights: Weigh each class by the inverse of its frequency.
        flip: Whether images are mirrored at random.
        rotation: Largest turn, as a share of a full turn.
        zoom: Largest change of size, as a share.
        shift: Largest shift, as a share of the side.
        brightness: Largest change of brightness, as a share of the range.
    """

    image_size: int = 0
    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 60
    patience: int = 10
    validation_share: float = 0.15
    class_weights: bool = True
    flip: bool = True
    rotation: float = 0.03
    zoom: float = 0.1
    shift: float = 0.1
    brightness: float = 0.1


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole tree; see each section."""

    video: VideoConfig = VideoConfig()
    detector: DetectorConfig = DetectorConfig()
    tracks: TrackConfig = TrackConfig()
    clip: ClipConfig = ClipConfig()
    data: DataConfig = DataConfig()
    features: FeatureConfig = FeatureConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    face_train: FaceTrainConfig = FaceTrainConfig()

    def __post_init__(self):
        config_check.check(self)

    def to_dict(self) -> dict:
        """Returns plain dicts, lists and scalars, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> "Config":
        """Builds a config from `to_dict`'s form; absent fields keep defaults.

        Raises:
            ConfigError: A section or field is unknown or has a bad type.
        """
        return config_values.from_dict(cls, config_check.upgraded(values))

    def override(self, assignments: Iterable[str]) -> "Config":
        """Returns a copy with `section.field=value` assignments applied."""
        values = self.to_dict()
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            section, _, field = path.strip().partition(".")
            if not equals or field not in values.get(section, {}):
                raise ConfigError(
                    "`--set` must be section.field=value with a field of "
                    "`emorec.config`. Received: "
                    f"{assignment!r}{_near(section, values)}"
                )
            values[section][field] = config_values.parse(text.strip())
        return self.from_dict(values)

    def data_hash(self) -> str:
        """Returns 16 hex digits that name what decides a record's content."""
        values = self.to_dict()
        return short_hash(
            {
                "video.fps": values["video"]["fps"],
                "detector": {
                    k: v
                    for k, v in values["detector"].items()
                    if k != "batch_frames"
                },
                "tracks": values["tracks"],
                "clip": values["clip"],
                "train_phases": values["data"]["train_phases"],
                "train_frames": values["data"]["train_frames"],
            }
        )


def short_hash(value) -> str:
    """Returns the first 16 hex digits of the SHA-256 of `value` as JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_differences(ours: Config, theirs: Config) -> list[str]:
    """Names the fields that make two data hashes differ, with both values."""
    found = []
    for section in ("video", "detector", "tracks", "clip", "data"):
        a = dataclasses.asdict(getattr(ours, section))
        b = dataclasses.asdict(getattr(theirs, section))
        for name in a:
            changed = dataclasses.replace(
                ours,
                **{
                    section: dataclasses.replace(
                        getattr(ours, section), **{name: b[name]}
                    )
                },
            )
            if changed.data_hash() != ours.data_hash():
                found.append(f"{section}.{name} is {b[name]}, not {a[name]}")
    return found


def _near(section: str, values: dict) -> str:
    if section in values:
        return f"; fields of {section}: {', '.join(values[section])}"
    return f"; sections: {', '.join(values)}"
