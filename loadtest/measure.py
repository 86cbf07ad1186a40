#!/usr/bin/env python3
"""Measures the release binary on this machine: webhooks a second, latency under 40 % of that, how many
webhooks share a sync, memory per conversation, what a flood of one organization does to another, and
what live sockets cost, and how soon a message is found. Loopback only; every server it starts ends with it.

    cargo build --release -p omnistream-api -p omnistream-loadtest
    loadtest/measure.py speed  --dir DIR [--beside NAME=COMMAND ...] [--rounds 3] [--seconds 5]
    loadtest/measure.py memory --dir DIR [--conversations 100000]
    loadtest/measure.py flood  --dir DIR [--seconds 60] [--restart-after 30] [--set KEY=VALUE ...]
    loadtest/measure.py sockets --dir DIR [--beside COMMAND] [--sockets 1000] [--idle 10000] [--rounds 3]
    loadtest/measure.py search  --dir DIR [--rate 1000] [--seconds 30] [--set KEY=VALUE ...]
    loadtest/measure.py cluster --dir DIR --node HOST:PORT [--rounds 3] [--seconds 10]

DIR is scratch on the disk whose durability counts. A figure of this machine alone means little, so
`--beside` names a program to be measured in the same rounds: it must take the same signed webhooks at
`/webhook` of {address}; {dir} is scratch of its own. For sockets `--beside` is a bare server that passes
what is posted to `/pub` of {publish} on to all websockets at `/ws` of {address}. The last lines are JSON.
"""

import argparse
import contextlib
import functools
import hashlib
import hmac
import json
import os
import pathlib
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

NUMBER, SECRET = "106540352242922", "omni-bench-app-secret"
RELEASE = pathlib.Path(__file__).resolve().parent.parent / "target" / "release"


def call(method, url, body=None, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    for attempt in range(60):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503 or attempt == 59:
                raise
        time.sleep(1)


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
        self.url, self.child, self.pid, self.log = line.split()[-1], child, child.pid, log
        self.metrics_url = f"http://{metrics}/metrics"
        if is_new:
            self.token = self.found("bench", NUMBER)
        else:
            login = {"email": "bench@example.com", "password": "correct horse"}
            self.token = call("POST", f"{self.url}/api/auth/login", login)["token"]

    def found(self, name, number):
        """An organization with a number on WhatsApp; answers its admin's token."""
        admin = {"org_name": name, "admin_email": f"{name}@example.com", "admin_password": "correct horse"}
        token = call("POST", f"{self.url}/api/auth/register", admin)["token"]
        config = {"phone_number_id": number, "waba_id": "1", "access_token": "none", "app_secret": SECRET}
        account = {"channel": "whatsapp", "config": config}
        call("POST", f"{self.url}/api/integrations/accounts", account, token)
        return token

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
    environment = os.environ | {
        "OMNISTREAM__SERVER__LISTEN": "127.0.0.1:0",
        "OMNISTREAM__METRICS__LISTEN": metrics,
        "OMNISTREAM__STORAGE__PATH": str(data),
        "OMNISTREAM__META__GRAPH_URL": "http://127.0.0.1:9",
        "NO_COLOR": "1",
    } | dict(settings)
    is_new = not data.exists()
    with log.open("w") as errors, process(
        [RELEASE / "omnistream"], env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as child:
        started = Engine(child, log, metrics, is_new)
        started.environment = environment
        yield started


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
def beside(directory, command, publish=""):
    address = free_address()
    words = shlex.split(command.format(address=address, publish=publish, dir=directory))
    with process(words, cwd=directory, stdout=subprocess.DEVNULL) as child:
        yield Beside(command, address, child)


def loadtest(scenario, server, environment=None, **options):
    """The report, and whether everything was as it should be."""
    words = [RELEASE / "loadtest", scenario, "--json", "--url", server.url, "--server", str(server.pid)]
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(one)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode not in (0, 1):
        raise SystemExit(f"`loadtest {scenario}` did not run to its end")
    return json.loads(done.stdout), done.returncode == 0


def load(server, **options):
    report, is_good = loadtest("webhooks", server, secret=SECRET, phone_number_id=NUMBER, **options)
    if not is_good:
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


def cluster(args):
    """Webhooks a second on a cluster, beside a bare program that writes the same rows to it with the
    same driver (`cargo build --release -p omnistream-storage --example cql_limit`)."""
    rounds = []
    for number in range(args.rounds):
        quiet(args.quiet)
        words = [RELEASE / "examples" / "cql_limit", args.node, str(args.seconds), str(args.connections)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        bare = json.loads(done.stdout.splitlines()[-1])["per_second"]
        keyspace = f"measure_{os.getpid()}_{number}"
        chosen = {"backend": "cql", "cql.nodes": args.node, "cql.keyspace": keyspace}
        chosen = settings(f"storage.{key}={value}" for key, value in chosen.items()) | settings(args.set)
        with scratch(args.dir / "measure-cluster") as place, engine(place, chosen) as server:
            # Conversations are open, and statements prepared.
            load(server, rate=0, count=4000, connections=args.connections, **{"for": 60})
            quiet(args.quiet)
            before = server.metrics()
            most = load(server, rate=0, **{"for": args.seconds}, connections=args.connections)
            grown = lambda name: sum(value for key, value in server.metrics().items() if key.startswith(name)) - sum(
                value for key, value in before.items() if key.startswith(name)
            )
            accepted = grown('omnistream_webhook_items_total{item="message"}')
            statements = grown("omnistream_cql_statement_seconds_count")
        row = {"bare": bare, "engine": most["achieved_rate"], "ratio": most["achieved_rate"] / bare}
        row |= {"statements_per_webhook": statements / accepted, "cpu_us": most["server"]["cpu_us"]}
        row |= {f"{p}_ms": most["latency_us"][p] / 1000 for p in ("p50", "p99")}
        print(f"round {number + 1}:", ", ".join(f"{k} {v:.2f}" for k, v in row.items()), flush=True)
        rounds.append(row)
    print("engine / bare:", ", ".join(f"{row['ratio']:.2f}" for row in rounds))
    print(json.dumps(rounds))


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the server is gone")


def actors(server, kind=""):
    named = "omnistream_actors{kind=\"" + kind
    return sum(value for name, value in server.metrics().items() if name.startswith(named))


def rested(server, kind=""):
    """Memory once no actor is left, and store and allocator have come to rest."""
    until = time.monotonic() + 600
    while actors(server, kind) > 0:
        if time.monotonic() > until:
            raise SystemExit(f"still {actors(server, kind):.0f} actors")
        time.sleep(0.5)
    seen = []
    while len(seen) < 15 or max(seen[-15:]) - min(seen[-15:]) > 1 << 20:
        if time.monotonic() > until:
            raise SystemExit("the server does not come to rest")
        seen.append(resident(server.pid))
        time.sleep(1)  # what is dirty in the tree is synced after ten quiet seconds
    return seen[-1]


def close_all(server):
    while page := server.call("GET", "/api/conversations?status=open&per_page=100"):
        body = {"conversation_ids": [row["id"] for row in page], "action": {"type": "resolve"}}
        server.call("POST", "/api/conversations/bulk", body)


def memory(args):
    """What one more conversation takes: first half of them come and are closed, then the other half. So what
    a server takes anyway does not count, and caches are made small. A conversation's actor is what memory
    rises by while the last quarter comes alive, with the room of contacts' actors, which leave at once, in
    use already. What is not active is told by servers that have just started. Their allocator gives back at
    once what is freed."""
    half, found = args.conversations // 2, {"idle_before": quiet(args.quiet)}
    small = settings(["limits.tree_cache_bytes=1048576", "limits.tree_memtable_bytes=1048576"]) | settings(args.set)
    small["MIMALLOC_PURGE_DELAY"] = "0"
    patient = small | {"OMNISTREAM__LIMITS__IDLE_PASSIVATION": "1h"}
    brisk = small | {"OMNISTREAM__LIMITS__IDLE_PASSIVATION": "2s"}

    def looked_at(server, which):
        found[f"{which}, nobody looks"] = rested(server)
        server.call("GET", "/api/conversations?per_page=1")
        found[f"{which}, listed"] = rested(server)

    def come(server, first, many):
        load(server, rate=0, warm_up=0, **{"for": 600}, count=many, customers=many, first_customer=first)
        return rested(server, "contact"), actors(server, "thread")

    with scratch(args.dir / "measure-memory") as place:
        with engine(place, brisk) as server:
            come(server, 0, half)
            close_all(server)
        with engine(place, brisk) as server:
            looked_at(server, "before")
        with engine(place, patient) as server:
            before, alone = come(server, half, half // 2)
            after, alive = come(server, half + half // 2, half // 2)
            found |= {"alive before": before, "alive": after, "actor": (after - before) / (alive - alone)}
        with engine(place, brisk) as server:
            looked_at(server, "open")
            close_all(server)
        with engine(place, brisk) as server:
            looked_at(server, "closed")
    print(f"one more of {alive:.0f} live conversations: {found['actor']:.0f} bytes")
    for which in ("nobody looks", "listed"):
        for state in ("open", "closed"):
            found[f"one {state}, {which}"] = (found[f"{state}, {which}"] - found[f"before, {which}"]) / half
            print(f"one more {state}, {which}: {found[f'one {state}, {which}']:.0f} bytes")
    print(json.dumps(found))


def settings(pairs):
    """`limits.live_actors=1000` as the environment has it."""
    named = (pair.split("=", 1) for pair in pairs)
    return {"OMNISTREAM__" + key.upper().replace(".", "__"): value for key, value in named}


# Ends the server `$SERVER` without a warning and starts it again at the same place.
RESTART = """
kill -9 $SERVER
while kill -0 $SERVER 2>/dev/null; do sleep 0.02; done
"$PROGRAM" >/dev/null 2>>"$LOG" &
echo $! | tee "$PID"
"""


def flood(args):
    """More webhooks are under way than one organization may have: the connections are four times
    `limits.inflight_tenant` unless both are set otherwise. The server's own memory is counted flat when the
    last quarter of the flood needs at most a tenth more than the second: the first fills buffers."""
    address = free_address()
    share = {"OMNISTREAM__LIMITS__INFLIGHT_TENANT": str(max(1, args.connections // 4))}
    chosen = {"OMNISTREAM__SERVER__LISTEN": address} | share | settings(args.set)
    open_files(args.connections)
    options = {"for": args.seconds, "search": args.search, "connections": args.connections, "seed": args.seed}
    if args.rate:
        options["rate"] = args.rate
    if args.restart_after:
        options |= {"restart_after": args.restart_after, "restart": RESTART}
    with scratch(args.dir / "measure-flood") as place, engine(place, chosen) as server:
        pid = place / "pid"
        # Who ends while somebody waits for it is gone for the others, too.
        threading.Thread(target=server.child.wait, daemon=True).start()
        idle_before = quiet(args.quiet)
        own = {"PROGRAM": str(RELEASE / "omnistream"), "LOG": str(server.log), "PID": str(pid)}
        try:
            report, is_kept = loadtest(
                "flood", server, server.environment | own, secret=SECRET, metrics=server.metrics_url,
                flooding=NUMBER, flooding_token=server.token,
                bystander=f"{NUMBER}2", bystander_token=server.found("bystander", f"{NUMBER}2"), **options,
            )
            found = caught_up(server)
        finally:
            if pid.exists():
                end(int(pid.read_text()))
    during = report["bystander"]["stretches"]["flood"]
    resident = [s["resident_bytes"] for s in report["samples"] if 0 <= s["second"] < args.seconds and s["resident_bytes"]]
    quarter = len(resident) // 4
    early, late = (statistics.median(part or [0]) for part in (resident[quarter : 2 * quarter], resident[3 * quarter :]))
    report["bars"] = {
        "idle_before": idle_before,
        "word_kept": is_kept,
        "bystander_refused": sum(n for status, n in during["statuses"].items() if not status.startswith("2")),
        "bystander_p99_ms": during["latency_us"]["p99"] / 1000,
        "bystander_late_p99_ms": during["late_us_p99"] / 1000,  # above 1 the generator had too little processor
        "recovery_seconds": report["recovery_seconds"],
        "back_seconds": (report["restarted"] or {}).get("back_seconds"),
        "most_waiting": max((sample["waiting"] or 0 for sample in report["samples"]), default=0),
        "resident_mb": [round(early / 1e6, 1), round(late / 1e6, 1)],
        "memory_flat": late <= 1.1 * early,
        "search": found,
    }
    print(json.dumps(report))
    return 0 if is_kept else 1


def caught_up(server):
    """How long it takes until everything can be found, and what the server holds then. Own memory is what
    counts: mapped pages are the system's cache."""
    began, seen = time.monotonic(), server.metrics()
    while seen['omnistream_oldest_seconds{what="search"}'] > 0 and time.monotonic() - began < 900:
        time.sleep(0.5)
        seen = server.metrics()
    row = {"caught_up_seconds": round(time.monotonic() - began, 1)}
    row |= {f"{kind}_mb": round(seen[f'omnistream_memory_bytes{{kind="{kind}"}}'] / 1e6, 1) for kind in ("own", "files")}
    row["indexed"] = seen.get("omnistream_search_messages_total", 0)
    row["segments"] = seen["omnistream_search_segments"]
    return row


def deliver(server, text):
    """A customer writes this; answers when it was acknowledged."""
    message = {"from": "4915550000000", "id": f"wamid.{text}", "timestamp": str(int(time.time())), "type": "text", "text": {"body": text}}
    value = {"messaging_product": "whatsapp", "metadata": {"display_phone_number": "1", "phone_number_id": NUMBER}}
    value |= {"contacts": [{"wa_id": message["from"], "profile": {"name": "Ada"}}], "messages": [message]}
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-hub-signature-256": signature}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/webhook", body, headers), timeout=30):
        return time.monotonic()


def search(args):
    """How long after its acknowledgement a message is found, while others come at a rate."""
    with scratch(args.dir / "measure-search") as place, engine(place, settings(args.set)) as server:
        found, idle_before = [], quiet(args.quiet)
        options = {"rate": args.rate, "for": args.seconds, "connections": 64}
        others = threading.Thread(target=load, args=(server,), kwargs=options)
        if args.rate:
            others.start()
        until = time.monotonic() + args.seconds
        while time.monotonic() < until:
            word = f"needle{len(found)}x"
            acknowledged = deliver(server, word)
            while not server.call("GET", f"/api/messages/search?q={word}"):
                time.sleep(0.01)
            found.append(time.monotonic() - acknowledged)
        if args.rate:
            others.join()
        report = {"idle_before": idle_before, "rate": args.rate, "messages": len(found), "p50_seconds": statistics.median(found)}
        report |= {"longest_seconds": max(found), "within_2_seconds": max(found) <= 2, "afterwards": caught_up(server)}
    print(json.dumps(report))
    return 0 if report["within_2_seconds"] else 1


def open_files(connections):
    """Lets both sides have so many connections; answers how many files that makes."""
    most = connections + 500
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < most:
        raise SystemExit(f"each side needs {most} open files, and `ulimit -Hn` allows {allowed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, allowed))
    return most


def sockets(args):
    """Processor time for a message that is delivered to many sockets, and memory of an idle one; the same
    sockets beside a bare server in the same rounds."""
    most = open_files(max(args.sockets, args.idle))
    roomy = {"limits.sockets_per_user": most, "limits.connections": most, "limits.handshakes_per_second": 5000}
    chosen = settings(f"{key}={value}" for key, value in roomy.items()) | settings(args.set)
    watch = {"rate": args.rate, "for": args.seconds, "sockets": args.sockets}
    idle_ones = {"rate": 0, "for": 0, "warm_up": 0, "sockets": args.idle}
    found, all_good = [], True

    def run(name, server, **options):
        nonlocal all_good
        report, is_good = loadtest("sockets", server, ramp=args.ramp, **options)
        all_good &= is_good
        cost = report["server"]
        print(
            f"{name}: {report['sockets']} sockets, {cost['cpu_us']:.2f} us a receipt, p99 {report['latency_us']['p99'] / 1000:.1f} ms,"
            f" {cost['resident_bytes_per_socket']:.0f} bytes an idle socket, {report['message_bytes']} bytes a message,"
            f" missing {report['missing']}, repeated {report['repeats']}",
            flush=True,
        )
        return report

    for _ in range(args.rounds):
        row = {"idle_before": quiet(args.quiet)}
        for name, options in (("engine", watch), ("engine idle", idle_ones)):
            with scratch(args.dir / "measure-sockets") as place, engine(place, chosen) as server:
                rested(server)
                own = {"secret": SECRET, "phone_number_id": NUMBER, "token": server.token}
                row[name] = run(name, server, **own, **options)
        for name, options in (("beside", watch), ("beside idle", idle_ones)) if args.beside else ():
            publish = free_address()
            with scratch(args.dir / "measure-beside") as place, beside(place, args.beside, publish) as server:
                bare = {"post": f"http://{publish}/pub", "bytes": row["engine"]["message_bytes"]}
                row[name] = run(name, server, **bare, **options)
        found.append(row)
    bars = {"all_delivered": all_good}
    of_engine = [row["engine idle"]["server"]["resident_bytes_per_socket"] for row in found]
    bars["bytes_per_idle_socket"] = statistics.median(of_engine)
    bars["cpu_us"] = statistics.median(row["engine"]["server"]["cpu_us"] for row in found)
    if args.beside:
        cost = lambda row, name: row[name]["server"]["cpu_us"]
        bars["ratios"] = sorted(round(cost(row, "engine") / cost(row, "beside"), 3) for row in found)
        bars["ratio"] = statistics.median(bars["ratios"])
    print(json.dumps({"rounds": found, "bars": bars}))
    return 0 if all_good else 1


def end(pid):
    """Ends a process that is not a child of this one."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(300):
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)


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
    of_memory = what.add_parser("memory", help="memory per conversation", description=memory.__doc__)
    of_memory.set_defaults(measure=memory)
    of_memory.add_argument("--conversations", type=int, default=100_000)
    of_memory.add_argument("--quiet", type=float, default=0, help="seconds to wait for an idle machine before")
    of_flood = what.add_parser("flood", help="one organization floods, another stands by", description=flood.__doc__)
    of_flood.set_defaults(measure=flood)
    of_flood.add_argument("--seconds", type=float, default=60)
    of_flood.add_argument("--search", type=float, default=5, help="seconds of the closed loop that finds the most")
    of_flood.add_argument("--rate", type=float, default=0, help="webhooks a second; 0: three times what a closed loop finds")
    of_flood.add_argument("--connections", type=int, default=4000)
    of_flood.add_argument("--seed", type=int, default=4711)
    of_flood.add_argument("--restart-after", type=float, help="kill -9 so many seconds after the flood began, and start again")
    of_flood.add_argument("--quiet", type=float, default=0, help="seconds to wait for an idle machine before")
    of_sockets = what.add_parser("sockets", help="processor time a delivered message, memory an idle socket", description=sockets.__doc__)
    of_sockets.set_defaults(measure=sockets)
    of_sockets.add_argument("--beside", metavar="COMMAND")
    of_sockets.add_argument("--rounds", type=int, default=3)
    of_sockets.add_argument("--sockets", type=int, default=1000, help="that get messages")
    of_sockets.add_argument("--idle", type=int, default=10_000, help="that get none")
    of_sockets.add_argument("--ramp", type=float, default=1000, help="sockets opened a second")
    of_sockets.add_argument("--rate", type=float, default=20, help="messages a second")
    of_sockets.add_argument("--seconds", type=float, default=10)
    of_sockets.add_argument("--quiet", type=float, default=0, help="seconds to wait for an idle machine before each round")
    of_search = what.add_parser("search", help="how soon a message is found", description=search.__doc__)
    of_search.set_defaults(measure=search)
    of_search.add_argument("--rate", type=float, default=1000, help="webhooks a second beside; 0: none")
    of_search.add_argument("--seconds", type=float, default=30)
    of_search.add_argument("--quiet", type=float, default=0, help="seconds to wait for an idle machine before")
    of_cluster = what.add_parser("cluster", help="webhooks a second on a cluster", description=cluster.__doc__)
    of_cluster.set_defaults(measure=cluster)
    of_cluster.add_argument("--node", required=True, metavar="HOST:PORT")
    of_cluster.add_argument("--rounds", type=int, default=3)
    of_cluster.add_argument("--seconds", type=int, default=10)
    of_cluster.add_argument("--connections", type=int, default=256)
    of_cluster.add_argument("--quiet", type=float, default=0, help="seconds to wait for an idle machine before each round")
    for one in (of_memory, of_flood, of_sockets, of_search, of_cluster):
        one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as limits.inflight_tenant=5000")
    for one in (of_speed, of_memory, of_flood, of_sockets, of_search, of_cluster):
        one.add_argument("--dir", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.dir = args.dir.resolve()
    return args.measure(args)


if __name__ == "__main__":
    sys.exit(main())
