"""What the Tuner runs: keras-tuner over the sizes of a system.

    Tuner(tuner_fn="tfx_pipeline.tuner.tuner_fn",
          custom_config={**trainer.custom_config("caca_rnn_a"),
                         "tuner": {"max_trials": 20}}, ...)

A trial is a run of `emorec.training.train`, as the Trainer's, in a temporary
folder; its score is the best validation loss. A hyperparameter is called by
its field of the config, so that the Trainer takes the best values as they are.
"""

import gc
import json
import tempfile

import keras_tuner
import tensorflow as tf
from absl import logging
from keras_tuner.engine import base_tuner
from tfx.components.tuner.component import TunerFnResult

from emorec.errors import ConfigError, EmorecError, TrainingError
from emorec.models import presets
from emorec.training import distribution, train
from tfx_pipeline import trainer, tuner_space

RANDOM, BAYESIAN = ALGORITHMS = ("random", "bayesian")
OBJECTIVE = "val_loss"
DEFAULTS = {"max_trials": 10, "algorithm": BAYESIAN, "space": {}}


def tuner_fn(fn_args) -> TunerFnResult:
    """Returns the search that TFX is to start.

    Args:
        fn_args: TFX's `FnArgs`; `custom_config` is that of
            `trainer.custom_config` with `tuner`: `max_trials`, `algorithm`
            (`random` or `bayesian`) and `space` (`tuner_space.parse`; empty
            is the system's own).

    Raises:
        ConfigError: The settings are wrong, several workers are to tune, or
            the system has nothing to tune.
        TrainingError: The data set has no validation split.
    """
    strategy = distribution.choose()
    custom = trainer.read_custom(fn_args)
    features = trainer.features_of(fn_args)
    wanted = _settings(fn_args.custom_config)
    system = custom["system"]
    if distribution.is_multi_worker(strategy):
        raise ConfigError(
            f"the Tuner runs on one worker. Received: {distribution.VARIABLE} "
            "with several; unset it for this node"
        )
    if presets.get(system).training != "gradient":
        raise ConfigError(
            f"the Tuner needs a system that is trained by gradients. "
            f"Received: {system!r}; leave the Tuner out (tuner.max_trials=0)"
        )
    if not features.data.splits.get("validation", {}).get("files"):
        raise TrainingError(
            f"{features.path}: the Tuner compares losses on the validation "
            "split, and the data set has none; leave the Tuner out"
        )
    config = train.training_config(features.data, system, custom["assignments"])
    space = tuner_space.parse(
        wanted["space"] or tuner_space.default(config), config
    )
    search = Search(features, custom, wanted, space, strategy)
    return TunerFnResult(tuner=search, fit_kwargs={})


def _settings(custom: dict) -> dict:
    """Returns `custom_config["tuner"]` with its defaults, checked."""
    given = custom.get("tuner") or {}
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise ConfigError(
            f"the Tuner's settings are {', '.join(DEFAULTS)}. "
            f"Received: {unknown[0]!r}"
        )
    made = {**DEFAULTS, **given}
    count = made["max_trials"]
    if type(count) is not int or count < 1:
        raise ConfigError(
            "the Tuner's `max_trials` must be a positive number. "
            f"Received: {count!r}"
        )
    if made["algorithm"] not in ALGORITHMS:
        raise ConfigError(
            f"the Tuner's `algorithm` must be {' or '.join(ALGORITHMS)}. "
            f"Received: {made['algorithm']!r}"
        )
    return made


class Search(base_tuner.BaseTuner):
    """Runs trials of one system on one feature set.

    Args:
        features: The feature set.
        custom: Of `trainer.read_custom`.
        wanted: `max_trials` and `algorithm`.
        space: Of `tuner_space.parse`.
        strategy: Where a trial runs.
    """

    def __init__(
        self,
        features,
        custom: dict,
        wanted: dict,
        space: keras_tuner.HyperParameters,
        strategy: tf.distribute.Strategy,
    ):
        self._features = features
        self._custom = custom
        self._strategy = strategy
        self._reasons = {}
        # Its state is small and of no use to another execution.
        self._folder = tempfile.TemporaryDirectory(prefix="emorec-tuner-")
        super().__init__(
            _oracle(wanted, space, custom["seed"]),
            directory=self._folder.name,
            project_name="search",
        )
        self.oracle.verbose = 0

    def search(self, *args, **kwargs) -> None:
        """Runs all trials.

        Raises:
            TrainingError: None of them completed. TFX would go on with
                arbitrary values.
        """
        super().search(*args, **kwargs)
        done = [
            t for t in self.oracle.trials.values() if t.status == "COMPLETED"
        ]
        if not done:
            first = next(iter(self._reasons.values()), "none was made")
            raise TrainingError(
                f"none of the Tuner's {len(self.oracle.trials)} trials "
                f"completed; the first: {first}"
            )

    def run_trial(self, trial, *_, **__) -> dict[str, float]:
        """Trains with a trial's values; returns the best epoch's figures."""
        values = trial.hyperparameters.values
        try:
            made = self._train(trainer.hyperparameter_assignments(values))
        except (EmorecError, tf.errors.OpError) as e:
            reason = " ".join(str(e).split())[:300]
            self._reasons[trial.trial_id] = reason
            logging.warning(
                "trial %s (%s) failed: %s",
                trial.trial_id,
                json.dumps(values),
                reason,
            )
            raise keras_tuner.errors.FailedTrialError(reason) from e
        except Exception as e:
            # Else keras-tuner would take a fault of the code for a bad value.
            raise keras_tuner.errors.FatalRuntimeError(str(e)) from e
        finally:
            # A network and its graph are circles, and a search makes dozens.
            # Keras' clear_session frees no more (both 887 MB after 7 trials).
            gc.collect()
        logging.info(
            "trial %s (%s): %s %.4f",
            trial.trial_id,
            json.dumps(values),
            OBJECTIVE,
            made[OBJECTIVE],
        )
        return made

    def _train(self, assignments) -> dict[str, float]:
        data = self._features.data
        config = train.training_config(
            data,
            self._custom["system"],
            [*self._custom["assignments"], *assignments],
        )
        inputs = presets.inputs_of(config.model)
        with tempfile.TemporaryDirectory(prefix="emorec-trial-") as folder:
            made = train.train(
                data,
                folder,
                config,
                self._features.encoders.only(inputs),
                sources=self._features.sources(inputs),
                strategy=self._strategy,
                seed=self._custom["seed"],
            )
        return dict(made.info["best"])

    def on_trial_end(self, trial) -> None:
        """Keeps the reason of a failure in place of a traceback."""
        trial.message = self._reasons.get(trial.trial_id, trial.message)
        super().on_trial_end(trial)

    def search_space_summary(self, extended: bool = False) -> None:
        """Logs what keras-tuner would print."""
        for entry in self.oracle.get_space().space:
            logging.info("%s: %s", entry.name, entry.get_config())

    def results_summary(self, num_trials: int = 10) -> None:
        """Logs the best trials."""
        for trial in self.oracle.get_best_trials(num_trials):
            logging.info(
                "trial %s: %s, %s",
                trial.trial_id,
                trial.score,
                json.dumps(trial.hyperparameters.values),
            )


def _oracle(wanted, space, seed):
    """Makes the algorithm; the same seed asks for the same trials."""
    arguments = {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "max_trials": wanted["max_trials"],
        "hyperparameters": space,
        # keras-tuner takes a seed of 0 for none.
        "seed": seed + 1,
        "allow_new_entries": False,
        "tune_new_entries": False,
        # Else three failures in a row end the search with a traceback.
        "max_consecutive_failed_trials": wanted["max_trials"] + 1,
    }
    if wanted["algorithm"] == RANDOM:
        return keras_tuner.oracles.RandomSearchOracle(**arguments)
    # By default three random trials a dimension, which may be all of them.
    first = min(3 * len(space.space), max(2, wanted["max_trials"] // 2))
    return keras_tuner.oracles.BayesianOptimizationOracle(
        **arguments, num_initial_points=first
    )
