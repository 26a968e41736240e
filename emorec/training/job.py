"""A checked training run: builds the network, trains and describes it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import dataset, input_pipeline
from emorec.data.feature_files import FeatureFiles
from emorec.features.encoders import Encoders
from emorec.models import presets
from emorec.training import bundle, distribution, fitted, loop, warm_start


@dataclasses.dataclass(frozen=True)
class Job:
    """A run; the fields are the arguments of `train.train`, checked.

    Attributes:
        data: The prepared data set.
        config: The model's config.
        encoders: Those that the system reads.
        members: Of an ensemble, its trained members.
        base: What it begins with, or None.
        strategy: Where a gradient trains; anything else runs on one device.
        seed: Of initialisation, shuffling, sampling and dropout.
        name: Names all of these.
    """

    data: dataset.Dataset
    config: Config
    encoders: Encoders
    members: Sequence[bundle.Bundle]
    base: bundle.Bundle | None
    strategy: tf.distribute.Strategy
    seed: int
    name: str

    def work(
        self,
        sources: Mapping[str, Sequence[FeatureFiles]],
        folder: str,
        on_epoch: Callable[[int, dict], None] | None = None,
    ) -> tuple[bundle.Bundle, list[dict]]:
        """Trains.

        Args:
            sources: Split -> records of features.
            folder: Where checkpoints and logs go.
            on_epoch: Called with (epoch, figures).

        Returns:
            The model, whose network is one device's whatever trained it, and
            the figures of its epochs.
        """
        run = self._run(sources, folder)
        history, notes = [], {}
        if self._by_gradient:
            history = loop.fit(run, on_epoch)
        else:
            parts = (self.encoders, self.data.labels, self.members)
            notes = fitted.fit(run, *parts)
        model = run.model
        if run.strategy is not tf.distribute.get_strategy():
            model = self._build()
            model.set_weights(run.model.get_weights())
        return self._bundle(model, history, notes), history

    @property
    def _by_gradient(self) -> bool:
        return presets.get(self.config.model.system).training == "gradient"

    def _run(self, sources, folder) -> loop.Run:
        with distribution.together(self.strategy):
            counts = input_pipeline.class_counts(
                sources["train"],
                len(self.data.labels),
                self.config.train.source_weights,
            )
        keras.utils.set_random_seed(self.seed)
        # CPU kernels that sum in any order are the one other source of change.
        tf.config.experimental.enable_op_determinism()
        strategy = tf.distribute.get_strategy()
        if self._by_gradient:
            strategy = self.strategy
        with strategy.scope():
            model = self._build()
        if self.base is not None:
            warm_start.apply(self.base, model)
        return loop.Run(
            model=model,
            train=sources["train"],
            validation=sources.get("validation", []),
            config=self.config,
            class_counts=counts,
            seed=self.seed,
            name=self.name,
            folder=folder,
            strategy=strategy,
        )

    def _build(self) -> keras.Model:
        return presets.build(
            self.config.model,
            self.encoders.shapes,
            len(self.data.labels),
            members=[m.config.model for m in self.members],
        )

    def _bundle(self, model, history, notes) -> bundle.Bundle:
        return bundle.Bundle(
            model,
            self.encoders,
            self.config,
            self.data.labels,
            {**self._info(history), **notes},
            tuple(m.config.model for m in self.members),
        )

    def _info(self, history) -> dict:
        values = {
            "run": self.name,
            "base": None if self.base is None else self.base.info["run"],
            "seed": self.seed,
            "epochs": len(history),
            "best_epoch": None,
            "best": {},
            "notes": [],
            "data": {
                "fingerprint": self.data.fingerprint,
                "sources": self.data.sources,
                "rows": {s: v["rows"] for s, v in self.data.splits.items()},
            },
            "versions": {
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
        }
        if history:
            losses = [h.get("val_loss", h["loss"]) for h in history]
            best = int(np.argmin(losses))
            values |= {"best_epoch": best, "best": history[best]}
        return values
