"""What a child that was taken over says to its parent: garbage, too much, half of it, or nothing for long."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parsing.frames import FrameError, FrameReader, FrameTimeout, encode, receive_file, send_file
from ingest.parsing.types import ParseFailure, ParseReason

DOCUMENT = '{"text": "abc", "pages": [], "title": "t", "media_type": "text/plain", "metadata": {}, "warnings": [], **changed}'


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(
    "body",
    [
        "os.write(1, b'GET / HTTP/1.1')",
        "os.write(1, os.urandom(4000))",
        "os.write(1, struct.pack('>I', 3) + b'[1]')",
        "os.write(1, struct.pack('>I', 4) + b'null')",
        "os.write(1, struct.pack('>I', 9) + b'not json.')",
        "os.write(1, struct.pack('>I', 60000) + b'[' * 60000)",
        "os.write(1, struct.pack('>I', 100) + b'{\"docu')",  # and ends
        "os.write(1, encode({'document': {}})[:-1])",
        "say({'something': 'else'})",
        "say({'document': 5})",
        "say({'document': ['text']})",
        "say({'failure': {'reason': 'because', 'detail': ''}})",
        "say({'failure': {'reason': 'damaged', 'detail': 7}})",
        "say({'cpu': 'much', 'read': 0})",
        "say({'cpu': 0, 'read': float('inf')})",
        "say({'cpu': 0, 'read': float('nan')})",
        "pass",
    ],
)
def test_what_is_not_an_answer_is_a_crash_of_that_file_alone(plant: Any, body: str) -> None:
    parser = plant(body, raw=True)
    outcomes = parser.outcomes(bad=b"x", worse=b"y")
    assert {one.reason for one in outcomes.values() if isinstance(one, ParseFailure)} <= {
        ParseReason.CRASHED,
        ParseReason.TOO_MUCH_OUTPUT,
    }
    assert len(outcomes) == 2


@pytest.mark.parametrize(
    "changed",
    [
        "{'text': 5}",
        "{'text': None}",
        "{'text': '\\ud800'}",
        "{'title': '\\udfff'}",
        "{'metadata': [1]}",
        "{'metadata': {'a': 5}}",
        "{'warnings': 5}",
        "{'pages': [{'number': 1, 'start': 0, 'end': 99}]}",
        "{'pages': [{'number': 1, 'start': -1, 'end': 2}]}",
        "{'pages': [{'number': 1, 'start': 2, 'end': 3}, {'number': 2, 'start': 0, 'end': 2}]}",
        "{'pages': [{'number': 10**30, 'start': 0, 'end': 3}]}",
        "{'pages': [{'number': 1}]}",
        "{'pages': ['all']}",
    ],
)
def test_a_document_that_cannot_be_one_is_a_crash_of_that_file(plant: Any, changed: str) -> None:
    parser = plant(f"changed = {changed}\nsay({{'document': {DOCUMENT}}})", raw=True)
    outcome = parser.outcomes(bad=b"x")["bad"]
    assert isinstance(outcome, ParseFailure)
    assert outcome.reason is ParseReason.CRASHED


def test_a_document_that_can_be_one_is_taken(plant: Any) -> None:
    """So that the refusals above are refusals of what was changed."""
    outcome = plant(f"changed = {{}}\nsay({{'document': {DOCUMENT}}})", raw=True).outcomes(bad=b"x")["bad"]
    assert outcome.text == "abc"


def test_names_and_remarks_without_end_are_cut(plant: Any) -> None:
    changed = "{'title': 'x' * 10**6, 'warnings': ['y' * 10**4] * 500}"
    found = plant(f"changed = {changed}\nsay({{'document': {DOCUMENT}}})", raw=True).outcomes(bad=b"x")["bad"]
    assert len(found.title) == 1000
    assert len(found.warnings) == 100


def test_a_frame_past_the_cap_is_refused_before_it_is_read(plant: Any) -> None:
    body = "os.write(1, struct.pack('>I', 2**32 - 1))\nwhile True: os.write(1, b'x' * 65536)"
    outcome = plant(body, raw=True, output_bytes=1000).outcomes(bad=b"x")["bad"]
    assert isinstance(outcome, ParseFailure)
    assert outcome.reason is ParseReason.TOO_MUCH_OUTPUT


@pytest.mark.parametrize("more", ["time.sleep(0.01)", "os.write(1, encode(beat) * 20_000)"])
@pytest.mark.parametrize("beat", ["{'cpu': 0, 'read': 0}", "{'cpu': -5, 'read': -1}", "{'cpu': float('nan'), 'read': 0}"])
def test_beats_without_progress_do_not_keep_a_child_alive(plant: Any, beat: str, more: str) -> None:
    body = f"beat = {beat}\nwhile True:\n    say(beat)\n    {more}"
    outcome = plant(body, raw=True, silence_seconds=1).outcomes(bad=b"x")["bad"]
    assert isinstance(outcome, ParseFailure)
    assert outcome.reason is ParseReason.TOO_MUCH_TIME


def test_a_frame_that_drips_is_given_up(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    stop = threading.Event()

    def drip() -> None:
        for byte in encode({"document": "x" * 1000}):
            if stop.wait(0.05):
                return
            os.write(writing, bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    started = time.monotonic()
    with pytest.raises(FrameTimeout):
        FrameReader(reading, 10_000, body_seconds=0.4).read(5)
    assert time.monotonic() - started < 5
    stop.set()
    thread.join()


def test_silence_is_told_from_the_end(pipe: tuple[int, int]) -> None:
    reader = FrameReader(pipe[0], 100)
    with pytest.raises(FrameTimeout):
        reader.read(0.05)
    closed, writing = os.pipe()
    os.close(writing)
    with pytest.raises(FrameError, match="ended"):
        FrameReader(closed, 100).read(1)
    os.close(closed)


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=300))
def test_no_bytes_at_all_do_more_than_raise_a_frame_error(data: bytes) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, data)
        os.close(writing)
        assert all(isinstance(message, dict) for message in until_broken(FrameReader(reading, 200)))
    finally:
        os.close(reading)


def until_broken(reader: FrameReader) -> Iterator[dict[str, Any]]:
    while True:
        try:
            yield reader.read(1)
        except FrameError:
            return


@settings(deadline=None, max_examples=50)
@given(message=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20) | st.none(), max_size=5))
def test_frames_come_through_whole_with_their_file(message: dict[str, Any]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, open(__file__, "rb") as file:
        send_file(ours, message, file.fileno())
        got, descriptor = receive_file(theirs, 10_000)
        try:
            assert got == message
            assert os.path.samestat(os.fstat(descriptor), os.fstat(file.fileno()))
        finally:
            os.close(descriptor)


def test_a_request_without_a_file_or_past_the_cap_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode({"name": "a"}))
        with pytest.raises(FrameError, match="not one file"):
            receive_file(theirs, 100)
        ours.sendall(struct.pack(">I", 101))
        with pytest.raises(FrameError, match="over the cap"):
            receive_file(theirs, 100)
        ours.close()
        with pytest.raises(FrameError, match="ended"):
            receive_file(theirs, 100)
