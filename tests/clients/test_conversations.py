"""Runs the conversations of tests/api/*.http against the server.

A file holds requests, each with what the answer must be:

    ### name of the case
    POST /v1/completions
    {"model": "smollm2-135m", "prompt": "x", "n": 0}

    < 400
    < error.param = "n"
    < header Content-Type = "application/json"
    < error.message ~ "allowed"

"< STATUS" comes first. "PATH = JSON" compares; "PATH ~ TEXT" looks for a text in a string; "PATH ?" only asks that it is
there. A path is keys and indexes with dots between. The cases of a file run in order on one connection.
"""

import http.client
import json

import pytest

from .conftest import CONVERSATIONS


def parse(path):
    cases = []
    for line in path.read_text().splitlines():
        if line.startswith("### "):
            cases.append({"name": line[4:], "request": None, "body": "", "checks": []})
        elif line.startswith("< "):
            cases[-1]["checks"].append(line[2:])
        elif not line.strip() or line.startswith("#"):
            continue
        elif cases[-1]["request"] is None:
            cases[-1]["request"] = line.split(" ", 1)
        else:
            cases[-1]["body"] += line + "\n"
    return cases


def look_up(value, path):
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def check(line, response, answer):
    if line.startswith("header "):
        name, expected = line.removeprefix("header ").split(" = ", 1)
        assert response.headers[name] == json.loads(expected), line
    elif line.endswith(" ?"):
        look_up(answer, line.removesuffix(" ?"))
    elif " ~ " in line:
        path, expected = line.split(" ~ ", 1)
        assert json.loads(expected) in look_up(answer, path), line
    else:
        path, expected = line.split(" = ", 1)
        assert look_up(answer, path) == json.loads(expected), f"{line}; it is {look_up(answer, path)!r}"


@pytest.mark.parametrize("path", sorted(CONVERSATIONS.glob("*.http")), ids=lambda path: path.stem)
def test_conversation(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for case in parse(path):
        method, target = case["request"]
        connection.request(method, target, case["body"].encode() or None,
                           {"Content-Type": "application/json"} if case["body"] else {})
        response = connection.getresponse()
        text = response.read().decode()
        status, *checks = case["checks"]
        assert response.status == int(status), f"{case['name']}: {text}"
        answer = json.loads(text)
        for line in checks:
            try:
                check(line, response, answer)
            except (KeyError, IndexError) as error:
                raise AssertionError(f"{case['name']}: {line}: no {error} in {text}") from error
    connection.close()


def test_there_are_conversations():
    assert len(list(CONVERSATIONS.glob("*.http"))) >= 3
