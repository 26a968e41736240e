"""emorec disagreement: how much raters disagree, per emotion and condition.

  emorec disagreement --ratings=ratings.csv --output_dir=study

The study of the paper's section III-A. The ratings are a CSV with the columns
item, rater, condition, emotion, intensity (condition may be left out); or the
JSON of MDNS; or tabulatedVotes.csv of CREMA-D, whose votes are expanded to 0
and 1 per rater and emotion and are called votes.

The disagreement is the mean over items of the variance over raters: the
unbiased sample variance (n - 1), or with --ddof=0 the population variance.
Intervals (95 %) are bootstrapped over items. Two conditions are compared by
a paired sign-flip permutation test, corrected over the emotions (Holm). Items
are taken to be independent of each other.

Writes disagreement.csv, comparison.csv (two conditions), disagreement.png
(the paper's Figure 1) and summary.json.
"""

from absl import flags

from emorec.cli import options

FLAGS = flags.FlagValues()
_RATINGS = flags.DEFINE_string(
    "ratings", None, "The file.", required=True, flag_values=FLAGS
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where it goes.", required=True, flag_values=FLAGS
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "auto",
    ["auto", "csv", "mdns", "crema_d"],
    "The file's form; auto looks at its beginning.",
    flag_values=FLAGS,
)
_GROUP_BY = flags.DEFINE_string(
    "group_by",
    "condition",
    "The CSV's column that names the condition; the default one may be absent.",
    flag_values=FLAGS,
)
_CONDITIONS = flags.DEFINE_list(
    "conditions",
    [],
    "Study these conditions alone, in this order, as in face,both; two are "
    "compared, the first less the second.",
    flag_values=FLAGS,
)
_MIN = flags.DEFINE_float(
    "min", 0.0, "The least rating allowed.", flag_values=FLAGS
)
_MAX = flags.DEFINE_float(
    "max", 5.0, "The greatest rating allowed.", flag_values=FLAGS
)
_MIN_RATERS = flags.DEFINE_integer(
    "min_raters",
    5,
    "The fewest raters of an item, for each emotion and condition.",
    lower_bound=2,
    flag_values=FLAGS,
)
_DDOF = flags.DEFINE_integer(
    "ddof",
    1,
    "Variance: 1 divides by raters - 1, 0 by raters.",
    lower_bound=0,
    upper_bound=1,
    flag_values=FLAGS,
)
_BOOTSTRAP = flags.DEFINE_integer(
    "bootstrap",
    2000,
    "How often items are redrawn for an interval.",
    lower_bound=100,
    upper_bound=1_000_000,
    flag_values=FLAGS,
)
_PERMUTATIONS = flags.DEFINE_integer(
    "permutations",
    9999,
    "How many sign patterns the test draws.",
    lower_bound=100,
    upper_bound=1_000_000,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of both.", lower_bound=0, flag_values=FLAGS
)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from emorec.evaluation import (
        charts,
        disagreement,
        disagreement_report,
        rating_forms,
    )

    settings = disagreement.Settings(
        ddof=_DDOF.value,
        min_raters=_MIN_RATERS.value,
        bootstrap=_BOOTSTRAP.value,
        permutations=_PERMUTATIONS.value,
        seed=_SEED.value,
    )
    charts.require()
    bounds = (_MIN.value, _MAX.value)
    ratings = rating_forms.read(
        _RATINGS.value,
        _FORMAT.value,
        low=bounds[0],
        high=bounds[1],
        group_by=_GROUP_BY.value,
    )
    if _CONDITIONS.value:
        ratings = ratings.only([c.strip() for c in _CONDITIONS.value])
    with options.output_dir(_OUTPUT_DIR.value):
        found = disagreement.study(ratings, settings)
        disagreement_report.write(found, ratings, _OUTPUT_DIR.value, bounds)
    print(disagreement_report.format_table(found, ratings))
    if len(ratings.conditions) > 2:
        print("\nno comparison: name two of the conditions with --conditions")
    return 0
