"""Scenarios of `loadtest run`, which starts the server itself, and their result files."""

import json
import pathlib
import subprocess

from measure import histogram
from measure.machine import scratch
from measure.servers import RELEASE

# Nobody is asked there: the customers of these scenarios are not answered.
NO_PROVIDER = "http://127.0.0.1:9"


def played(directory, scenario, answers=False, patience=3600):
    """What a scenario found; whether the server kept its word is in it."""
    program = RELEASE / "loadtest"
    if subprocess.run([program, "run", "--help"], capture_output=True).returncode != 0:
        raise ValueError("this `loadtest` plays no scenarios")
    if answers and not (RELEASE / "simulator").exists():
        raise ValueError("`simulator` is not built: `cargo build --release -p omnistream-simulator`")
    with scratch(directory / "measure-scenario") as place:
        words = [program, "run", scenario, "--server", RELEASE / "omnistream", "--dir", place, "--out", place / "out"]
        words += [] if answers else ["--provider", NO_PROVIDER]
        with (place / "told").open("w") as told:
            done = subprocess.run([str(word) for word in words], stdout=told, stderr=subprocess.STDOUT, timeout=patience)
        if done.returncode not in (0, 1):
            raise ValueError(f"`loadtest run` did not come to its end: {(place / 'told').read_text()[-300:]}")
        result = json.loads((place / "out" / "result.json").read_text())
        result["kept"] = done.returncode == 0
        return result


def live(directory, shares):
    """The maximum, and p99 from the due POST to the websocket at shares of it."""
    result = played(directory, pathlib.Path(__file__).with_name("live.toml"), patience=600)
    if not result["kept"]:
        return {"missing": f"the server did not keep its word: {result['violations'][:1]}"}
    row = {}
    for phase in result["phases"]:
        share = round(100 * phase["load"]) if phase.get("load") else None
        if share not in shares:
            continue
        row["rate"] = phase["target_rate"] / phase["load"]
        row[f"acknowledge_p99_ms_at_{share}"] = histogram.quantile(phase["latencies"]["acknowledge"], 0.99) / 1000
        # What a generator was late for is its own latency.
        if phase["valid"]:
            row[f"p99_ms_at_{share}"] = histogram.quantile(phase["latencies"]["end_to_end"], 0.99) / 1000
        else:
            row[f"why no p99_ms_at_{share}"] = "; ".join(phase["why_invalid"])
    return row


def kills(lab):
    """Ten minutes of everything with a kill every half minute; then everything is read back and compared."""
    result = played(lab.dir, "mixed", answers=True)
    ledger = result["ledger"]
    row = {"kills": ledger["kills"], "acknowledged": ledger["acknowledged"], "events": ledger["events"]}
    row["violations"] = result["violations_total"] + (0 if result["kept"] or result["violations_total"] else 1)
    lab.tell("kills", row)
    for sentence in result["violations"][:10]:
        print(f"  {sentence}")
    return {"kills": row}
