"""What of a prediction becomes ONNX beside the recurrent network.

The CNN encoders, and the three networks that find faces.
"""

from collections.abc import Sequence

import tensorflow as tf

from emorec.export import names
from emorec.export.onnx_convert import Part
from emorec.features.encoder import Encoder

IMAGES = "images"
PIXELS = "pixels"
# Height and width of the pixels of the later two networks.
NET_SIDES = dict(zip(names.ONNX_NETS[1:], (24, 48), strict=True))


def encoder_part(encoder: Encoder, kinds: Sequence[str]) -> Part:
    """Returns an encoder: `images` uint8 [N, s, s, 3] to what is wanted of it.

    Args:
        encoder: The encoder.
        kinds: Some of its `outputs`.

    Raises:
        ModelError: Its features were given, not computed.
    """
    model = encoder.part(*kinds)
    side = encoder.crop_size

    def function(images):
        return model(images, training=False)

    return Part(
        function,
        {IMAGES: (tf.uint8, ("images", side, side, 3))},
        {kind: ("images", *encoder.outputs[kind]) for kind in kinds},
    )


def net_parts(nets) -> dict[str, Part]:
    """Returns MTCNN's networks by file: `pixels` to `offsets`, `logits`.

    Args:
        nets: A `MtcnnNets`.
    """
    pnet, rnet, onet = names.ONNX_NETS
    return {
        pnet: Part(
            _named(nets.pnet),
            {PIXELS: (tf.float32, ("images", "height", "width", 3))},
            {
                "offsets": ("images", "rows", "columns", 4),
                "logits": ("images", "rows", "columns"),
            },
        ),
        **{
            name: Part(
                _named(net),
                {PIXELS: (tf.float32, ("windows", side, side, 3))},
                {"offsets": ("windows", 4), "logits": ("windows",)},
            )
            for (name, side), net in zip(
                NET_SIDES.items(), (nets.rnet, nets.onet), strict=True
            )
        },
    }


def _named(net):
    def function(pixels):
        offsets, logits = net(pixels)
        return {"offsets": offsets, "logits": logits}

    return function
