"""The official OpenAI client's Responses, which name their history by an id."""

import openai
import pytest

TOOLS = [
    {
        "type": "function",
        "name": "read_file",
        "description": "Read a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        "strict": False,
    }
]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def test_a_whole_answer(client):
    answer = client.responses.create(model="auto", input="hello [tokens:6]")
    assert answer.output_text.startswith("(small)")
    assert (answer.status, answer.usage.output_tokens) == ("completed", 6)


def test_instructions_and_items_are_read(client):
    items = [{"role": "user", "content": [{"type": "input_text", "text": "please prove it"}]}]
    raw = client.responses.with_raw_response.create(model="auto", instructions="Be brief.", input=items)
    assert raw.headers["x-vsr-selected-model"] == "large"
    assert raw.headers["x-vsr-selected-decision"] == "hard"
    assert raw.parse().output_text.startswith("(large)")


def test_a_stream_with_usage(client):
    text, final = "", None
    for event in client.responses.create(model="auto", input="[tokens:25]", stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            final = event.response
    assert len(text.split(" ")) == 25
    assert final.usage.output_tokens == 25


def run_loop(client, text: str, stream: bool) -> list[str]:
    """Plays one user request to its end, history by id alone; returns the model of each turn."""
    arguments = {"model": "auto", "tools": TOOLS, "input": text}
    models = []
    while True:
        raw = client.responses.with_raw_response.create(**arguments, stream=stream)
        models.append(raw.headers["x-vsr-selected-model"])
        answer = raw.parse()
        if stream:
            answer = [event.response for event in answer if event.type == "response.completed"][0]
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return models
        arguments["previous_response_id"] = answer.id
        arguments["input"] = [
            {"type": "function_call_output", "call_id": call.call_id, "output": "fn main() {}"} for call in calls
        ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_by_id_stays_on_its_model(client, gateway, stream):
    assert run_loop(client, f"use read_file [calls:2] {stream}", stream) == ["small"] * 2
    assert run_loop(client, f"prove it, use read_file {stream}", stream) == ["large"] * 2
    assert gateway.violations() == 0


def test_an_answer_that_is_referred_to_holds_its_model(client, gateway):
    first = client.responses.create(model="auto", input="hello there")
    raw = client.responses.with_raw_response.create(
        model="auto", input="now prove it", previous_response_id=first.id
    )
    assert raw.headers["x-vsr-selected-model"] == "small"
    assert raw.headers["x-vsr-session-phase"] == "provider_state"
    assert gateway.violations() == 0


def test_errors_raise_the_clients_own_exceptions(client):
    with pytest.raises(openai.BadRequestError) as bad:
        client.responses.create(model=7, input="hi")
    assert "model" in bad.value.body["message"]
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="no-such-model", input="hi")
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="auto", input="[error:429]")
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="auto", input="[reset]")
