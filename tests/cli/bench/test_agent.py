"""`cierzo bench agent`: what a replay sends, to whom, and what it tells of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import start
from tests.cli.bench.sessions import SESSION, TOOLS, write_session
from tests.cli.bench.stand_in import StandIn, stand_in
from tests.cli.run import cierzo


def agent(url: str, folder: Path, *options: str) -> str:
    """What the command printed."""
    session = str(folder / "session.json")
    done = cierzo("bench", "agent", "--url", url, "--trace", session, *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cierzo_server_tells_all_there_is_to_know(model: Path, tmp_path: Path) -> None:
    write_session(tmp_path)
    with start(model, server__api_keys=("sekret",), engine__max_model_len=8192) as live:
        printed = agent(
            live.url,
            tmp_path,
            *("--sessions", "2", "--max-tokens", "3", "--ignore-eos"),
            *("--api-key", "sekret", "--json", "out.json"),
        )
    assert [line.split()[0] for line in printed.splitlines()[3:7]] == ["1", "2", "3", "total"]
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["model"] == "tiny"
    assert [row["turn"] for row in result["turns"]] == [1, 2, 3]
    assert [(one["session"], one["turn"]) for one in result["requests"]] == [
        *((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))
    ]
    for one in result["requests"]:
        assert one["output_tokens"] == 3
        assert 0 <= one["cached_tokens"] < one["prompt_tokens"]
        assert 0 < one["ttft_s"] <= one["ttft_s"] + one["decode_s"] <= one["wall_s"]
    prompts = [row["prompt_tokens"] for row in result["turns"]]
    assert prompts == sorted(prompts)
    assert result["total"]["prompt_tokens"] == sum(prompts)
    assert result["tokens_counted_by_server"]
    # A turn finds what the one before it left, in blocks.
    assert result["turns"][2]["cached_share"] > 0.5
    assert result["total"]["output_tokens"] == 9


def test_prompts_grow_by_what_was_recorded(tmp_path: Path) -> None:
    write_session(tmp_path)
    with stand_in() as server:
        agent(server.url, tmp_path, "--max-tokens", "7")
    turns = [body["messages"] for body in server.asked]
    assert len(turns) == sum(message["role"] == "assistant" for message in SESSION)
    for before, after in itertools.pairwise(turns):
        assert after[: len(before)] == before
    assert turns[1][2]["content"].startswith("I look.")  # not what the server answered
    for body in server.asked:
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("theirs", 7, 0)
        assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
        assert not {"tools", "ignore_eos"} & body.keys()


def test_sessions_differ_from_their_first_line_on_and_seeds_too(tmp_path: Path) -> None:
    write_session(tmp_path)

    def beginnings(seed: str) -> set[str]:
        with stand_in() as server:
            agent(server.url, tmp_path, "--sessions", "3", "--seed", seed)
        return {body["messages"][0]["content"].splitlines()[0] for body in server.asked}

    assert len(beginnings("0") | beginnings("1")) == 6
    assert beginnings("0") == beginnings("0")


def test_only_turns_within_the_characters_are_sent(tmp_path: Path) -> None:
    write_session(tmp_path)
    with stand_in() as server:
        agent(server.url, tmp_path, "--characters", "60")
        assert len(server.asked) == 1


def test_as_recorded_the_messages_keep_calls_and_tools(tmp_path: Path) -> None:
    write_session(tmp_path, tools=TOOLS)
    with stand_in() as server:
        agent(server.url, tmp_path, "--as-recorded")
    last = server.asked[-1]
    assert last["tools"] == TOOLS
    assert [message["role"] for message in last["messages"]] == [m["role"] for m in SESSION[:-1]]


def test_each_session_takes_the_next_trace_at_its_scale(tmp_path: Path) -> None:
    write_session(tmp_path)
    requests = [{"hash_ids": list(range(end)), "out": 64, "think_time": 0} for end in (20, 40)]
    blocks = tmp_path / "blocks.json"
    blocks.write_text(json.dumps({"id": "b", "block_size": 64, "requests": requests}))
    with stand_in() as server:
        options = ("--trace", str(blocks), "--scale", "1/64", "--sessions", "2")
        printed = agent(server.url, tmp_path, *options)
    rows = [line.split()[:2] for line in printed.splitlines()[3:7]]
    assert rows == [["1", "2"], ["2", "2"], ["3", "1"], ["total", "2"]]  # turn, sessions
    of_blocks = [
        m for m in map(_words, server.asked) if m[:5] == ["Session", "0002", "of", "run", "0."]
    ]
    assert [len(words) for words in of_blocks] == [5 + 20, 5 + 40]  # a word a block


def _words(body: dict[str, Any]) -> list[str]:
    return " ".join(message["content"] for message in body["messages"]).split()


@pytest.mark.parametrize(
    ("last", "cached"),
    [
        ({}, None),
        ({"usage": {"prompt_tokens": 100, "completion_tokens": 2}}, None),
        (
            {
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 2,
                    "prompt_tokens_details": {"cached_tokens": 25},
                }
            },
            0.25,
        ),
        ({"usage": {"prompt_tokens": 100}, "timings": {"cache_n": 75, "prompt_n": 25}}, 0.75),
        ({"usage": {"prompt_tokens": 100}, "timings": {"prompt_n": 10}}, 0.9),
    ],
    ids=["nothing", "usage alone", "OpenAI", "llama.cpp", "ik_llama.cpp"],
)
def test_the_cached_share_is_what_the_server_says(
    tmp_path: Path, last: dict[str, Any], cached: float | None
) -> None:
    write_session(tmp_path)
    with stand_in(last=last) as server:
        printed = agent(server.url, tmp_path, "--json", "out.json")
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["total"]["cached_share"] == cached
    assert result["total"]["output_tokens"] == 6  # two events an answer where it says nothing
    assert (" - " in printed) == (cached is None)


BROKEN = [
    (StandIn(status=401, error={"message": "no key"}), "no key"),
    (StandIn(status=404, error="model 'x' not found"), "model 'x' not found"),  # Ollama's form
    (StandIn(status=500, error=None), "answered 500"),
    (StandIn(breaks=True), "the connection ended before the answer did"),
    (StandIn(last={"error": {"message": "out of memory"}}), "out of memory"),
]


@pytest.mark.parametrize(("told", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_failures_are_one_line(tmp_path: Path, told: StandIn, said: str) -> None:
    session = str(write_session(tmp_path))
    options = {key: getattr(told, key) for key in ("status", "error", "breaks", "last")}
    with stand_in(**options) as server:
        done = cierzo("bench", "agent", "--url", server.url, "--trace", session, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("cierzo: error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("[", (), "not JSON"),
        ("[]", (), "no trace: expected `messages`"),
        ('{"messages": [{"role": "user"}, {}]}', (), "lacks 'role'"),
        (None, ("--characters", "9"), "give more --characters"),
        (None, ("--think", "trace"), "session has no times"),
        (None, ("--think", "soon"), "--think soon: expected seconds"),
        (None, ("--scale", "2"), "--scale 2: expected a share"),
        (None, ("--json", "nowhere/out.json"), "no such folder"),
    ],
)
def test_what_cannot_be_replayed_is_told_before_anything_is_sent(
    tmp_path: Path, content: str | None, options: tuple[str, ...], said: str
) -> None:
    session = write_session(tmp_path)
    if content is not None:
        session.write_text(content)
    with stand_in() as server:
        arguments = ("--url", server.url, "--trace", str(session), *options)
        done = cierzo("bench", "agent", *arguments, cwd=tmp_path)
        assert server.bodies == []
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_matplotlib_a_picture_is_a_line_on_what_to_install(tmp_path: Path) -> None:
    session = write_session(tmp_path)
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    arguments = ("--url", "localhost:1", "--trace", str(session), "--png", "out.png")
    done = cierzo("bench", "agent", *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "cierzo: error: --png needs matplotlib: pip install 'cierzo[bench]'\n"


def test_a_picture_is_drawn_of_any_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_session(tmp_path)
    with stand_in() as server:
        agent(server.url, tmp_path, "--png", "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
