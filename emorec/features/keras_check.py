"""What a Keras file of others may hold, looked at before Keras reads it.

A .keras file is a zip of a JSON description of the layers and an HDF5 file of
arrays; a .h5 file is HDF5 with the description as an attribute. Keras turns
the description into Python objects by the names in it: in the past, lambdas
with marshalled code and imports of any module came in that way. So only the
names in the tables below get through, which are layers that compute and do
nothing else: none runs code, opens a file or reaches the network.
"""

import os

import keras

from emorec.errors import ModelError

MAX_LAYERS = 5000
MAX_INPUT_SIDE = 4096
# Each with 1D, 2D and 3D behind it.
_STEMS = (
    "AveragePooling AvgPool Conv Convolution Cropping DepthwiseConv "
    "GlobalAveragePooling GlobalAvgPool GlobalMaxPool GlobalMaxPooling "
    "MaxPool MaxPooling SeparableConv SeparableConvolution SpatialDropout "
    "UpSampling ZeroPadding AdaptiveAveragePooling AdaptiveMaxPooling"
)
_LAYERS = frozenset(
    "Activation ActivityRegularization Add AdditiveAttention AlphaDropout "
    "Attention AugMix AutoContrast Average BatchNormalization CenterCrop "
    "Concatenate Conv2DTranspose Dense Dot Dropout ELU EinsumDense Embedding "
    "Equalization Flatten GaussianDropout GaussianNoise GroupNormalization "
    "GroupQueryAttention Identity InputLayer LayerNormalization LeakyReLU "
    "Masking Maximum Minimum MultiHeadAttention Multiply Normalization PReLU "
    "Permute RMSNormalization RandAugment RandomBrightness "
    "RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop "
    "RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur "
    "RandomGrayscale RandomHue RandomInvert RandomPerspective "
    "RandomPosterization RandomRotation RandomSaturation RandomSharpness "
    "RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling "
    "Reshape Resizing Softmax Solarization Subtract ThresholdedReLU "
    "UnitNormalization".split()
    + [f"{stem}{n}D" for stem in _STEMS.split() for n in (1, 2, 3)]
)
_MODELS = frozenset(("Functional", "Model", "Sequential"))
_INITIALIZERS = frozenset(
    "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity "
    "IdentityInitializer LecunNormal LecunUniform Ones Orthogonal "
    "OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal "
    "VarianceScaling Zeros".split()
)
_REGULARIZERS = frozenset(("L1", "L1L2", "L2", "OrthogonalRegularizer"))
_CONSTRAINTS = frozenset(("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"))
_POLICIES = frozenset(("DTypePolicy", "FloatDTypePolicy", "Policy"))
_ACTIVATIONS = frozenset(
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu "
    "hard_swish hard_tanh leaky_relu linear log_sigmoid log_softmax mish relu "
    "relu6 selu sigmoid silu soft_shrink softmax softplus softsign "
    "sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink "
    "threshold".split()
)
# Data in JSON's clothes, which Keras turns into tuples, arrays and tensors.
_VALUES = frozenset(
    "__keras_tensor__ __tuple__ __ellipsis__ __slice__ __numpy__ "
    "__tensor__ TensorShape".split()
)
# Operators in a functional model (`x / 255`), one class each.
_OPERATORS = frozenset(
    "Abs Absolute Add BroadcastTo Cast Clip Concatenate Divide Exp "
    "ExpandDims Flip GetItem HardSigmoid HardSilu HardSwish LeakyRelu Log "
    "Matmul Max Maximum Mean Min Minimum Moveaxis Multiply Negative Relu "
    "Relu6 Repeat Reshape Sigmoid Silu Softmax Softplus Softsign Split Sqrt "
    "Square Squeeze Stack Subtract Sum Swapaxes Tanh Transpose TrueDivide "
    "Gelu Elu Selu".split()
)
_BY_MODULE = {
    "keras": _POLICIES | _MODELS,
    "keras.layers": _LAYERS,
    "keras.models": _MODELS,
    "keras.src.models.functional": _MODELS,
    "keras.src.models.sequential": _MODELS,
    "keras.src.models.model": _MODELS,
    "keras.initializers": _INITIALIZERS,
    "keras.regularizers": _REGULARIZERS,
    "keras.constraints": _CONSTRAINTS,
    "keras.dtype_policies": _POLICIES,
    "keras.mixed_precision": _POLICIES,
    "keras.src.ops.core": _OPERATORS,
    "keras.src.ops.nn": _OPERATORS,
    "keras.src.ops.numpy": _OPERATORS,
    "keras.src.applications.convnext": {"LayerScale", "StochasticDepth"},
    "keras.src.applications.inception_resnet_v2": {"CustomScaleLayer"},
}
# HDF5 files of Keras 1 to 3 give no module: the class alone.
_BARE = _LAYERS.union(
    _MODELS, _INITIALIZERS, _REGULARIZERS, _CONSTRAINTS, _POLICIES
)
_OURS = "emorec>Resample"
_COUNTED = _LAYERS.union(_MODELS, _OPERATORS)


def without_compile(config) -> None:
    """Drops how a model was compiled: losses and optimizers are not needed.

    Keras itself does so for the outermost model alone.
    """
    for found in _walk(config):
        if isinstance(found, dict):
            found.pop("compile_config", None)


def _walk(value):
    """Yields every dict, list and value of parsed JSON, without recursion."""
    stack = [value]
    while stack:
        found = stack.pop()
        yield found
        if isinstance(found, dict):
            stack.extend(found.values())
        elif isinstance(found, list):
            stack.extend(found)


def check(config: dict, path: str | os.PathLike) -> None:
    """Refuses a description that names what is not in the tables.

    Args:
        config: The description, as parsed JSON.
        path: For messages.

    Raises:
        ModelError: It does, or has too many layers.
    """
    layers = 0
    registered = set(keras.saving.get_custom_objects())
    for found in _walk(config):
        if not isinstance(found, dict):
            continue
        for key, value in found.items():
            if isinstance(value, str):
                _check_text(key, value, registered, path)
        if "class_name" in found:
            name = _check_object(found, path)
            layers += name in _COUNTED
    if layers > MAX_LAYERS:
        raise ModelError(
            f"{path}: a model may have {MAX_LAYERS} layers at most. "
            f"Received: {layers}"
        )


def _check_text(key, value, registered, path):
    """Looks at a text that Keras may take for the name of a function."""
    families = {
        "activation": _ACTIVATIONS,
        "initializer": _INITIALIZERS | {"normal", "uniform", "one", "zero"},
        "regularizer": _REGULARIZERS,
        "constraint": _CONSTRAINTS,
    }
    allowed = families.get(key.rpartition("_")[2])
    if allowed is not None and _plain(value) not in map(_plain, allowed):
        _refuse(path, f"`{key}`", value)
    if value in registered and key not in ("class_name", "registered_name"):
        _refuse(path, f"`{key}`", value)


def _plain(name) -> str:
    return name.replace("_", "").lower()


def _check_object(found, path) -> str:
    """Checks one object of a description, and returns its class."""
    name, module = found["class_name"], found.get("module")
    registered, inner = found.get("registered_name"), found.get("config")
    if not isinstance(name, str):
        _refuse(path, "`class_name`", name)
    if _OURS in (name, registered):
        if name not in (_OURS, "Resample"):
            _refuse(path, "the class", name)
        return "Resample"
    # A registered name would come before the class.
    if registered not in (None, name) and name != "function":
        _refuse(path, "the registered name", registered)
    if name in _VALUES:
        return name
    if name == "function":
        if module not in ("builtins", "keras.activations", "keras.ops"):
            _refuse(path, "a function of the module", module)
        if inner not in _ACTIVATIONS or registered not in (
            None,
            inner,
            name,
        ):
            _refuse(path, "the function", inner)
        return name
    if module is None:
        if name not in _BARE:
            _refuse(path, "the class", name)
    elif not isinstance(module, str) or name not in _BY_MODULE.get(module, ()):
        _refuse(path, "the class", f"{module}.{name}")
    if name == "InputLayer":
        _check_input(inner, path)
    return name


def _check_input(inner, path):
    inner = inner if isinstance(inner, dict) else {}
    for key in ("batch_shape", "batch_input_shape", "shape"):
        for side in _walk(inner.get(key)):
            if isinstance(side, int) and side > MAX_INPUT_SIDE:
                raise ModelError(
                    f"{path}: an input may be {MAX_INPUT_SIDE} wide at most. "
                    f"Received: {side}"
                )


def _refuse(path, what, received):
    raise ModelError(
        f"{path}: {what} {str(received)[:80]!r} is not allowed in a Keras "
        "file: Lambda and others could run code or read files; save the "
        "model with layers of keras.layers that only compute"
    )
