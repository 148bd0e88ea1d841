"""Responses with OpenAI's official Python client, and the wire of its streams."""

import http.client
import json
import time

import openai
import pydantic
import pytest

from .conftest import MODEL

SKY = "Why is the sky blue?"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}


def ask(client, input=SKY, **options):
    return client.responses.create(**{"model": MODEL, "input": input, "max_output_tokens": 24, "temperature": 0, **options})


def test_answer(client):
    response = ask(client)
    assert response.id.startswith("resp_") and response.object == "response" and response.model == MODEL
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert [item.type for item in response.output] == ["message"] and len(response.output_text) > 40
    assert response.usage.output_tokens == 24 and response.usage.total_tokens == response.usage.input_tokens + 24
    assert response.temperature == 0 and response.max_output_tokens == 24 and response.tools == [] and response.error is None
    assert response._request_id
    other = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": SKY}], max_tokens=24, temperature=0)
    assert response.output_text == other.choices[0].message.content
    assert response.usage.input_tokens == other.usage.prompt_tokens


def test_ends_by_itself(client):
    response = ask(client, "Say hello.", max_output_tokens=200)
    assert response.status == "completed" and response.incomplete_details is None
    assert response.output[0].status == "completed" and response.completed_at >= response.created_at


def test_instructions_and_items(client):
    def count(input, **options):
        return client.responses.input_tokens.count(model=MODEL, input=input, **options).input_tokens

    assert count(SKY) == ask(client, max_output_tokens=1).usage.input_tokens
    as_items = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "input_text", "text": SKY}]}]
    assert count(SKY, instructions="Be brief.") == count(as_items) > count("?", instructions="Be brief.")
    assert ask(client, instructions="Be brief.").output_text == ask(client, as_items).output_text


def events_of(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/responses", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200 and response.headers["Content-Type"].startswith("text/event-stream")
    events = []
    for block in response.read().decode().split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("event: "):
            events.append(json.loads(lines[1].removeprefix("data: ")))
            assert events[-1]["type"] == lines[0].removeprefix("event: ")
    connection.close()
    return events


def test_events_of_a_stream(port):
    events = events_of(port, {"model": MODEL, "input": SKY, "max_output_tokens": 8, "temperature": 0, "stream": True})
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == events[-4]["text"] == events[-1]["response"]["output"][0]["content"][0]["text"]
    assert events[0]["response"]["id"] == events[-1]["response"]["id"]


def test_stream_is_the_same_answer(client):
    options = {"input": "Say hello.", "max_output_tokens": 200}
    with client.responses.stream(model=MODEL, temperature=0, **options) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == ask(client, **options).output_text
    assert client.responses.retrieve(final.id).output_text == text


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"},
                                    {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_weather"}]}])
@pytest.mark.parametrize("stream", [False, True])
def test_tools(client, choice, stream):
    options = {"model": MODEL, "input": "What is the weather in Rome for 2 days?", "max_output_tokens": 200, "temperature": 0,
               "tools": [WEATHER], "tool_choice": choice, "parallel_tool_calls": False}
    if stream:
        with client.responses.stream(**options) as events:
            kinds = [event.type for event in events]
            response = events.get_final_response()
        assert "response.function_call_arguments.delta" in kinds and "response.function_call_arguments.done" in kinds
    else:
        response = client.responses.create(**options)
    assert response.status == "completed"
    call = response.output[-1]
    arguments = json.loads(call.arguments)
    assert call.type == "function_call" and call.name == "get_weather" and call.id.startswith("fc_") and call.call_id.startswith("call_")
    assert set(arguments) == {"city", "days"} and arguments["city"] in {"Rome", "Oslo"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "22 degrees, sunny"}
    by_id = ask(client, [result], previous_response_id=response.id, tools=[WEATHER], tool_choice="none")
    by_items = ask(client, [{"role": "user", "content": options["input"]}, *[item.to_dict() for item in response.output], result],
                   tools=[WEATHER], tool_choice="none")
    assert by_id.output_text and by_id.output_text == by_items.output_text
    assert by_id.usage.input_tokens == by_items.usage.input_tokens


class Pet(pydantic.BaseModel):
    name: str
    age: int


def test_json_schema(client):
    response = client.responses.parse(model=MODEL, input="Describe a pet.", text_format=Pet, max_output_tokens=200, temperature=0)
    assert response.status == "completed" and isinstance(response.output_parsed, Pet)
    assert response.text.format.type == "json_schema" and response.text.format.name == "Pet"
    anything = ask(client, "Describe a pet as JSON.", max_output_tokens=300, text={"format": {"type": "json_object"}})
    assert anything.status == "incomplete" or isinstance(json.loads(anything.output_text), dict)


def test_log_probabilities(client):
    response = ask(client, include=["message.output_text.logprobs"], top_logprobs=2, max_output_tokens=5)
    tokens = response.output[0].content[0].logprobs
    assert len(tokens) == 5 and "".join(token.token for token in tokens) == response.output_text
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in tokens)


def test_conversation(client):
    first = ask(client, "My name is Ann.", metadata={"topic": "names"})
    second = ask(client, "What is my name?", previous_response_id=first.id)
    assert second.previous_response_id == first.id and second.usage.input_tokens > first.usage.input_tokens
    items = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    assert [item.type for item in items] == ["message"] * 3
    assert items[0].content[0].text == "My name is Ann." and items[1].id == first.output[0].id
    # The order of pages turned round; each item once.
    assert [item.id for item in client.responses.input_items.list(second.id, limit=1)] == [item.id for item in reversed(items)]
    assert client.responses.retrieve(first.id).metadata == {"topic": "names"}
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"
    assert ask(client, "And now?", previous_response_id=second.id).usage.input_tokens > second.usage.input_tokens


def test_not_stored(client):
    response = ask(client, store=False, max_output_tokens=2)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def wait_until_over(client, response):
    deadline = time.monotonic() + 120
    while response.status in {"queued", "in_progress"} and time.monotonic() < deadline:
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


def test_background(client):
    whole = ask(client)
    response = ask(client, background=True)
    assert response.status == "queued" and response.background
    assert wait_until_over(client, response).output_text == whole.output_text
    assert ask(client, "More.", previous_response_id=response.id).status == "incomplete"


def test_cancel(client):
    response = ask(client, background=True, max_output_tokens=1500)
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"
    other = ask(client, max_output_tokens=2)
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(other.id)


def test_leaving_a_stream_frees_the_server(client):
    for _ in range(3):
        for event in ask(client, stream=True, max_output_tokens=1500):
            if event.type == "response.output_text.delta":
                break
    assert ask(client, max_output_tokens=2).usage.output_tokens == 2


@pytest.mark.parametrize(("options", "param"), [
    ({"temperature": 3}, "temperature"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 100_000}, "input"),
    ({"input": []}, "input"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]}, "input[0].content[0].type"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "name": "f", "parameters": {"type": "nothing"}, "strict": True}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "nothing"}}}}, "text.format.schema"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"truncation": "auto"}, "truncation"),
    ({"extra_body": {"messages": []}}, "messages"),
])
def test_refusals_name_the_field(client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **options)
    assert caught.value.param.startswith(param), caught.value.body
    assert caught.value.type == "invalid_request_error"


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, model="nobody")
    assert caught.value.code == "model_not_found" and MODEL in caught.value.message
