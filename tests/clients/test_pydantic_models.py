"""What Python programs ask for: Pydantic models of every kind, as their schemas stand."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.api.live import Live
from tests.clients.questions import SERVED

SEEDS = range(4)
Word = Annotated[str, Field(max_length=6)]


class Closed(BaseModel):
    """Without names of the model's own invention, so that answers end."""

    model_config = ConfigDict(extra="forbid")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(Closed):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(Closed):
    kind: Literal["dog"]
    good: bool


class Pets(Closed):
    """A union that a field tells apart, which Pydantic writes with `oneOf`."""

    pet: Cat | Dog = Field(discriminator="kind")
    colour: Colour


class Tree(Closed):
    """A schema that refers to itself."""

    name: Word
    branches: Annotated[list[Tree], Field(max_length=1)]


class Optionals(Closed):
    maybe: Annotated[int, Field(ge=0, le=99)] | None = None
    name: Word | None


class Order(Closed):
    """A pattern, and a set: `uniqueItems`."""

    code: str = Field(pattern=r"^[A-Z]{2}-\d{3}$")
    tags: set[Literal["a", "b", "c"]] = Field(min_length=2)


class Numbers(Closed):
    pair: tuple[Annotated[int, Field(ge=0, le=9)], bool]
    share: float = Field(gt=0, lt=1, multiple_of=0.25)
    id: uuid.UUID


class Scores(Closed):
    """Names that are not known before."""

    scores: dict[str, Literal[0, 1]] = Field(min_length=1, max_length=2)


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", [Pets, Tree, Optionals, Order, Numbers, Scores])
def test_what_ends_is_one(client: openai.OpenAI, model: type[BaseModel]) -> None:
    """At full temperature, from a question that does not help. One that is cut says so."""
    ended = 0
    for seed in SEEDS:
        (choice,) = client.chat.completions.create(
            model=SERVED,
            messages=[{"role": "user", "content": f"Invent {model.__name__}."}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": model.__name__, "schema": model.model_json_schema()},
            },
            seed=seed,
            max_completion_tokens=300,
        ).choices
        if choice.finish_reason == "length":
            continue
        assert choice.finish_reason == "stop"
        assert model.model_validate_json(choice.message.content or "")
        ended += 1
    assert ended


@pytest.mark.parametrize("model", [Pets, Order, Numbers])
def test_arguments_are_one(client: openai.OpenAI, model: type[BaseModel]) -> None:
    """The same as the parameters of a function."""
    tool: Any = {
        "type": "function",
        "function": {"name": "take", "parameters": model.model_json_schema(), "strict": True},
    }
    (choice,) = client.chat.completions.create(
        model=SERVED,
        messages=[{"role": "user", "content": f"Invent {model.__name__}."}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "take"}},
        parallel_tool_calls=False,
        seed=1,
        max_completion_tokens=300,
    ).choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert model.model_validate_json(call.function.arguments)
