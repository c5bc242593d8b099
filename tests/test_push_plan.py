"""What a push decides: files, gate and licence, batches, messages. No server."""

from __future__ import annotations

import hashlib

import pytest
import yaml
from hub_server.repos import git_oid
from huggingface_hub.hf_api import BlobLfsInfo, RepoSibling
from hypothesis import given
from hypothesis import strategies as st

from geogen_hf.errors import ReleaseError, UsageError
from geogen_hf.export.card import card_template, split_front_matter
from geogen_hf.hub.contents import LocalFile, check_card, mirror_card
from geogen_hf.hub.push import (
    IN_FLIGHT,
    PushOptions,
    access_during,
    batches,
    make_plan,
    require_licence_accepted,
    wanted_access,
)
from geogen_hf.hub.repo import GATES, Access

NAMES = (
    "README.md",
    "SHA256SUMS",
    "data/sequences/train-00000-of-00002.parquet",
    "data/sequences/train-00000-of-00003.parquet",
    "data/views/test-00000-of-00001.parquet",
    "data/views/notes.parquet",
    "data/train-00000-of-00001.parquet",
    "geogen.py",
    "theirs/picture.png",
    ".gitattributes",
)
contents = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3))
EXPORT_LEFT = {NAMES[2], NAMES[3], NAMES[4]}
"""Names that only an export gives its files."""


def local(path: str, content: int, *, size: int = 1) -> LocalFile:
    data = b"%d" % content
    return LocalFile(path, data, size, hashlib.sha256(data).hexdigest())


def remote(path: str, content: int, *, large: bool) -> RepoSibling:
    data = b"%d" % content
    if large:
        sha256 = hashlib.sha256(data).hexdigest()
        return RepoSibling(path, len(data), "git of a pointer", BlobLfsInfo(1, sha256, 127))
    return RepoSibling(path, len(data), git_oid(data))


@given(contents, contents, st.sets(st.sampled_from(NAMES)), st.booleans(), st.booleans())
def test_a_plan_leaves_the_local_files_and_what_is_not_ours(
    here: dict[str, int], there: dict[str, int], earlier: set[str], large: bool, remove: bool
) -> None:
    plan = make_plan(
        [local(path, content) for path, content in here.items()],
        {path: remote(path, content, large=large) for path, content in there.items()},
        ours=earlier | ({"geogen.py"} if remove else set()),
        script="geogen.py",
    )
    after = dict(there)
    for gone in plan.delete:
        assert gone.rfilename not in here
        assert gone.rfilename != ".gitattributes"
        assert gone.rfilename in earlier | EXPORT_LEFT | ({"geogen.py"} if remove else set())
        del after[gone.rfilename]
    for file in plan.add:
        assert there.get(file.path) != here[file.path]
        after[file.path] = here[file.path]
    strangers = {path: there[path] for path in after if path not in here}
    assert after == {**strangers, **here}
    assert not strangers.keys() & EXPORT_LEFT
    assert set(plan.strangers) == {path for path in strangers if not path.startswith(".git")}
    assert (plan.script is not None) == ("geogen.py" in strangers)
    assert plan.changes_nothing == (after == there)


def test_same_bytes_stored_in_another_way_are_the_same() -> None:
    file = local("a", 1)
    assert make_plan([file], {"a": remote("a", 1, large=True)}).same == (file,)
    assert make_plan([file], {"a": remote("a", 1, large=False)}).same == (file,)
    for large in (True, False):
        assert make_plan([file], {"a": remote("a", 2, large=large)}).add == (file,)


@given(st.lists(st.integers(0, 500)), st.integers(1, 50_000))
def test_batches_hold_one_file_or_a_hundredth(sizes: list[int], more: int) -> None:
    files = [local(str(n), 0, size=size) for n, size in enumerate(sizes)]
    total = sum(sizes) + more
    runs = list(batches(files, total))
    assert [file for run in runs for file in run] == files
    for run in runs:
        assert len(run) == 1 or sum(file.size for file in run) <= IN_FLIGHT * total


accesses = st.builds(Access, st.booleans(), st.sampled_from(GATES))


@given(accesses, accesses)
def test_while_a_push_goes_on_nobody_gets_in_who_is_out_before_or_after(
    found: Access, wanted: Access
) -> None:
    during = access_during(found, wanted)
    assert during.private >= max(found.private, wanted.private)
    assert (during.gated != "off") == (found.gated != "off" or wanted.gated != "off")


@given(st.none() | accesses, st.none() | st.booleans(), st.none() | st.sampled_from(GATES))
def test_options_decide_and_nothing_else_changes(
    found: Access | None, private: bool | None, gated: str | None
) -> None:
    options = PushOptions(private=private, gated=gated)  # type: ignore[arg-type]
    wanted = wanted_access(found, options, empty=found is None, sample=False)
    assert wanted.private == (private if private is not None else found is None or found.private)
    assert wanted.gated == (gated or (found.gated if found else "auto"))


def test_one_without_data_is_gated_even_if_it_is_there() -> None:
    # As after a push that was killed between making it and closing it.
    left = Access(private=True, gated="off")
    off = PushOptions(gated="off")
    assert wanted_access(left, PushOptions(), empty=True, sample=False).gated == "auto"
    assert wanted_access(left, PushOptions(), empty=True, sample=True).gated == "off"
    assert wanted_access(left, off, empty=True, sample=False).gated == "off"


@pytest.mark.parametrize("private", [True, False])
def test_no_gate_without_a_word_on_the_licence(private: bool) -> None:
    with pytest.raises(UsageError, match=r"github\.com/microsoft/GeoGen/blob/main/LICENSE"):
        require_licence_accepted(Access(private, "off"), accepted=False)
    require_licence_accepted(Access(private, "off"), accepted=True)
    require_licence_accepted(Access(private, "manual"), accepted=False)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"gated": "sometimes"}, "auto, manual, off"),
        ({"tag": "two words"}, "v1.0.0"),
        ({"tag": "ab" * 20}, "v1.0.0"),
        ({"tag": "v1", "create_pr": True}, "pull request"),
    ],
)
def test_options_that_cannot_work(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        PushOptions(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cut", "named"),
    [
        ("license_name: r-uda-1.0\n", "license_name: r-uda-1.0"),
        ("license: other\n", "license: other"),
        ("https://github.com/microsoft/GeoGen/blob/main/LICENSE", "extra_gated_prompt"),
        ("extra_gated_fields:", "extra_gated_fields"),
        ("esposito2024geogen", "citation"),
        ("Microsoft", "attribution"),
        ("(https://github.com/microsoft/GeoGen)", "attribution"),
    ],
)
def test_a_card_that_does_not_bind_its_readers_is_refused(cut: str, named: str) -> None:
    card = card_template()
    check_card(card, "README.md")
    assert cut in card
    spoilt = card.replace(cut, "x:" if cut.endswith(":") else "")
    with pytest.raises(ReleaseError, match=named):
        check_card(spoilt, "README.md")


def test_all_that_a_card_lacks_is_named_at_once() -> None:
    with pytest.raises(ReleaseError) as refused:
        check_card("---\nlicense: mit\n---\n# Heads\n", "README.md")
    for word in ("license: other", "license_link", "prompt", "fields", "attribution", "citation"):
        assert word in str(refused.value)
    for broken in ("# Heads\n", "---\na: [\n---\n"):
        with pytest.raises(ReleaseError):
            check_card(broken, "README.md")


def test_the_mirrors_card_keeps_gate_licence_and_citation() -> None:
    front, body = split_front_matter(mirror_card("lab/parts"))
    full, _ = split_front_matter(card_template())
    check_card(mirror_card("lab/parts"), "README.md")
    for key in full:
        if key.startswith(("license", "extra_gated")):
            assert front[key] == full[key]
    assert not {"configs", "dataset_info", "size_categories"} & set(front)
    assert "Results" in body
    assert yaml.safe_load(mirror_card("lab/parts").split("---\n")[1]) == front
