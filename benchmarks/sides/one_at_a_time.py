"""A frame at a time: `MTCNN().detect_faces`, then Keras' `predict()` twice.

How the parts are put together where nobody has tuned them. The networks and
weights are the very ones of our encoders.
"""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Loads detector and CNNs.

    Args:
        args: `video`; `fps`, frames a second that are analysed; `seconds`,
            where to stop (None: the video's end).
    """
    import cv2
    import keras
    import numpy as np
    from mtcnn import MTCNN

    from benchmarks.sides import keras_networks

    found = keras_networks.load()
    face_net, context_net = found["mini_xception"], found["squeezenet"]
    detector = MTCNN()
    keras.utils.disable_interactive_logging()

    def answer(image):
        faces = detector.detect_faces(image)
        for face in faces:
            x, y, w, h = (max(0, v) for v in face["box"])
            crop = image[y : y + h + 1, x : x + w + 1]
            face_net.predict(cv2.resize(crop, (224, 224))[None], verbose=0)
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        crop = image[top : top + side, left : left + side]
        context_net.predict(cv2.resize(crop, (224, 224))[None], verbose=0)
        return len(faces)

    def run() -> dict:
        video = cv2.VideoCapture(args["video"])
        rate = video.get(cv2.CAP_PROP_FPS)
        last, number, frames, faces = -1, 0, 0, 0
        while video.grab():
            time = number / rate
            number += 1
            if args.get("seconds") and time >= args["seconds"]:
                break
            if int(time * args["fps"] + 1e-3) == last:
                continue
            last = int(time * args["fps"] + 1e-3)
            image = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
            faces += answer(np.ascontiguousarray(image))
            frames += 1
        return {
            "units": frames,
            "detail": {
                "frames": frames,
                "faces": faces,
                "random_weights": found["random"],
            },
        }

    return run
