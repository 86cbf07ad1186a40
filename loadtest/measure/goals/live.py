"""A round from the due POST to the websocket: the engine, and the bare program E, each at shares of its own maximum."""

import json
import os
import shutil
import subprocess
import time

from measure.goals import scenarios
from measure.machine import quiet, scratch
from measure.servers import beside


SOCKETS, SHARES = 10, (30, 70)


def bare(lab):
    """E: verified, parsed, synced and pushed to all sockets; its generator and its listener are two processes."""
    limits, row = lab.reference.limits, {}
    command = f"{limits} ingest --stage push --threads 2 --addr {{address}} --log {{dir}}/wal"
    with scratch(lab.dir / "measure-live") as place, beside(place, command) as server:
        row["idle"] = quiet(lab.quiet)
        address = server.url.removeprefix("http://")

        def at(rate):
            listen = [limits, "wsload", "--proto", "ws", "--addr", address, "--path", "/ws", "--pubproto", "none"]
            listen += ["--n", SOCKETS, "--warm", 1.5, "--secs", lab.seconds, "--pids", server.pid]
            post = [limits, "load", "--addr", address, "--conns", 64, "--stamp", 1, "--rate", rate, "--warm", 1]
            post += ["--secs", lab.seconds + 0.5, "--pids", server.pid]
            # Like those of `loadtest`, who wait for a time or are timed go first.
            words = [[*first(), *(str(word) for word in one)] for one in (listen, post)]
            with subprocess.Popen(words[0], stdout=subprocess.PIPE, text=True) as listener:
                time.sleep(2)  # it opens its sockets, and waits a second and a half before it begins to count
                posted = subprocess.run(words[1], stdout=subprocess.PIPE, text=True, check=True, timeout=120)
                heard = listener.communicate(timeout=120)[0]
            return [json.loads(text.splitlines()[-1]) for text in (posted.stdout, heard)]

        row["rate"] = at(0)[0]["rps"]
        for share in SHARES:
            row[f"p99_ms_at_{share}"] = at(int(row["rate"] * share / 100))[1]["p99"] / 1000
    return row


def first():
    """What lets a program run as soon as it has something to do, where that is allowed."""
    return ["chrt", "--fifo", "1"] if os.geteuid() == 0 and shutil.which("chrt") else []


def round_of(lab):
    rows, why = {}, lab.reference.why("limits")
    rows["E"] = {"missing": why} if why else bare(lab)
    lab.tell("E", rows["E"])
    idle = quiet(lab.quiet)
    try:
        rows["engine"] = {"idle": idle} | scenarios.live(lab.dir, SHARES)
    except ValueError as why:
        rows["engine"] = {"missing": str(why)}
    lab.tell("engine", rows["engine"])
    return rows
