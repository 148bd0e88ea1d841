"""Power sources as lem doctor shows them, whatever this machine has."""

import json


def test_doctor_lists_power_sources(lem):
    result = lem("doctor", "--json")
    assert result.returncode == 0, result.stderr
    sources = json.loads(result.stdout)["power_sources"]
    assert sources  # a machine without any has one entry that says so
    assert len({source["id"] for source in sources}) == len(sources)
    for source in sources:
        assert source["covers"]
        assert source["source"] in ("unavailable", "rail", "package", "board")
        assert (source["source"] == "unavailable") == ("why_unavailable" in source)
        if source["source"] == "unavailable":
            assert source["why_unavailable"] and "watts" not in source
        else:
            assert 0 <= source.get("watts", 0) < 20000
        if "part_of" in source:
            assert source["part_of"] in {other["id"] for other in sources}


def test_doctor_prints_a_line_for_each_power_source(lem):
    sources = json.loads(lem("doctor", "--json").stdout)["power_sources"]
    result = lem("doctor")
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith(("power ", "no power "))]
    assert len(lines) == len(sources)
    for source, line in zip(sources, lines):
        assert source["id"] in line and source["covers"] in line
        if source["source"] == "unavailable":
            assert line.startswith("no power ") and source["why_unavailable"] in line
        else:
            assert line.startswith("power ") and source["source"] in line
