"""Rows found in the bytes of a request agree with decoding them and looking each name up."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.live.name_index import NameIndex

NAMES = st.text("abz-.019", min_size=0, max_size=5)


@given(st.lists(NAMES, unique=True, max_size=80), st.lists(NAMES, max_size=60), st.randoms(use_true_random=False))
def test_rows_are_those_of_a_dictionary(known: list[str], asked: list[str], draw: object) -> None:
    rows = list(range(100, 100 + len(known)))
    draw.shuffle(rows)  # type: ignore[attr-defined]
    row_of = dict(zip(known, rows, strict=True))
    found = NameIndex(row_of, 200).rows_in(msgspec.json.encode(asked))
    assert found is not None
    assert found[0].tolist() == [row_of.get(name, -1) for name in asked]
    assert found[1] == (set(asked) <= row_of.keys())


@given(st.lists(NAMES, unique=True, min_size=1, max_size=80))
def test_ranks_are_places_among_the_sorted_names(names: list[str]) -> None:
    row_of = {name: 3 * i for i, name in enumerate(names)}
    rank = NameIndex(row_of, 3 * len(names)).rank
    assert sorted(names, key=lambda name: rank[row_of[name]]) == sorted(names)


@pytest.mark.parametrize(
    "body",
    [b"null", b"{}", b'"n0"', b"[1]", b'[ "n0"]', b'["n0" ]', b'["n0",]', b'["n0"', b'["n\\u0030"]', b'["n0",1]',
     b'[["n0"]]', '["né"]'.encode(), b'["n0"]x', b"[", b"]", b"", b"[,]", b'["n0""n1"]', b'["n\x00"]'],
)  # fmt: skip
def test_what_is_no_plain_array_of_plain_names_is_left_to_a_decoder(body: bytes) -> None:
    assert NameIndex({"n0": 0, "n1": 1}, 2).rows_in(body) is None


@given(st.binary(max_size=60))
def test_any_bytes_give_rows_only_if_they_decode_to_as_many_names(body: bytes) -> None:
    found = NameIndex({"n0": 0}, 1).rows_in(body)
    if found is not None:
        assert len(json.loads(body)) == len(found[0])


def test_an_index_of_nothing_knows_nothing() -> None:
    found = NameIndex({}, 8).rows_in(b'["","n0"]')
    assert found is not None
    assert np.array_equal(found[0], [-1, -1])
    assert not found[1]
