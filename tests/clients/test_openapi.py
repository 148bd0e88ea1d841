"""The document at /openapi.json against the server: it is valid, and the server answers as it says.

Schemathesis makes the requests: the examples of the document, and for each field values at and past its limits. All of
them follow from the document (no random numbers), and only what no load of the machine can change is checked.
"""

import json
import re
import subprocess
import sys
import urllib.request

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from .conftest import MODEL, serving

# Answered with 501, and what is no plain request.
LEFT_OUT = r"^/api/(push|create|copy)$|/ws$"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# So that each answer is short.
LARGEST = {"max_tokens": 2, "max_output_tokens": 2, "max_completion_tokens": 2, "num_predict": 2, "n": 2, "best_of": 2}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The port of a server that fetches nothing, has a store of its own and a short context."""
    folder = tmp_path_factory.mktemp("reference")
    home = {f"XDG_{name}_HOME": str(folder / name) for name in ("DATA", "CONFIG", "STATE")}
    with serving(folder, "--offline", "--context-length", "128", environment=home) as number:
        yield number


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.headers, answer.read().decode()


def aimed(node):
    """The document with the served model in place of any, and with limits that keep answers short. Nothing unloads the
    model, and nothing is asked for by a certain time: what comes of that depends on what else is going on.
    """
    if isinstance(node, list):
        return [aimed(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: aimed(value) for key, value in node.items() if key not in ("keep_alive", "background")}
    if "requestBody" in made:
        made.pop("parameters", None)
    properties = made.get("properties")
    if isinstance(properties, dict):
        if "description" in properties.get("model", {}):  # of a request
            properties["model"] = {"enum": [MODEL]}
        for name, largest in LARGEST.items():
            if name in properties:
                properties[name] = {"type": "integer", "minimum": 1, "maximum": largest}
        needed = {"max_tokens", "max_output_tokens", "num_predict", "options"} & set(properties)
        made["required"] = sorted(needed | set(made.get("required", [])))
    if "model" in made and isinstance(made["model"], str):
        made["model"] = MODEL
    return made


def test_document_is_valid(port):
    headers, text = get(port, "/openapi.json")
    assert headers["Content-Type"] == "application/json"
    document = json.loads(text)
    assert document["openapi"].startswith("3.1.")
    assert not [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def test_page_is_whole(port):
    headers, text = get(port, "/docs")
    assert headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not re.findall(r"https?://|src=|@import|url\(", text)


def test_server_answers_as_the_document_says(reference, tmp_path):
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(aimed(json.loads(get(reference, "/openapi.json")[1]))))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", f"http://127.0.0.1:{reference}",
               "--phases", "examples,coverage", "--generation-deterministic", "--checks", CHECKS,
               "--exclude-path-regex", LEFT_OUT, "--request-timeout", "300", "--warnings", "off", "--no-color"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stdout[-20000:] + result.stderr[-2000:]
    tested = re.search(r"(\d+) generated, (\d+) passed", result.stdout)
    assert tested and tested[1] == tested[2] and int(tested[1]) > 1000, result.stdout[-2000:]
    assert get(reference, "/health")[1] == '{"status":"ok"}'
