"""The errors that emorec raises for what a user can mend.

Each message is one line that says what is wrong, with what was received, and
the remedy. The command line prints it without a traceback and exits with the
class's `exit_code`; a library user catches `EmorecError`.
"""


class EmorecError(Exception):
    """Base class of every error that a user can mend."""

    exit_code = 1


class UsageError(EmorecError):
    """A flag, an argument or a combination of them is wrong."""

    exit_code = 2


class ConfigError(EmorecError):
    """A config has an unknown field, a bad value, or does not fit a product."""


class LabelError(EmorecError):
    """A label set is malformed or does not hold a label."""


class ManifestError(EmorecError):
    """A manifest CSV has faults; the message lists all of them by line."""


class VideoError(EmorecError):
    """A video cannot be opened, is out of bounds, or has no frames."""


class RecordError(EmorecError):
    """A TFRecord is corrupt, of another kind, or of another config."""


class WeightsError(EmorecError):
    """Weights cannot be found, downloaded, or are not the ones expected."""


class ModelError(EmorecError):
    """A model folder or SavedModel is absent, incomplete or unsafe."""


class TrainingError(EmorecError):
    """Training cannot start or has to stop (no clips, loss is not finite)."""


class ExportError(EmorecError):
    """An export failed its own checks; nothing was published."""


class ServerError(EmorecError):
    """A model server cannot be reached, or refused a request."""
