"""The official Anthropic client sees nothing but an Anthropic server."""

import json

import anthropic
import pytest

TOOLS = [
    {
        "name": "read_file",
        "description": "Read a file.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
]


@pytest.fixture
def client(gateway):
    base_url = gateway.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base_url, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def test_a_whole_answer(client):
    answer = client.messages.create(model="auto", max_tokens=64, messages=[user("hello [tokens:6]")])
    assert answer.content[0].text.startswith("(small)")
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 6)


def test_system_text_and_blocks_are_read(client):
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    blocks = [{"type": "text", "text": "please"}, {"type": "text", "text": "prove it"}]
    raw = client.messages.with_raw_response.create(
        model="auto", max_tokens=64, system=system, messages=[{"role": "user", "content": blocks}]
    )
    assert raw.headers["x-vsr-selected-model"] == "large"
    assert raw.headers["x-vsr-matched-keywords"] == "hard"
    assert raw.headers["x-vsr-replay-id"]
    assert raw.parse().content[0].text.startswith("(large)")


def test_a_stream_with_usage(client):
    with client.messages.stream(model="auto", max_tokens=64, messages=[user("[tokens:25]")]) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert len(text.split(" ")) == 25
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 25)


def run_loop(client, session: str, text: str, stream: bool) -> list[str]:
    """Plays one user request to its end; returns the model of each turn."""
    arguments = {"model": "auto", "max_tokens": 256, "tools": TOOLS, "extra_headers": {"x-session-id": session}}
    messages = [user(text)]
    models = []
    while True:
        if stream:
            with client.messages.stream(messages=messages, **arguments) as events:
                answer = events.get_final_message()
                models.append(events.response.headers["x-vsr-selected-model"])
        else:
            raw = client.messages.with_raw_response.create(messages=messages, **arguments)
            answer = raw.parse()
            models.append(raw.headers["x-vsr-selected-model"])
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            assert answer.stop_reason == "end_turn"
            return models
        assert answer.stop_reason == "tool_use"
        blocks = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.input} for c in calls]
        messages.append({"role": "assistant", "content": blocks})
        assert all(call.input["path"] for call in calls)
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fn main() {}"} for call in calls]
        messages.append({"role": "user", "content": results})


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_stays_on_its_model(client, gateway, stream):
    assert run_loop(client, f"anthropic-{stream}", "look around [steps:3][calls:2]", stream) == ["small"] * 4
    assert run_loop(client, f"anthropic-hard-{stream}", "prove it [steps:2]", stream) == ["large"] * 3
    assert gateway.violations() == 0


def test_the_beta_endpoint_reaches_the_model(client):
    answer = client.beta.messages.create(model="auto", max_tokens=64, messages=[user("hello")])
    assert answer.content[0].text.startswith("(small)")


def test_errors_raise_the_clients_own_exceptions(client):
    def create(text: str, **more):
        return client.messages.create(**{"model": "auto", "max_tokens": 8, "messages": [user(text)], **more})

    with pytest.raises(anthropic.BadRequestError) as bad:
        create("hi", model=7)
    assert bad.value.body["error"]["type"] == "invalid_request_error"
    assert json.dumps(bad.value.body["error"]["message"]).find("model") > 0
    assert bad.value.body["request_id"] == bad.value.response.headers["x-vsr-replay-id"]
    with pytest.raises(anthropic.NotFoundError):
        create("hi", model="no-such-model")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="auto", messages=[user("hi")])
    with pytest.raises(anthropic.RateLimitError):
        create("[error:429]")
    with pytest.raises(anthropic.InternalServerError):
        create("[error:500]")
    with pytest.raises(anthropic.InternalServerError) as reset:
        create("[reset]")
    assert reset.value.body["type"] == "error"
