"""The official OpenAI client sees nothing but an OpenAI server."""

import asyncio
import concurrent.futures
import json
import time

import openai
import pytest

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "read_file",
            "description": "Read a file.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        },
    }
]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def test_models_are_listed(client):
    ids = [model.id for model in client.models.list()]
    assert "MoM" in ids or "auto" in ids


def test_a_whole_answer(client):
    answer = client.chat.completions.create(model="auto", messages=[user("hello [tokens:6]")])
    assert answer.choices[0].message.content.startswith("(small)")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 6


def test_headers_are_within_reach_of_the_client(client):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=[user("please prove it")])
    assert raw.headers["x-vsr-selected-model"] == "large"
    assert raw.headers["x-vsr-selected-decision"] == "hard"
    assert raw.headers["x-vsr-replay-id"]
    assert raw.parse().choices[0].message.content.startswith("(large)")


def test_a_stream_with_usage(client):
    stream = client.chat.completions.create(
        model="auto", messages=[user("[tokens:25]")], stream=True, stream_options={"include_usage": True}
    )
    text, usage, finish = "", None, None
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        usage = chunk.usage or usage
    assert len(text.split(" ")) == 25
    assert (finish, usage.completion_tokens) == ("stop", 25)


def test_a_stream_may_be_left_early(client, gateway):
    before = gateway.stats("small")["aborted"]
    with client.chat.completions.create(
        model="auto", messages=[user("[tokens:100000][rate:200]")], stream=True
    ) as stream:
        next(iter(stream))
    deadline = time.monotonic() + 60
    while gateway.stats("small")["aborted"] == before:
        assert time.monotonic() < deadline, "the model still speaks"
    assert client.chat.completions.create(model="auto", messages=[user("hi")]).choices


def run_loop(client, session: str, text: str, stream: bool) -> list[str]:
    """Plays one user request to its end; returns the model of each turn."""
    headers = {"x-session-id": session}
    messages = [{"role": "system", "content": f"session {session}"}, user(text)]
    models = []
    while True:
        if stream:
            raw = client.chat.completions.with_raw_response.create(
                model="auto", messages=messages, tools=TOOLS, stream=True, extra_headers=headers
            )
            calls = {}
            for chunk in raw.parse():
                for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                    call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] += part.id or ""
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""
            calls = [calls[index] for index in sorted(calls)]
        else:
            raw = client.chat.completions.with_raw_response.create(
                model="auto", messages=messages, tools=TOOLS, extra_headers=headers
            )
            calls = [
                {"id": c.id, "name": c.function.name, "arguments": c.function.arguments}
                for c in raw.parse().choices[0].message.tool_calls or []
            ]
        models.append(raw.headers["x-vsr-selected-model"])
        if not calls:
            return models
        tool_calls = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
            for c in calls
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": tool_calls})
        for call in calls:
            assert json.loads(call["arguments"])["path"]
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": "fn main() {}"})


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_stays_on_its_model(client, gateway, stream):
    models = run_loop(client, f"loop-{stream}", "look around [steps:3][calls:2]", stream)
    assert models == ["small"] * 4
    assert gateway.violations() == 0


def test_parallel_sessions_keep_their_loops_apart(client, gateway):
    texts = ["look [steps:11]", "prove it [steps:11]"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(run_loop, client, f"parallel-{n}", texts[n % 2], n % 3 == 0) for n in range(8)]
        for n, run in enumerate(runs):
            assert run.result(timeout=120) == [["small", "large"][n % 2]] * 12
    assert gateway.violations() == 0


def test_errors_raise_the_clients_own_exceptions(client):
    create = client.chat.completions.create
    with pytest.raises(openai.BadRequestError) as bad:
        create(model=7, messages=[user("hi")])
    assert "model" in bad.value.body["message"]
    with pytest.raises(openai.NotFoundError):
        create(model="no-such-model", messages=[user("hi")])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="auto", input="hi")
    with pytest.raises(openai.RateLimitError):
        create(model="auto", messages=[user("[error:429]")])
    with pytest.raises(openai.InternalServerError) as failed:
        create(model="auto", messages=[user("[error:503]")])
    assert failed.value.response.headers["x-vsr-replay-id"]
    with pytest.raises(openai.InternalServerError):
        create(model="auto", messages=[user("[reset]")])


def test_a_stream_that_breaks_raises(client):
    stream = client.chat.completions.create(model="auto", messages=[user("[cut][tokens:50]")], stream=True)
    with pytest.raises(openai.APIConnectionError):
        for _ in stream:
            pass


def test_the_async_client_runs_many_streams_at_once(gateway):
    async def one(client, n):
        stream = await client.chat.completions.create(
            model="auto", messages=[user(f"number {n} [tokens:20][rate:400]")], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def many():
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0) as client:
            return await asyncio.gather(*(one(client, n) for n in range(40)))

    texts = asyncio.run(many())
    assert len(texts) == 40 and all(len(text.split(" ")) == 20 for text in texts)
