"""The model card and the data card: what they say, and where they lie."""

import copy
import json
import re

import pytest

from emorec.data import planted
from emorec.errors import ModelError
from emorec.evaluation import evaluate
from emorec.export import card_figures, cards, data_card, markdown, model_card
from emorec.models import presets
from emorec.training import bundle as bundles

REMEDY = "give a folder that `emorec evaluate` wrote for this model"


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture
def description(bundle):
    """The model's description, to be changed at will."""
    return copy.deepcopy(bundle.describe())


@pytest.fixture(scope="module")
def evaluated(bundle, prepared, tmp_path_factory):
    """What `emorec evaluate` writes of the test split."""
    folder = tmp_path_factory.mktemp("evaluated") / "report"
    clips = evaluate.with_bundle(prepared, "test", bundle)
    report = evaluate.report(prepared, "test", clips, bundle.describe())
    report.write(folder)
    return folder


def tables(page):
    """Yields the rows of each table, as lists of cells."""
    rows = []
    for line in [*page.split("\n"), ""]:
        if line.startswith("|"):
            rows.append(re.split(r"(?<!\\)\|", line)[1:-1])
        elif rows:
            yield rows
            rows = []


def check_tables(page):
    found = list(tables(page))
    for rows in found:
        assert len({len(row) for row in rows}) == 1, rows
        assert all(set(cell) <= set(" :-") for cell in rows[1])
    return found


def test_the_cards_lie_in_the_assets(bundle, base_path, onnx_dir, tmp_path):
    cards.write(tmp_path, bundle, version=1)
    for name in ("model_card.md", "data_card.md"):
        expected = (tmp_path / name).read_text()
        assert (base_path / "1/assets" / name).read_text() == expected
        in_onnx = (onnx_dir / name).read_text()
        # A folder of ONNX has no version.
        assert in_onnx == expected.replace("A, version 1\n", "A\n")


def test_what_a_model_card_says(bundle):
    page = model_card.text(bundle.describe(), cards.figures_of(bundle, []))
    check_tables(page)
    assert page.startswith("# Model card: CACA-RNN A\n\n> **The context enc")
    assert "**Trained on emorec's sample set: generated videos" in page
    for line in (
        "| labels | happy, sad, angry, surprise, disgust, worried, anxious, "
        "neutral |",
        "| face encoder | mini-XCEPTION (FER2013) | MIT | "
        "oarriaga/face_classification@b861d21 | 59534287fdfb125e |",
        "| emorec-sample-set | 8 | 8 | ",
        "### Split validation\n\n8 records (one person in one window)",
        "Faces below 32 pixels in pictures of 640 pixels' width",
        f"| run | {bundle.info['run']} |",
    ):
        assert line in page
    accuracy = 100 * bundle.info["validation"]["acc"]
    assert f"| ACC (accuracy) | {accuracy:.1f} % | not measured |" in page
    found = bundle.info["calibration"]
    assert f"A temperature of {found['temperature']:.3g}, fitted on 8" in page
    assert (
        f"| validation, 8 records | {100 * found['ece_before']:.1f} % | "
        f"{100 * found['ece_after']:.1f} % |"
    ) in page
    parts = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert parts == [
        "What it is",
        "Intended use",
        "How good it is",
        "Confidence",
        "Limits and known failures",
        "Privacy of faces",
        "Frozen weights",
        "Software and paper",
    ]


def test_what_a_data_card_says(bundle, prepared):
    page = data_card.text(bundle.describe())
    splits = check_tables(page)[0]
    assert page.startswith(f"# Data card: data set {prepared.fingerprint}\n")
    cells = [[cell.strip() for cell in row] for row in splits]
    assert cells[0] == ["label", "train", "validation", "test"]
    assert ["sad", "2", "1", "1"] in cells
    assert ["**all rows**", "16", "8", "8"] in cells
    assert ["frames with a face", "100.0 %", "100.0 %", "100.0 %"] in cells
    assert "| emorec-sample-set | 32 |" in page
    assert "0 more could not be read" in page
    assert "## To be added by whoever made the data" in page


def test_the_figures_of_an_evaluation(bundle, evaluated):
    figures = cards.figures_of(bundle, [evaluated])
    assert [f.split for f in figures] == ["test", "validation"]
    page = model_card.text(bundle.describe(), figures)
    check_tables(page)
    found = json.loads((evaluated / "metrics.json").read_text())["metrics"]
    low, high = found["intervals"]["acc"]
    assert (
        f"| ACC (accuracy) | {100 * found['acc']:.1f} % | {100 * low:.1f} % "
        f"to {100 * high:.1f} % |"
    ) in page
    assert page.index("### Split test") < page.index("### Split validation")
    assert "| accuracy of always naming the commonest class | 12.5 % | - |" in (
        page
    )
    after = 100 * found["calibration"]["ece_after"]
    assert re.search(rf"\| test, 8 clips \| \S+ % \| {after:.1f} % \|", page)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"system": "face_rnn"},
            "is of another model: its system must be caca_rnn_a. Received: "
            f"face_rnn; {REMEDY}",
        ),
        (
            {"run": "0" * 16},
            f"Received: 0000000000000000; {REMEDY}",
        ),
        (
            {"metrics": []},
            "is no evaluation of this version (TypeError('list indices must "
            f"be integers or slices, not str')); {REMEDY}",
        ),
    ],
)
def test_the_evaluation_of_another_model(
    description, evaluated, tmp_path, change, message
):
    values = json.loads((evaluated / "metrics.json").read_text())
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({**values, **change}))
    with pytest.raises(ModelError) as e:
        card_figures.read(tmp_path, description)
    assert str(e.value).startswith(f"{path}: is ")
    assert str(e.value).endswith(message)
    assert "\n" not in str(e.value)


def test_a_folder_without_an_evaluation(description, tmp_path):
    with pytest.raises(ModelError) as e:
        card_figures.read(tmp_path, description)
    assert str(e.value).startswith(f"{tmp_path / 'metrics.json'}: ")
    assert str(e.value).endswith(REMEDY)


def test_names_that_are_markdown_are_shown_as_they_are(description):
    bad = "a|b <img src=x> `c` *d* [e](f)\n# g\x1b[0m\\"
    shown = "a\\|b &lt;img src=x> \\`c\\` \\*d\\* \\[e\\](f) # g?\\[0m\\\\"
    assert markdown.text(bad) == shown
    assert markdown.text("x" * 500) == "x" * 119 + "…"
    assert markdown.text("") == markdown.text(None) == "not recorded"
    info = description["info"]
    info["data"]["sources"] = {bad: 3, "": 1}
    (slice_,) = info["validation"]["sources"].values()
    info["validation"]["sources"] = {bad: slice_}
    info["notes"] = [bad]
    figures = [card_figures.of_training(description)]
    for page in (
        model_card.text(description, figures),
        data_card.text(description),
    ):
        check_tables(page)
        assert shown in page and "<img" not in page
        assert "\n# g" not in page


def test_a_model_of_an_older_version(description):
    for name in ("validation", "calibration"):
        del description["info"][name]
    for name in ("labels", "coverage", "unreadable"):
        del description["info"]["data"][name]
    assert card_figures.of_training(description) is None
    page = model_card.text(description, [])
    assert "Not known: the data had no labelled validation split, or" in page
    assert "Not calibrated: there was no validation split" in page
    page = data_card.text(description)
    assert "Counts of labels and faces were not recorded" in page
    assert "| **all rows** | 16 | 8 | 8 |" in page


@pytest.mark.parametrize("system", presets.SYSTEMS)
def test_every_system_has_a_card(description, system):
    known = presets.SYSTEMS[system]
    description["system"] = system
    description["config"]["model"] |= {
        "system": system,
        "rnn_units": known.rnn_units,
    }
    description["streams"] = list(presets.streams_of(known.inputs))
    if known.training != "gradient":
        description["info"] |= {"epochs": 0, "best_epoch": None, "best": {}}
    if known.training == "members":
        member = {"system": "cnn_2d3d", "run": "r", "weight": 0.25}
        description["info"]["members"] = [member]
    page = model_card.text(description, [])
    check_tables(page)
    assert page.startswith(f"# Model card: {known.title}\n")
    assert ("attention on" in page) is known.cascade
    assert ("| none by gradient |" in page) is (known.training != "gradient")
    assert ("0.2500 x cnn_2d3d" in page) is (known.training == "members")


def test_made_up_features_are_said_to_be_so(description):
    description["info"]["data"]["sources"] = {planted.SOURCE: 9}
    for page in (model_card.text(description, []), data_card.text(description)):
        assert "made-up features without any video" in page
        assert "sample set" not in page


def test_the_newest_version_lies_beside(bundle, tmp_path):
    for number in (2, 10):
        assets = tmp_path / str(number) / "assets"
        assets.mkdir(parents=True)
        cards.write(assets, bundle, version=number)
    assert cards.put_beside(tmp_path / "2") == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "2"]
    made = cards.put_beside(tmp_path / "10")
    assert made == [tmp_path / "model_card.md", tmp_path / "data_card.md"]
    page = made[0].read_text()
    assert page.startswith("# Model card: CACA-RNN A, version 10\n")
    assert page == (tmp_path / "10/assets/model_card.md").read_text()
