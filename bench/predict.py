#!/usr/bin/env python3
"""How well steps are predicted on this machine: profile, held-out steps, and correction while a core is taken.

    bench/predict.py --model FILE [--model FILE]... [--device cpu] [--device vulkan:0] [--out bench/results/NAME.json]

Measures a profile in a folder of its own, then each model on each device: steps that no profile measures, predicted and
measured. At last `lem-bench predict --correct` on the CPU, where a second process takes a core. Method: bench/README.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import tempfile
import time

from compare_llamacpp import ROOT, machine, run_json

# Slow devices are given fewer repeats.
REPEATS = {"cpu": 9}
OTHER_REPEATS = 5


def commit():
    return subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True,
                          check=False).stdout.strip()


def shown(command):
    """The command as a reader would type it: no folders of this machine."""
    return " ".join(pathlib.Path(word).name if os.sep in word else word for word in map(str, command))


def summary(result, other_s, seconds, command):
    decode = [abs(step["error"]) for step in result["steps"] if step["phase"] == "decode"]
    prefill = [abs(step["error"]) for step in result["steps"] if step["phase"] == "prefill"]
    mean = lambda values: round(sum(values) / len(values), 4) if values else None
    return {
        "command": shown(command),
        "model": result["model"],
        "device": result["device"],
        "mean_absolute_error": round(result["mean_absolute_error"], 4),
        "of_decode": mean(decode),
        "of_prefill": mean(prefill),
        "worst": round(max(decode + prefill), 4),
        "steps_left_out": result["steps_left_out"],
        "repeats": result["repeats"],
        "seconds": round(seconds, 1),
        "cpu_seconds_of_others": round(other_s, 1),
        "steps": result["steps"],
    }


def timed(command):
    begin = time.monotonic()
    result, other_s = run_json([str(word) for word in command])
    return result, other_s, time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, type=pathlib.Path)
    parser.add_argument("--device", action="append", help="default: cpu")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--max-step-seconds", type=float, default=60)
    parser.add_argument("--correct", type=int, default=50, help="steps before a core is taken; 0 = leave out")
    parser.add_argument("--profile-all", action="store_true", help="profile every device of the machine, not only these")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    devices = options.device or ["cpu"]
    record = {
        "what": "steps of models that were not profiled, predicted from `lem profile` and measured: medians of interleaved "
                "repeats, normalised by a reference kernel just before and after; error is predicted / measured - 1",
        "time_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "goal": {"cpu": 0.15, "vulkan": 0.20, "after_a_core_is_taken": "0.20 within 50 steps"},
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        command = [options.build / "lem", "profile", "--json"]
        if not options.profile_all:
            for device in devices:
                command += ["--device", device]
        profile, other_s, seconds = timed(command)
        record["profile"] = {
            "command": shown(command),
            "seconds": round(seconds, 1),
            "cpu_seconds_of_others": round(other_s, 1),
            "devices": [{key: device[key] for key in ("id", "name", "bandwidth_gbs", "launch_us", "fit_error", "power")}
                        for device in profile["devices"]],
        }
        record["held_out"] = []
        for device in devices:
            for model in options.model:
                command = [options.build / "lem-bench", "predict", "--model", model, "--device", device, "--repeats",
                           REPEATS.get(device, OTHER_REPEATS), "--max-step-seconds", options.max_step_seconds, "--json"]
                record["held_out"].append(summary(*timed(command), command))
                print(f"{device} {model.name}: {record['held_out'][-1]['mean_absolute_error']:.3f}", flush=True)
        record["corrected"] = []
        for model in options.model if options.correct else []:
            command = [options.build / "lem-bench", "predict", "--model", model, "--correct", options.correct, "--json"]
            result, other_s, seconds = timed(command)
            windows = [round(error, 4) for error in result["mean_error_of_ten_steps"]]
            taken = result["second_process_from_step"]
            record["corrected"].append({
                "command": shown(command),
                "model": result["model"],
                "device": result["device"],
                "core_taken_from_step": taken,
                "mean_error_of_ten_steps": windows,
                "steps_51_on_after_a_core_is_taken": windows[(taken + 50) // 10:],
                "seconds": round(seconds, 1),
                "cpu_seconds_of_others": round(other_s, 1),
            })
            print(f"corrected {model.name}: {windows}", flush=True)
    record["load_average_after"] = os.getloadavg()[0]
    text = json.dumps(record, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
