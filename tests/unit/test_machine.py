"""Python's search for reference cycles rests while libraries are imported, and goes on after whatever ends the block."""

import gc

import pytest

from mperceiver.machine import without_collection


def test_collection_rests_inside_and_goes_on_after_an_error():
    with without_collection(), without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), without_collection():
        raise KeyError
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off():
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_function_can_be_decorated():
    @without_collection()
    def inside() -> bool:
        return gc.isenabled()

    assert not inside() and gc.isenabled()
