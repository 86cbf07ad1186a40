"""Rounds on stores that hold much: traffic spread wide, restarts, pages. Each store is made once and kept in DIR."""

import json
import subprocess
import urllib.request

from measure.machine import quiet, scratch, spent
from measure.search import caught_up
from measure.servers import actors, beside, engine, load, loadtest, settings
from measure.state import fill, state
from measure.webhooks import closed, medians

MANY, FEW = 1_000_000, 1_000
PAGE = 50


def spread(lab):
    """Webhooks over all conversations of a large store, asleep and awake, of a small one, and over one conversation."""
    rows = awake(lab)
    turn = lab.turn("spread")
    for name, conversations, messages in (("over many", lab.scaled(MANY), 1), ("over 1,000", FEW, 1)):
        place, _ = state(lab.dir, conversations, conversations * messages)
        with engine(place) as server:
            # What the index has still to take in would be part of what a webhook costs.
            caught_up(server)
            # Each round writes to others, in which nobody has written since the start.
            first = turn * conversations // 10 % conversations
            options = {"customers": conversations - first, "first_customer": first}
            rows[name] = {"idle": quiet(lab.quiet)} | closed(server, lab.seconds, **options)
            lab.tell(name, rows[name])
            if name == "over 1,000":
                rows["one"] = {"idle": quiet(lab.quiet)} | closed(server, lab.seconds, customers=1)
                lab.tell("one", rows["one"])
    return rows


def awake(lab):
    """Webhooks over all conversations of a large store once all of them are in memory, since each has written before, and over
    a thousand of them: in turn, since what the tree merges and the index follows meanwhile comes in bursts."""
    conversations = lab.scaled(MANY)
    place, _ = state(lab.dir, conversations, conversations)
    rows = {}
    with engine(place, settings([f"limits.live_actors={2 * conversations}", "limits.idle_passivation=1h"])) as server:
        caught_up(server)
        load(server, rate=0, count=conversations, connections=256, customers=conversations, warm_up=0, **{"for": 600})
        found = {"many awake": conversations, "1,000 awake": FEW}
        parts = {name: [] for name in found}
        for _ in range(3):
            for name, customers in found.items():
                parts[name].append({"idle": quiet(lab.quiet)} | closed(server, lab.seconds, customers=customers))
        for name, all in parts.items():
            rows[name] = medians(all) | {"awake": actors(server, "thread")}
            faults = [part["missing"] for part in all if "missing" in part]
            if faults:
                rows[name]["missing"] = faults[0]
            if rows[name]["awake"] < conversations:
                rows[name]["missing"] = f"only {rows[name]['awake']} of {conversations} conversations are in memory"
            lab.tell(name, rows[name])
    return rows


def restart(lab):
    """From the start of the process to the first 200 of a list's page, and what a bare replay takes."""
    rows, conversations = {}, lab.scaled(100_000)
    why = lab.reference.why("limits")
    if why:
        rows["P"] = {"missing": why}
    else:
        words = [lab.reference.limits, "recover", "--log", lab.dir / "recover", "--records", 10 * conversations, "--convs", conversations]
        idle = quiet(lab.quiet)
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        rows["P"] = {"idle": idle, "seconds": json.loads(done.stdout.splitlines()[-1])["wall_s"]}
        lab.tell("P", rows["P"])
    for name, each in (("1 M", 10), ("10 M", 100)):
        place, _ = state(lab.dir, conversations, each * conversations)
        with engine(place) as server:
            token = server.token
        rows[name] = again(lab, place, token)
        lab.tell(name, rows[name])
        if name == "1 M":
            with engine(place) as server:
                closed(server, 1, customers=conversations)
                server.child.kill()
                server.child.wait()
            rows["1 M killed"] = again(lab, place, token)
            lab.tell("1 M killed", rows["1 M killed"])
    return rows


def again(lab, place, token):
    row = {"idle": quiet(lab.quiet)}
    with engine(place, token=token) as server:
        server.call("GET", f"/api/conversations?per_page={PAGE}")
        row["seconds"] = server.since_start()
        row["cpu_seconds"] = spent(server.roots)
    return row


def pages(lab):
    """Pages of 50 messages: of a short conversation, of a very long one, far behind in it; beside a bare program
    that builds such a page for each request."""
    rows, lengths = {}, {"newest of 100": 100, "newest of many": lab.scaled(1_000_000)}
    for name, length in lengths.items():
        place, _ = state(lab.dir, 1, length, connections=1)
        with engine(place) as server:
            caught_up(server)
            one = server.call("GET", "/api/conversations?per_page=1")[0]["id"]
            path = f"/api/conversations/{one}/messages?per_page={PAGE}"
            asked = {name: path}
            if length > 1000 * PAGE:
                far = server.call("GET", f"{path}&page=1000")
                asked |= {"page 1,000": f"{path}&page=1000", "before_seq": f"{path}&before_seq={far[0]['seq'] + 1}"}
            for what, page in asked.items():
                rows[what] = read(lab, server, page)
    why = lab.reference.why("limits")
    if why:
        rows["axum"] = {"missing": why}
        return rows
    command = f"{lab.reference.limits} ingest --stage ack --threads 2 --addr {{address}}"
    with scratch(lab.dir / "measure-pages") as place, beside(place, command) as server:
        rows["axum"] = read(lab, server, "/page")
    return rows


def read(lab, server, path):
    headers = {"authorization": f"Bearer {server.token}"} if server.token else {}
    with urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers), timeout=60) as answer:
        row = {"bytes": len(answer.read())}
    row["idle"] = quiet(lab.quiet)
    options = {"for": lab.seconds, "url": server.url + path} | ({"token": server.token} if server.token else {})
    # What is too slow for so many to come at all is asked for by two.
    for connections in (64, 2):
        report, is_good = loadtest("reads", server, connections=connections, **options)
        if report["requests"]:
            break
    row |= {"rate": report["achieved_rate"], "cpu_us": report["server"]["cpu_us"], "p99_ms": report["latency_us"]["p99"] / 1000}
    if not is_good:
        row["missing"] = f"not every page was answered 200: {report['statuses']} {report['errors']}"
    lab.tell(path.split("?")[-1], row)
    return row
