"""langchain-openrouter: ChatOpenRouter on an older version of OpenRouter's own package.

It runs in a process of its own, since the newer version is tested here too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.api.live import ROOT, Live
from tests.clients.questions import COMPLETION_PRICE, PROMPT_PRICE, ROUTED

BESIDE = ROOT / ".venv-clients" / "langchain-openrouter"
SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from typing import Literal
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openrouter import ChatOpenRouter
from pydantic import BaseModel, Field

@tool
def get_weather(city: Literal["Paris", "Zaragoza"]) -> str:
    "Says what the weather is like in a city."
    return f"sunny in {city}"

class Person(BaseModel):
    "Somebody."
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)

def added(chunks):
    built = None
    for chunk in chunks:
        built = chunk if built is None else built + chunk
    return built

fields = {"max_tokens": 120, "seed": 1, "temperature": 0, "max_retries": 0}
model = ChatOpenRouter(model=sys.argv[3], base_url=sys.argv[2], api_key="none", **fields)
question = "What is the capital of France? Answer in one sentence."
whole, streamed = model.invoke(question), added(model.stream(question))
asked = HumanMessage("What is the weather in Paris?")
bound = model.bind_tools([get_weather], tool_choice="get_weather", strict=True)
called, dripped = bound.invoke([asked]), added(bound.stream([asked]))
results = [ToolMessage(get_weather.invoke(c["args"]), tool_call_id=c["id"])
           for c in called.tool_calls]
closing = model.bind_tools([get_weather], tool_choice="none").invoke([asked, called, *results])
found = {
    "text": whole.content,
    "usage": whole.usage_metadata,
    "cost": whole.response_metadata.get("cost"),
    "streamed": streamed.content,
    "calls": [[c["name"], c["args"]] for c in called.tool_calls],
    "dripped": [[c["name"], c["args"]] for c in dripped.tool_calls],
    "closing": closing.content,
}
for method in ("json_schema", "function_calling"):
    maker = model.with_structured_output(Person, method=method)
    found[method] = maker.invoke("Jason is 25.").model_dump()
print(json.dumps(found))
"""

pytestmark = pytest.mark.skipif(not BESIDE.exists(), reason="make test-clients installs it")


@pytest.fixture(scope="module")
def found(server: Live) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(BESIDE), f"{server.url}/api/v1", ROUTED],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_text_whole_and_in_a_stream(found: dict[str, Any]) -> None:
    assert "Paris" in found["text"]
    assert found["streamed"] == found["text"]
    usage = found["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    if found["cost"] is not None:
        price = PROMPT_PRICE * usage["input_tokens"] + COMPLETION_PRICE * usage["output_tokens"]
        assert found["cost"] == pytest.approx(price)


def test_a_tool_is_called_and_answers(found: dict[str, Any]) -> None:
    ((name, arguments),) = found["calls"]
    assert name == "get_weather"
    assert arguments["city"] in ("Paris", "Zaragoza")
    assert found["dripped"] == found["calls"]
    assert found["closing"]


def test_objects_have_their_schema(found: dict[str, Any]) -> None:
    for method in ("json_schema", "function_calling"):
        assert set(found[method]) == {"name", "age"}
        assert 0 <= found[method]["age"] <= 120
