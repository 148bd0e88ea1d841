"""Messages with Anthropic's official Python client, and the wire of its streams."""

import http.client
import json

import anthropic
import pytest

from .conftest import MODEL

# The client has no parameter for it any more.
GREEDY = {"temperature": 0}
SKY = [{"role": "user", "content": "Why is the sky blue?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def claude(port):
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def ask(client, messages=None, **options):
    options = {"model": MODEL, "max_tokens": 24, "messages": messages or SKY, **options}
    options.setdefault("extra_body", GREEDY)
    return client.messages.create(**options)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_answer(claude):
    message = ask(claude)
    assert message.id.startswith("msg_") and message.type == "message" and message.role == "assistant"
    assert message.model == MODEL and [block.type for block in message.content] == ["text"]
    assert len(text_of(message)) > 40
    assert message.stop_reason == "max_tokens" and message.stop_sequence is None
    usage = message.usage
    assert usage.output_tokens == 24 and usage.input_tokens >= 0 and usage.cache_creation_input_tokens == 0
    assert usage.input_tokens + usage.cache_read_input_tokens == claude.messages.count_tokens(model=MODEL, messages=SKY).input_tokens
    assert message._request_id


def test_same_answer_as_openai(claude, client):
    other = client.chat.completions.create(model=MODEL, messages=SKY, max_tokens=24, temperature=0)
    assert text_of(ask(claude)) == other.choices[0].message.content


def test_ends_by_itself(claude):
    message = ask(claude, [{"role": "user", "content": "Say hello."}], max_tokens=200)
    assert message.stop_reason == "end_turn" and message.stop_sequence is None


def test_cached_tokens_are_told(claude):
    system = "You are a patient teacher of physics who explains with examples. " * 20
    first = ask(claude, system=system).usage
    second = ask(claude, system=system).usage
    assert second.cache_read_input_tokens > 100
    assert second.input_tokens + second.cache_read_input_tokens == first.input_tokens + first.cache_read_input_tokens


def test_system(claude):
    def count(system):
        return claude.messages.count_tokens(model=MODEL, messages=SKY, system=system).input_tokens

    as_blocks = [{"type": "text", "text": "Be brief."}]
    assert count("Be brief.") == count(as_blocks)
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=0f3a;"}
    assert count([billing, *as_blocks]) == count(as_blocks)
    assert text_of(ask(claude, system=as_blocks)) == text_of(ask(claude, system="Be brief."))


def test_stream_is_the_same_answer(claude):
    whole = ask(claude)
    with claude.messages.stream(model=MODEL, max_tokens=24, messages=SKY, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(whole) == text_of(final)
    assert final.stop_reason == "max_tokens" and final.usage.output_tokens == 24
    assert final.usage.cache_read_input_tokens + final.usage.input_tokens == whole.usage.cache_read_input_tokens + whole.usage.input_tokens


def events_of(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json", "x-api-key": "none", "anthropic-version": "2023-06-01",
               "anthropic-beta": "some-beta-2099-01-01,other"}
    connection.request("POST", "/v1/messages?beta=true", json.dumps(body), headers)
    response = connection.getresponse()
    assert response.status == 200 and response.headers["Content-Type"].startswith("text/event-stream")
    events = []
    for block in response.read().decode().split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("event: "):
            data = json.loads(lines[1].removeprefix("data: "))
            assert data["type"] == lines[0].removeprefix("event: ")
            events.append(data)
    connection.close()
    return events


def test_events_of_a_stream(port):
    events = events_of(port, {"model": MODEL, "max_tokens": 8, "temperature": 0, "messages": SKY, "stream": True})
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[3:-3]) <= {"content_block_delta", "ping"}
    assert events[0]["message"]["content"] == [] and events[0]["message"]["usage"]["input_tokens"] > 0
    assert all(event["index"] == 0 for event in events if "index" in event)
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == 8


@pytest.mark.parametrize("stream", [False, True])
def test_stop_sequence(claude, stream):
    whole = text_of(ask(claude))
    stop = whole[10:16]
    options = {"model": MODEL, "max_tokens": 24, "messages": SKY, "stop_sequences": [stop, "never"], "extra_body": GREEDY}
    if stream:
        with claude.messages.stream(**options) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(**options)
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == stop
    assert text_of(message) == whole[: whole.index(stop)]


def test_prefill_goes_on(claude):
    whole = text_of(ask(claude))
    cut = whole.index(" ", 12)
    message = ask(claude, [*SKY, {"role": "assistant", "content": whole[:cut]}], max_tokens=6)
    assert whole[cut:].startswith(text_of(message))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_tools(claude, choice, stream):
    options = {"model": MODEL, "max_tokens": 200, "extra_body": GREEDY, "tools": [WEATHER], "tool_choice": {**choice, "disable_parallel_tool_use": True},
               "messages": [{"role": "user", "content": "What is the weather in Rome for 2 days?"}]}
    if stream:
        with claude.messages.stream(**options) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(**options)
    call = message.content[-1]
    assert message.stop_reason == "tool_use" and call.type == "tool_use" and call.id.startswith("toolu_")
    assert call.name == "get_weather" and set(call.input) == {"city", "days"} and call.input["city"] in {"Rome", "Oslo"}
    answer = ask(claude, [
        *options["messages"],
        {"role": "assistant", "content": [block.to_dict() for block in message.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "22 degrees, sunny"}]}]},
    ], tools=[WEATHER], tool_choice={"type": "none"})
    assert text_of(answer) and answer.stop_reason in {"end_turn", "max_tokens"}


def test_json_schema(claude):
    schema = {"type": "object", "properties": {"colour": {"type": "string", "enum": ["blue", "red"]}}, "required": ["colour"],
              "additionalProperties": False}
    message = ask(claude, max_tokens=60, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(text_of(message))["colour"] in {"blue", "red"}


def test_thinking_is_taken(claude):
    message = ask(claude, max_tokens=1100, thinking={"type": "enabled", "budget_tokens": 1024}, stop_sequences=[" "])
    assert message.stop_reason in {"stop_sequence", "end_turn"}


def test_count_tokens(claude, client):
    count = claude.messages.count_tokens(model=MODEL, messages=SKY).input_tokens
    answer = client.chat.completions.create(model=MODEL, messages=SKY, max_tokens=1)
    assert count == answer.usage.prompt_tokens
    assert claude.messages.count_tokens(model=MODEL, messages=SKY, tools=[WEATHER]).input_tokens > count + 20


def test_models(claude):
    models = {model.id: model for model in claude.models.list()}
    assert models[MODEL].type == "model" and models[MODEL].max_input_tokens == 2048
    assert claude.models.retrieve(MODEL).display_name == MODEL
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("nobody")


@pytest.mark.parametrize(("options", "words"), [
    ({"extra_body": {"temperature": 1.5}}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 100_000}, "context"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]}]},
     "messages[0].content[0].type"),
    ({"tools": [{"name": "x y", "input_schema": {"type": "object"}}]}, "tools[0].name"),
    ({"tools": [{"name": "x", "input_schema": {"type": "nothing"}}], "tool_choice": {"type": "any"}}, "tools"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "budget_tokens"),
])
def test_refusals_name_the_field(claude, options, words):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(claude, **options)
    body = caught.value.body
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error" and body["request_id"]
    assert words in body["error"]["message"]
    assert ask(claude, max_tokens=1).stop_reason == "max_tokens"


def test_alias(claude):
    assert ask(claude, model="claude-haiku-4-5", max_tokens=1).model == MODEL


def test_unknown_model(claude):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(claude, model="claude-nobody")
    assert caught.value.body["error"]["type"] == "not_found_error" and MODEL in caught.value.body["error"]["message"]


def test_errors_of_the_server_have_the_shape(port):
    def get(method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body, headers or {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    for status, answer in (get("GET", "/v1/messages"), get("POST", "/v1/messages", b"{"), get("POST", "/v1/messages/nothing", b"{}"),
                           get("POST", "/v1/messages", b"{}", {"Content-Type": "text/plain"})):
        assert status in {400, 404, 405, 415}
        assert answer["type"] == "error" and answer["error"]["message"] and answer["error"]["type"]


def test_cancel_in_the_middle_frees_the_server(claude):
    for _ in range(3):
        with claude.messages.stream(model=MODEL, max_tokens=1500, messages=SKY) as stream:
            for event in stream:
                if event.type == "content_block_delta":
                    break
    assert ask(claude, max_tokens=2).usage.output_tokens == 2
