"""Paths and files, as far as they are local; see test_s3.py."""

import os

import pytest

from emorec.data import files, shards
from emorec.errors import EmorecError


def test_a_scheme_makes_a_path_remote():
    for path in ("s3://b/x", "gs://b/x", "hdfs://host:80/x", "S3://b/x"):
        assert files.is_remote(path)
    for path in ("x", "/a/x", "a:/x", "://x", "./s3:/x", "C:\\x"):
        assert not files.is_remote(path)


def test_paths_keep_their_two_slashes():
    assert files.join("s3://b/", "a", "c.json") == "s3://b/a/c.json"
    assert files.join("/d", "a", "c.json") == "/d/a/c.json"
    assert files.parent("s3://b/a/c.json") == "s3://b/a"
    assert files.parent("/d/c.json") == "/d"
    assert files.parent("c.json") == "."
    assert files.name("s3://b/a/c.json") == files.name("/d/c.json") == "c.json"
    assert files.relative("s3://b/a/c", "s3://b") == "a/c"
    assert files.relative("s3://b/a/c", "/d") == "s3://b/a/c"
    assert files.relative("/d/a/c", "/d") == "a/c"


def test_the_suffix_says_whether_records_are_compressed():
    assert files.compression("s3://b/x.tfrecord.gz") == "GZIP"
    assert files.compression("x.tfrecord") == files.compression("gz") == ""


@pytest.mark.parametrize("root", ["/d", "s3://b/d"])
def test_a_summary_lies_beside_the_shard_or_its_folder(root):
    summary = f"{root}/shards/a-00000-of-00001.json"
    name = "a-00000-of-00001.tfrecord"
    assert shards.summary_path(f"{root}/{name}") == summary
    assert shards.summary_path(f"{root}/Split-a/{name}") == summary
    assert shards.summary_path(f"{root}/Split-a/{name}.gz") == summary
    assert shards.relative_name(f"{root}/{name}") == name
    assert shards.relative_name(f"{root}/Split-a/{name}") == f"Split-a/{name}"


def test_a_local_file_is_its_own_local_copy(tmp_path):
    path = tmp_path / "a"
    path.write_text("x")
    with files.local_copy(path) as local:
        assert local == path
    assert path.exists()


def test_files_and_folders_are_listed_and_removed(tmp_path):
    files.makedirs(tmp_path / "a" / "b")
    files.makedirs(tmp_path / "a" / "b")
    (tmp_path / "a" / "c").write_text("x")
    assert files.listing(tmp_path / "a") == ["b", "c"]
    assert files.listing(tmp_path / "absent") == []
    assert files.is_folder(tmp_path / "a") and files.exists(tmp_path / "a/c")
    assert not files.is_folder(tmp_path / "a/c")
    size, changed_ns = files.stat(tmp_path / "a/c")
    assert (size, changed_ns) == (1, os.stat(tmp_path / "a/c").st_mtime_ns)
    for name in ("a", "a", "a/c"):  # Once more: it is gone already.
        files.remove(tmp_path / name)
    assert files.listing(tmp_path) == []
    # Of a link only the link goes.
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    files.remove(tmp_path / "link")
    assert files.listing(tmp_path) == ["kept"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(EmorecError) as e:
        files.makedirs(tmp_path / "a" / "b")
    assert str(e.value) == (
        f"{tmp_path}/a/b: cannot be made (Not a directory); free some space "
        "or choose another place"
    )


@pytest.mark.parametrize("name", ["a", "a/b"])
def test_what_is_no_folder_is_not_listed(name, tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(EmorecError) as e:
        files.listing(tmp_path / name)
    message = str(e.value)
    assert message.startswith(
        f"{tmp_path}/{name}: cannot be listed (Not a directory); "
    )
    assert "\n" not in message


def test_a_tree_is_copied_with_one_file_last(tmp_path, monkeypatch):
    source = tmp_path / "source"
    for name in ("a/done.json", "a/x/y", "b"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    copied = []
    copy = files.copy

    def seen(source, target):
        copied.append(os.path.relpath(target, tmp_path / "to"))
        copy(source, target)

    monkeypatch.setattr(files, "copy", seen)
    files.copy_tree(source, tmp_path / "to", last="a/done.json")
    assert copied == ["a/x/y", "b", "a/done.json"]
    for name in copied:
        assert (tmp_path / "to" / name).read_text() == name


def test_what_cannot_be_copied_leaves_the_target_as_it_was(
    tmp_path, file_size_limit
):
    (tmp_path / "old").write_text("old")
    (tmp_path / "large").write_bytes(bytes(100_000))
    with file_size_limit(50_000), pytest.raises(EmorecError) as e:
        files.copy(tmp_path / "large", tmp_path / "old")
    assert str(e.value) == (
        f"{tmp_path}/old: cannot be written (File too large); free some space "
        "or choose another place"
    )
    assert (tmp_path / "old").read_text() == "old"
    assert files.listing(tmp_path) == ["large", "old"]
    with pytest.raises(EmorecError) as e:
        files.copy(tmp_path / "absent", tmp_path / "old")
    assert str(e.value) == (
        f"{tmp_path}/absent: is no file to copy to {tmp_path}/old; check the "
        "path"
    )
    with pytest.raises(EmorecError, match="holds no file to copy to"):
        files.copy_tree(tmp_path / "absent", tmp_path / "to")


def test_a_scheme_that_nobody_knows_is_one_line():
    with pytest.raises(EmorecError) as e:
        files.write_json("nosuch://b/x.json", {})
    message = str(e.value)
    assert message.startswith("nosuch://b/x.json: cannot be written (")
    assert message.endswith(
        "; check the address, the bucket, its credentials and the network"
    )
    assert "\n" not in message


@pytest.fixture(params=["file", "ram"])
def root(request, tmp_path) -> str:
    """A folder whose file system is no object store, by its scheme."""
    return f"{request.param}://{tmp_path}"


def test_files_of_another_file_system(root, tmp_path):
    for value in (1, 2):
        files.write_json(f"{root}/a/b.json", {"b": value})
    assert files.read_json(f"{root}/a/b.json", "", "") == {"b": 2}
    # It was written beside and renamed; nothing is left of that.
    assert files.listing(f"{root}/a") == ["b.json"]
    assert files.stat(f"{root}/a/b.json")[0] == len('{\n  "b": 2\n}\n')
    files.copy_tree(root, tmp_path / "down")
    files.copy_tree(tmp_path / "down", f"{root}/again", last="a/b.json")
    assert files.tail(f"{root}/again/a/b.json", 4) == b" 2\n}\n"[-4:]
    assert files.tail(f"{root}/again/a/b.json", 99) == b'{\n  "b": 2\n}\n'
    with files.local_copy(f"{root}/again/a/b.json") as local:
        assert local.read_text() == '{\n  "b": 2\n}\n'
        assert local.name == "b.json"
    assert not local.parent.exists()
    files.remove(f"{root}/a/b.json")
    assert not files.exists(f"{root}/a/b.json")
    assert files.exists(f"{root}/again/a/b.json")


def test_a_file_that_cannot_be_put_there_leaves_nothing(tmp_path):
    (tmp_path / "a" / "b.json" / "in the way").mkdir(parents=True)
    path = f"file://{tmp_path}/a/b.json"
    with pytest.raises(EmorecError) as e:
        files.write_json(path, {})
    assert str(e.value).startswith(f"{path}: cannot be written (")
    assert "\n" not in str(e.value)
    assert files.listing(tmp_path / "a") == ["b.json"]


def test_an_error_leaves_no_file_behind(root):
    files.write_json(f"{root}/a.json", {"old": 1})
    with pytest.raises(KeyError), files.atomic(f"{root}/a.json") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert not temporary.parent.exists()
    assert files.read_json(f"{root}/a.json", "", "") == {"old": 1}


def test_json_that_is_damaged_is_one_line(root):
    with files.atomic(f"{root}/a.json") as temporary:
        temporary.write_bytes(b"\xff{")
    with pytest.raises(EmorecError) as e:
        files.read_json(f"{root}/a.json", "plan", "make it")
    assert str(e.value) == (
        f"{root}/a.json: no plan ('utf-8' codec can't decode byte 0xff in "
        "position 0: invalid start byte); make it"
    )
