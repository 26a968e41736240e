"""How StatisticsGen looks at the records of frames."""

import tensorflow_data_validation as tfdv


def options() -> tfdv.StatsOptions:
    """Returns the options for StatisticsGen beside the schema.

    Give StatisticsGen the schema as its input `schema`: that marks the JPEGs
    as images (`image_domain`), so that their presence and number are counted
    and nothing else. Without it each JPEG is taken for a word and the most
    frequent ones are looked for: 800 records of 24 JPEGs took 2.0 s and
    280 MB without it, 1.1 s and 160 MB with it. The domains of the schema do
    not change what is counted, so a value outside them is still seen.
    """
    # A JPEG is decoded by none of TFDV's generators: what is in a crop is
    # the business of who cut it.
    return tfdv.StatsOptions(enable_semantic_domain_stats=False)
