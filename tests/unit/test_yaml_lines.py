"""YAML with lines: only what a configuration needs, whatever is thrown at it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy.yaml_lines import Fields, Items, Scalar, YamlLineError, read


def test_nodes_know_their_line() -> None:
    assert read("a: [1, 'b']\nb:\n  c: d\n") == Fields(
        1,
        [
            (Scalar(1, "a"), Items(1, [Scalar(1, "1"), Scalar(1, "b", quoted=True)])),
            (Scalar(2, "b"), Fields(3, [(Scalar(3, "c"), Scalar(3, "d"))])),
        ],
    )


def test_nothing_is_none() -> None:
    assert read("") is None
    assert read("# only a comment\n") is None


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: &x 1", 1, "anchors and aliases"),
        ("a: 1\nb: *x", 2, "anchors and aliases"),
        ("a: !!python/object:os.system 1", 1, "tags"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("a: 1\nb: [1\nc: 2", 3, "not YAML"),
        ("a: 1\n b: 2", 2, "not YAML"),
        ("a: 1\nb: \x00", 2, "a character that is not allowed"),
        ("? [a]\n: 1", 1, "a field's name must be text"),
        ("[" * 200_000, 1, "nested deeper than 8"),
        ("{a: " * 60_000, 1, "nested deeper than 8"),
        ("- " * 100_000, 1, "nested deeper than 8"),
        ("\n" * 300_000, 1, "larger than 256 KB"),
        ("é" * 200_000, 1, "larger than 256 KB"),
    ],
)
def test_refused(text: str, line: int, message: str) -> None:
    start = time.process_time()
    with pytest.raises(YamlLineError, match=message) as caught:
        read(text)
    assert caught.value.line == line
    assert time.process_time() - start < 5


def test_billion_laughs() -> None:
    with pytest.raises(YamlLineError, match="anchors"):
        read("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n")


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@`,? \n\t~<.0\\"), max_size=60))
def test_any_text_is_a_tree_or_an_error(text: str) -> None:
    try:
        read(text)
    except YamlLineError as error:
        assert 1 <= error.line <= text.count("\n") + 2  # noqa: PT017
