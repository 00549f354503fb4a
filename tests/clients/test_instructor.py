"""instructor: Pydantic objects through tools, strict tools, JSON schema and plain JSON mode."""

from __future__ import annotations

import instructor
import openai
import pytest
from pydantic import BaseModel, Field

from tests.api.live import Live
from tests.clients.questions import EXTRACT, SERVED, Person


class Team(BaseModel, extra="forbid"):
    people: list[Person] = Field(min_length=1, max_length=2)


def client(server: Live, mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0), mode=mode
    )


@pytest.mark.parametrize(
    "mode", [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_first_answer_is_an_object(server: Live, mode: instructor.Mode, seed: int) -> None:
    """No second try: what comes is valid at once, whatever the model knows."""
    person = client(server, mode).chat.completions.create(
        model=SERVED,
        messages=EXTRACT,
        response_model=Person,
        max_retries=0,
        max_tokens=200,
        seed=seed,
    )
    assert isinstance(person, Person)


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA])
def test_a_stream_fills_the_object(server: Live, mode: instructor.Mode) -> None:
    states = list(
        client(server, mode).chat.completions.create_partial(
            model=SERVED,
            messages=EXTRACT,
            response_model=Person,
            max_retries=0,
            max_tokens=200,
            seed=1,
        )
    )
    assert len(states) > 1
    assert Person.model_validate(states[-1].model_dump())


def test_a_list_of_objects(server: Live) -> None:
    team = client(server, instructor.Mode.TOOLS).chat.completions.create(
        model=SERVED,
        messages=EXTRACT,
        response_model=Team,
        max_retries=0,
        max_tokens=400,
        seed=1,
    )
    assert 1 <= len(team.people) <= 2
    assert all(isinstance(person, Person) for person in team.people)
