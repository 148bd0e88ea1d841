"""Chat completions over a WebSocket with the websockets client."""

import json

import pytest
import websockets.exceptions
import websockets.sync.client

from .conftest import MODEL

SKY = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture
def socket(port):
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/v1/chat/completions/ws", open_timeout=60) as made:
        yield made


def body(**options):
    return json.dumps({"model": MODEL, "messages": SKY, "max_tokens": 24, "temperature": 0, **options})


def read_answer(socket):
    """Objects up to [DONE]."""
    objects = []
    while (text := socket.recv(timeout=60)) != "[DONE]":
        objects.append(json.loads(text))
    return objects


def text_of(chunks):
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def test_answers(socket, client):
    expected = client.chat.completions.create(model=MODEL, messages=SKY, max_tokens=24, temperature=0)
    for _ in range(2):
        socket.send(body(stream=True))
        chunks = read_answer(socket)
        assert text_of(chunks) == expected.choices[0].message.content
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"} and len({chunk["id"] for chunk in chunks}) == 1
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    socket.send(body(stream_options={"include_usage": True}))
    assert read_answer(socket)[-1]["usage"]["completion_tokens"] == 24
    socket.send(body(stream=False))
    whole = read_answer(socket)
    assert len(whole) == 1 and whole[0]["choices"][0]["message"] == expected.choices[0].message.to_dict()


def test_fragmented_message(socket):
    text = body()
    socket.send([text[:10], text[10:30], text[30:]])
    assert text_of(read_answer(socket))


@pytest.mark.parametrize(("text", "code"), [
    ("{", "invalid_json"),
    ("[]", "invalid_type"),
    (body(temperature=5), "decimal_above_max_value"),
    (body(model="nobody"), "model_not_found"),
    (body(max_tokens=100_000), "context_length_exceeded"),
    (b"\x00\x01", "binary_message"),
    ("[" * 100_000, "invalid_json"),
])
def test_errors_leave_the_socket_open(socket, text, code):
    socket.send(text)
    error = json.loads(socket.recv(timeout=60))["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == code
    socket.send(body(max_tokens=1))
    assert text_of(read_answer(socket))


def test_several_at_once(socket):
    socket.send(body())
    expected = text_of(read_answer(socket))
    for number in range(6):
        socket.send(body(request_id=str(number)))
    texts, done = {}, 0
    while done < 6:
        text = socket.recv(timeout=60)
        if text == "[DONE]":
            done += 1
        else:
            chunk = json.loads(text)
            texts[chunk["request_id"]] = texts.get(chunk["request_id"], "") + text_of([chunk])
    assert texts == {str(number): expected for number in range(6)}


def test_cancel(socket):
    socket.send(body(max_tokens=1500, ignore_eos=True, request_id="long"))
    chunk = json.loads(socket.recv(timeout=60))
    assert chunk["request_id"] == "long"
    socket.send(json.dumps({"type": "cancel", "id": chunk["id"]}))
    objects = read_answer(socket)
    assert objects[-1]["error"]["code"] == "cancelled" and objects[-1]["request_id"] == "long"
    socket.send(json.dumps({"type": "cancel", "id": chunk["id"]}))
    assert json.loads(socket.recv(timeout=60))["error"]["code"] == "answer_not_found"
    socket.send(body(max_tokens=1))
    assert text_of(read_answer(socket))


def test_tools(socket):
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"], "additionalProperties": False}}}
    socket.send(body(tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=100))
    chunks = read_answer(socket)
    calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert calls[0]["function"]["name"] == "get_weather"
    assert json.loads("".join(call["function"]["arguments"] for call in calls))["city"] in {"Rome", "Oslo"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_ping_and_close(socket):
    assert socket.ping().wait(10)
    socket.close(1000)
    assert socket.close_code == 1000


def test_close_in_the_middle_frees_the_server(port, client):
    for _ in range(3):
        with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/v1/chat/completions/ws") as socket:
            socket.send(body(max_tokens=1500, ignore_eos=True))
            socket.recv(timeout=60)
    assert client.chat.completions.create(model=MODEL, messages=SKY, max_tokens=2).usage.completion_tokens == 2


def test_message_over_the_limit(socket):
    try:
        socket.send("x" * ((10 << 20) + 1))
        socket.recv(timeout=60)
        raise AssertionError("a message over the limit was taken")
    except websockets.exceptions.ConnectionClosed as closed:
        assert closed.rcvd is None or closed.rcvd.code == 1009


def test_handshakes_that_are_refused(port):
    def status(**options):
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            websockets.sync.client.connect(f"ws://127.0.0.1:{port}/v1/chat/completions/ws", **options)
        return caught.value.response.status_code

    assert status(origin="https://evil.example") == 403
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/chat/completions/ws", origin="http://localhost:3000") as socket:
        socket.send(body(max_tokens=1))
        assert read_answer(socket)
