"""The components, for our pipeline and for anybody's.

    from tfx_pipeline.components import FeatureExtractor, ServableValidator

`ClipExampleGen`            videos and a manifest, or a data set of `emorec
                            prepare`, to records of frames
`StrictExampleValidator`    an anomaly ends the run, in words
`FeatureExtractor`          records of frames to records of features
`ClipEvaluator`             TFX's Evaluator, with faults told in one line
`ServableValidator`         real requests to a model server before a push
`VersionPusher`             Pusher whose version is new and will be served
`ClipInferrer`              BulkInferrer over a split that may not be there

A component is imported when it is asked for: each brings another part of TFX.
"""

import importlib

_MODULES = {
    "ClipEvaluator": "clip_evaluator",
    "ClipExampleGen": "clip_example_gen",
    "ClipInferrer": "clip_inferrer",
    "FeatureExtractor": "feature_extractor",
    "ServableValidator": "servable_validator",
    "StrictExampleValidator": "example_validator",
    "VersionPusher": "version_pusher",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
