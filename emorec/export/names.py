"""Names of the files in an exported model, for its writers and its readers.

Alone in a module that imports nothing, because a reader of ONNX has neither
TensorFlow nor Keras.
"""

# In a SavedModel's `assets`, and in an ONNX directory.
DESCRIPTION = "emorec.json"
LABELS = "labels.txt"
MODEL_CARD = "model_card.md"
DATA_CARD = "data_card.md"

# An ONNX directory. `ONNX_JSON` holds `format`, and `files`: name -> SHA-256
# (hex) of each file beside it.
ONNX_FORMAT = 1
ONNX_JSON = "onnx.json"
ONNX_MODEL = "model.onnx"
ONNX_NETS = ("pnet.onnx", "rnet.onnx", "onet.onnx")

# Of a SavedModel: where a model server looks for warmup requests, a TFRecord
# of PredictionLog, and how many it takes.
WARMUP = "assets.extra/tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000


def onnx_encoder(stream: str) -> str:
    """Returns the name of a stream's encoder in an ONNX directory."""
    return f"{stream}_encoder.onnx"
