"""What the clients ask for: questions, types of answers, and a tool, each in one place."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

KEY = "the-key"
PROMPT_PRICE, COMPLETION_PRICE = 0.10e-6, 0.30e-6  # of the served model, dollars a token
SERVED, ROUTED = "tiny", "author/tiny"  # the model's names: OpenAI's way, and OpenRouter's
CAPITAL: list[Any] = [
    {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
]
INTRODUCTION = "Jason is 25 years old and lives in Berlin."
EXTRACT: list[Any] = [{"role": "user", "content": f"Who is this? {INTRODUCTION}"}]
WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
TOO_LONG: list[Any] = [{"role": "user", "content": "word " * 2_000}]


class Person(BaseModel, extra="forbid"):
    """Somebody, in a form that a model of any size can fill."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    mood: Literal["glad", "calm", "sad"]


class Weather(BaseModel, extra="forbid"):
    """Says what the weather is like in a city."""

    city: Literal["Paris", "Zaragoza", "Oslo"]
    unit: Literal["celsius", "fahrenheit"]


WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": Weather.__doc__,
        "parameters": Weather.model_json_schema(),
    },
}


def weather_in(city: str, unit: str) -> str:
    """What the tool answers."""
    return f"It is sunny in {city}, 21 degrees {unit}."
