#!/usr/bin/env python3
"""Measures the release binary on this machine: webhooks a second, latency under 40 % of that, how many
webhooks share a sync, and memory per conversation. Loopback only; every server it starts ends with it.

    cargo build --release -p omnistream-api -p omnistream-loadtest
    loadtest/measure.py speed  --dir DIR [--beside NAME=COMMAND ...] [--rounds 3] [--seconds 5]
    loadtest/measure.py memory --dir DIR [--conversations 100000]

DIR is scratch on the disk whose durability counts. A figure of this machine alone means little, so
`--beside` names a program to be measured in the same rounds: it must take the same signed webhooks at
`/webhook` of {address}; {dir} is scratch of its own. The last lines are JSON with all rounds.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

NUMBER, SECRET = "106540352242922", "omni-bench-app-secret"
RELEASE = pathlib.Path(__file__).resolve().parent.parent / "target" / "release"


def call(method, url, body=None, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextlib.contextmanager
def process(command, **options):
    child = subprocess.Popen(command, **options)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


class Engine:
    def __init__(self, child, log, metrics, is_new):
        line = child.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(f"the server did not start: {log.read_text()}")
        self.url, self.pid = line.split()[-1], child.pid
        self.metrics_url = f"http://{metrics}/metrics"
        if is_new:
            admin = {"org_name": "Bench", "admin_email": "bench@example.com", "admin_password": "correct horse"}
            call("POST", f"{self.url}/api/auth/register", admin)
        login = {"email": "bench@example.com", "password": "correct horse"}
        self.token = call("POST", f"{self.url}/api/auth/login", login)["token"]
        if is_new:
            config = {"phone_number_id": NUMBER, "waba_id": "1", "access_token": "none", "app_secret": SECRET}
            self.call("POST", "/api/integrations/accounts", {"channel": "whatsapp", "config": config})

    def call(self, method, path, body=None):
        return call(method, self.url + path, body, self.token)

    def metrics(self):
        with urllib.request.urlopen(self.metrics_url, timeout=30) as answer:
            lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines()]
        return {line[0]: float(line[1]) for line in lines if len(line) == 2 and line[0][0] != "#"}


@contextlib.contextmanager
def scratch(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def engine(directory, settings=()):
    metrics, data, log = free_address(), directory / "data", directory / "log"
    environment = dict(
        os.environ,
        OMNISTREAM__SERVER__LISTEN="127.0.0.1:0",
        OMNISTREAM__METRICS__LISTEN=metrics,
        OMNISTREAM__STORAGE__PATH=str(data),
        OMNISTREAM__META__GRAPH_URL="http://127.0.0.1:9",
        NO_COLOR="1",
        **dict(settings),
    )
    is_new = not data.exists()
    with log.open("w") as errors, process(
        [RELEASE / "omnistream"], env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as child:
        yield Engine(child, log, metrics, is_new)


class Beside:
    """A program that takes the same webhooks."""

    def __init__(self, command, address, child):
        self.url, self.pid = f"http://{address}", child.pid
        host, port = address.split(":")
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
                return
            time.sleep(0.1)
        raise SystemExit(f"does not listen: {command}")


@contextlib.contextmanager
def beside(directory, command):
    address = free_address()
    words = shlex.split(command.format(address=address, dir=directory))
    with process(words, cwd=directory, stdout=subprocess.DEVNULL) as child:
        yield Beside(command, address, child)


def load(server, **options):
    words = [RELEASE / "loadtest", "webhooks", "--json", "--url", server.url, "--secret", SECRET]
    words += ["--phone-number-id", NUMBER, "--server", str(server.pid)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode == 2:
        raise SystemExit("the load could not be sent")
    report = json.loads(done.stdout)
    if done.returncode != 0:
        print("NOT ALL ACCEPTED:", report["statuses"], report["errors"], report["unanswered"])
    return report


def idle():
    """The share of processor time that nobody uses: near 1 or the figures are of others, too."""

    def read():
        fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return fields[3] + fields[4], sum(fields)

    before = read()
    time.sleep(0.5)
    after = read()
    return round((after[0] - before[0]) / (after[1] - before[1]), 2)


def quiet(seconds):
    """Waits for a machine that is idle, at most so long."""
    until = time.monotonic() + seconds
    while (share := idle()) < 0.9 and time.monotonic() < until:
        pass
    return share


def speed(args):
    programs = [("engine", None)] + [tuple(text.split("=", 1)) for text in args.beside]
    rounds = []
    for number in range(args.rounds):
        found = {}
        rate = None
        for name, command in programs:
            start = engine if command is None else functools.partial(beside, command=command)
            with scratch(args.dir / f"measure-{name}") as place, start(place) as server:
                before, share = server.metrics() if command is None else None, quiet(args.quiet)
                most = load(server, rate=0, **{"for": args.seconds}, connections=args.connections)
                row = {"idle": share, "rate": most["achieved_rate"], "cpu_us": most["server"]["cpu_us"]}
                row["closed_p50_ms"], row["closed_p99_ms"] = (most["latency_us"][p] / 1000 for p in ("p50", "p99"))
                if before is not None:
                    after = server.metrics()
                    grown = lambda metric: after.get(metric, 0) - before.get(metric, 0)
                    accepted = grown('omnistream_webhook_items_total{item="message"}')
                    row["webhooks_per_sync"] = accepted / grown("omnistream_store_syncs_total")
                    row["rows_per_webhook"] = grown("omnistream_store_rows_total") / accepted
                    row["log_bytes_per_webhook"] = grown("omnistream_store_log_bytes_total") / accepted
                rate = rate or 0.4 * most["achieved_rate"]
                row["open_idle"] = quiet(args.quiet)
                steady = load(server, rate=rate, **{"for": args.seconds}, connections=256)
                row |= {"open_rate": rate, "open_cpu_us": steady["server"]["cpu_us"], "late_p99_ms": steady["late_us_p99"] / 1000}
                row |= {f"open_{p}_ms": steady["latency_us"][p] / 1000 for p in ("p50", "p99", "p999")}
                single = load(server, rate=0, **{"for": 2}, connections=1)
                row["single_p50_ms"] = single["latency_us"]["p50"] / 1000
            found[name] = row
            print(f"round {number + 1} {name}:", ", ".join(f"{k} {v:.2f}" for k, v in row.items()), flush=True)
        rounds.append(found)
    print()
    for name, _ in programs:
        keys = rounds[0][name].keys()
        print(f"{name}:", ", ".join(f"{k} {statistics.median(r[name][k] for r in rounds):.2f}" for k in keys))
    for name, _ in programs[1:]:
        for key in ("rate", "cpu_us", "open_cpu_us", "open_p50_ms", "open_p99_ms", "single_p50_ms"):
            ratios = [one["engine"][key] / one[name][key] for one in rounds]
            spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
            print(f"engine / {name}, {key}: {statistics.median(ratios):.2f} ({spread})")
    print(json.dumps(rounds))


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the server is gone")


def actors(server, kind=""):
    named = "omnistream_actors{kind=\"" + kind
    return sum(value for name, value in server.metrics().items() if name.startswith(named))


def rested(server):
    """Memory once all actors have left, and store and allocator have come to rest."""
    until = time.monotonic() + 600
    while actors(server) > 0:
        if time.monotonic() > until:
            raise SystemExit(f"still {actors(server):.0f} actors")
        time.sleep(0.5)
    time.sleep(12)  # what is dirty in the tree is synced after ten quiet seconds
    return resident(server.pid)


def close_all(server):
    while page := server.call("GET", "/api/conversations?status=open&per_page=100"):
        body = {"conversation_ids": [row["id"] for row in page], "action": {"type": "resolve"}}
        server.call("POST", "/api/conversations/bulk", body)


def memory(args):
    """The rise from half of them alive to all of them tells what a conversation's actor takes: by then the
    store's caches are full, and the room of contacts' actors, which leave at once, is used again. What a
    conversation takes that is not active is told by a server that has just started: no allocator holds
    back what actors left."""
    count, found = args.conversations, {}
    patient = {"OMNISTREAM__LIMITS__IDLE_PASSIVATION": "1h"}.items()
    brisk = {"OMNISTREAM__LIMITS__IDLE_PASSIVATION": "2s"}.items()

    def looked_at(server, which):
        found[f"{which}, nobody looks"] = rested(server)
        server.call("GET", "/api/conversations?per_page=1")
        found[f"{which}, listed"] = rested(server)

    with scratch(args.dir / "measure-memory") as place:
        with engine(place, brisk) as server:
            looked_at(server, "none")
        with engine(place, patient) as server:

            def risen(first):
                many = count // 2
                load(server, rate=0, warm_up=0, **{"for": 600}, count=many, customers=many, first_customer=first)
                while actors(server, "contact") > 0:
                    time.sleep(0.5)
                time.sleep(12)  # as in `rested`
                return resident(server.pid), actors(server, "thread")

            before, alone = risen(0)
            after, alive = risen(count // 2)
            each = (after - before) / (alive - alone)
        with engine(place, brisk) as server:
            looked_at(server, "open")
            close_all(server)
        with engine(place, brisk) as server:
            looked_at(server, "closed")
    print(f"{alive:.0f} conversations alive: {each:.0f} bytes each")
    for which in ("nobody looks", "listed"):
        for state in ("open", "closed"):
            more = (found[f"{state}, {which}"] - found[f"none, {which}"]) / count
            print(f"{state}, {which}: {more:.0f} bytes a conversation")
    print(json.dumps(found | {"actor": each}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    of_speed = what.add_parser("speed", help="webhooks a second, latency, webhooks per sync")
    of_speed.set_defaults(measure=speed)
    of_speed.add_argument("--beside", action="append", default=[], metavar="NAME=COMMAND")
    of_speed.add_argument("--rounds", type=int, default=3)
    of_speed.add_argument("--seconds", type=float, default=5)
    of_speed.add_argument("--connections", type=int, default=64)
    of_speed.add_argument("--quiet", type=float, default=0, help="seconds to wait for an idle machine before each load")
    of_memory = what.add_parser("memory", help="memory per conversation")
    of_memory.set_defaults(measure=memory)
    of_memory.add_argument("--conversations", type=int, default=100_000)
    for one in (of_speed, of_memory):
        one.add_argument("--dir", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.dir = args.dir.resolve()
    args.measure(args)


if __name__ == "__main__":
    sys.exit(main())
