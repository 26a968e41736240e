"""Whole frames to the two streams of one clip, within a served graph.

What `emorec predict --detect_every=1 --people=main` does with a video of one
window, in TensorFlow alone: a client needs no vision code. A row is a window
of one video whose frames were sampled at `video.fps`.

Memory is bounded whatever B and T: rows go one after another, a row's frames
in chunks, and a frame is decoded again for its crops rather than kept.
"""

from collections.abc import Sequence

import tensorflow as tf

from emorec.config import Config
from emorec.export import limits
from emorec.video import graph_resize
from emorec.video.graph_faces import Faces, GraphDetector
from emorec.video.graph_tracks import main_person, track

# libjpeg's exact inverse transform: the same pixels on every machine.
_DCT = "INTEGER_ACCURATE"
# Frames decoded beside each other: at the default `video.max_pixels`, each
# takes about .6 GB (bytes, turned bytes, floats) until it is reduced.
_DECODED = 2
# What only the decoder finds is told with this name of its node.
_SCOPE = "frames_must_hold_whole_JPEG_images"


class VideoStreams:
    """Finds the main person of whole frames and cuts both streams.

    Args:
        config: Its `video`, `detector`, `tracks` and `clip` sections.
        streams: Which crops are wanted; a stream that nobody reads costs its
            cutting and coding.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """

    def __init__(
        self, config: Config, streams: Sequence[str] = ("face", "context")
    ):
        self._config = config
        self._streams = tuple(streams)
        self._detector = GraphDetector(config.detector)

    # There is no Python control flow to convert; looking for it takes longer
    # than all the rest of tracing (7 s of 12 on a busy machine).
    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, frames: tf.Tensor, times: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the streams of one clip a row, and where its boxes are.

        Args:
            frames: string [B, T], JPEG images, those of a row of one size; ""
                is padding and comes last. The pixels are taken as they are
                stored: an orientation in Exif is not heeded.
            times: f32 [B, T], seconds; those of padding are not read.

        Returns:
            `face` and `context`, those that are wanted: string [B, T], JPEG
            crops of the frames with a face, first, then "" as padding.
            `boxes` f32 [B, T, 4], x0, y0, x1, y1 in pixels, and `found` bool
            [B, T], each at its frame; 0 and False elsewhere. A row without a
            face has no crops.

        Raises:
            tf.errors.InvalidArgumentError: When run: a rule of the inputs is
                broken; the message names the input and the rule.
        """
        frames, times, mask = _checked(
            frames, times, self._config.video.max_pixels
        )
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), 1)
        rows, steps = tf.unstack(tf.shape(frames))
        empty = {
            **{s: tf.zeros((0,), tf.string) for s in self._streams},
            "boxes": tf.zeros((0, 4)),
            "found": tf.zeros((0,), tf.bool),
        }
        # A first row of no steps, so that concat() has one.
        made = {
            name: tf.TensorArray(
                value.dtype,
                size=rows + 1,
                infer_shape=False,
                element_shape=(None, *value.shape[1:]),
            ).write(0, value)
            for name, value in empty.items()
        }

        def body(i, made):
            row = self._row(
                frames[i, : lengths[i]], times[i, : lengths[i]], steps
            )
            return i + 1, {n: made[n].write(i + 1, row[n]) for n in made}

        _, made = tf.while_loop(
            lambda i, _: i < rows, body, (0, made), parallel_iterations=1
        )
        return {
            name: tf.reshape(
                made[name].concat(), [rows, steps, *value.shape[1:]]
            )
            for name, value in empty.items()
        }

    def _row(self, jpegs, times, steps):
        """Analyses one video, string [n]; returns its outputs [steps, ...]."""
        tracks = self._config.tracks
        faces = self._faces(jpegs)
        ids, people = track(tf.cast(times, tf.float64), faces, tracks)
        main = main_person(faces, ids, people, tf.shape(jpegs)[0], tracks)
        at = tf.boolean_mask(faces.frames, main)
        boxes = tf.boolean_mask(faces.boxes, main)
        crops = tf.map_fn(
            lambda part: self._crops(*part),
            (tf.gather(jpegs, at), boxes),
            fn_output_signature=dict.fromkeys(self._streams, tf.string),
            parallel_iterations=_DECODED,
        )
        padding = tf.fill([steps - tf.shape(at)[0]], "")
        return {
            **{s: tf.concat([crops[s], padding], 0) for s in self._streams},
            "boxes": tf.scatter_nd(at[:, None], boxes, [steps, 4]),
            "found": tf.scatter_nd(at[:, None], tf.ones_like(at), [steps]) > 0,
        }

    def _faces(self, jpegs) -> Faces:
        """Finds the faces of string [n], chunk by chunk."""
        count = tf.shape(jpegs)[0]
        size = tf.cond(
            count > 0, lambda: _size(jpegs[0]), lambda: tf.ones(2, tf.int32)
        )
        chunk = self._detector.batch_frames(size)

        def body(start, *found):
            images = tf.map_fn(
                lambda jpeg: self._detector.reduced(_decoded(jpeg)),
                jpegs[start : start + chunk],
                fn_output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
                parallel_iterations=_DECODED,
            )
            faces = self._detector.detect(images, size)
            values = (start + faces.frames, faces.boxes, faces.scores)
            return start + chunk, *(
                tf.concat(pair, 0) for pair in zip(found, values)
            )

        many = tf.TensorShape([None])
        _, *found = tf.while_loop(
            lambda start, *_: start < count,
            body,
            (0, tf.zeros((0,), tf.int32), tf.zeros((0, 4)), tf.zeros((0,))),
            shape_invariants=(
                tf.TensorShape([]),
                many,
                tf.TensorShape([None, 4]),
                many,
            ),
            # The next chunk is decoded while one is looked at.
            parallel_iterations=2,
        )
        return Faces(*found)

    def _crops(self, jpeg, box):
        """Returns the crops of a frame, stream -> JPEG."""
        image = _decoded(jpeg)
        clip = self._config.clip
        places = {
            "face": _face_square(box, clip.face_margin),
            "context": _context_square(tf.shape(image)[:2]),
        }
        return {
            s: tf.io.encode_jpeg(
                graph_resize.square(image, *places[s], clip.crop_size),
                format="rgb",
                quality=clip.jpeg_quality,
                chroma_downsampling=False,
            )
            for s in self._streams
        }


def _face_square(box, margin):
    """Returns left, top and side, as `clip.face_crop` takes them."""
    # Python's floats, and its rounding of halves to even.
    box = tf.cast(box, tf.float64)
    low, high = box[:2], box[2:]
    side = tf.reduce_max(high - low) * (1 + 2 * margin)
    side = tf.maximum(tf.round(side), 1)
    corner = tf.round((low + high - side) / 2)
    left, top = tf.unstack(tf.cast(corner, tf.int32))
    return left, top, tf.cast(side, tf.int32)


def _context_square(size):
    """Returns left, top and side, as `clip.context_crop` takes them."""
    side = tf.reduce_min(size)
    top, left = tf.unstack((size - side) // 2)
    return left, top, side


def _checked(frames, times, max_pixels):
    """Returns the inputs and bool [B, T], where frames are, if all is well."""
    frames, times = limits.after(
        [
            limits.steps(frames, "frames"),
            limits.same_steps(frames, times, "frames", "times"),
        ],
        frames,
        times,
    )
    mask = tf.strings.length(frames) > 0
    checks = [
        limits.prefix(
            mask,
            "`frames` must hold its frames first, then empty strings as "
            "padding",
        ),
        *limits.jpegs(frames, mask, "frames"),
        limits.check(
            tf.reduce_all(tf.math.is_finite(times) | ~mask),
            "`times` must hold finite numbers where `frames` has frames",
        ),
        limits.check(
            tf.reduce_all((times[:, 1:] >= times[:, :-1]) | ~mask[:, 1:]),
            "`times` must not decrease within a row",
        ),
    ]
    frames, times, mask = limits.after(checks, frames, times, mask)
    frames = limits.after(_size_checks(frames, mask, max_pixels), frames)
    return frames, times, mask


def _size_checks(frames, mask, max_pixels):
    """Checks the sizes that the images state, before one is decoded."""
    sizes = tf.map_fn(
        _size,
        tf.boolean_mask(frames, mask),
        fn_output_signature=tf.TensorSpec((2,), tf.int32),
    )
    counts = tf.reduce_sum(tf.cast(mask, tf.int32), 1)
    firsts = tf.repeat(tf.cumsum(counts, exclusive=True), counts)
    pixels = tf.reduce_prod(tf.cast(sizes, tf.int64), 1)
    return [
        limits.check(
            tf.reduce_all(pixels <= max_pixels),
            f"`frames` must hold images of at most {max_pixels} pixels",
        ),
        limits.check(
            tf.reduce_all(sizes == tf.gather(sizes, firsts)),
            "`frames` must hold images of one size in each row",
        ),
    ]


def _size(jpeg):
    """Returns int32 [2], height and width, without decoding."""
    with tf.name_scope(_SCOPE):
        return tf.io.extract_jpeg_shape(jpeg)[:2]


def _decoded(jpeg):
    """Returns uint8 [H, W, 3]."""
    with tf.name_scope(_SCOPE):
        return tf.io.decode_jpeg(jpeg, channels=3, dct_method=_DCT)
