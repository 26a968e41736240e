r"""emorec protoset: the server's protocol in a file, for tools like grpcurl.

  emorec protoset --output=serving.protoset
  grpcurl -plaintext -protoset serving.protoset \
      -d '{"model_spec": {"name": "emotion"}}' \
      127.0.0.1:8500 tensorflow.serving.ModelService/GetModelStatus
"""

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "The file to write, a serialized FileDescriptorSet.",
    required=True,
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    target = options.check_output(_OUTPUT.value)
    if target is None:
        raise UsageError("`--output` must name a file. Received: ''")

    from emorec.data import files
    from serving.configs import protoset

    found = protoset.file_descriptor_set()
    with files.atomic(target) as path:
        path.write_bytes(found.SerializeToString())
    services = [
        f"{file.package}.{service.name}"
        for file in found.file
        for service in file.service
    ]
    print(f"{_OUTPUT.value}: {', '.join(services)}")
    return 0
