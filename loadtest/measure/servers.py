"""The release server and what is measured beside it, started and ended; load on both."""

import contextlib
import json
import os
import pathlib
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.request

from measure.machine import free_address, process, processes, resident, spent

NUMBER, SECRET = "106540352242922", "omni-bench-app-secret"
# A generator that is later than this measures itself.
LATE_MS = 1
RELEASE = pathlib.Path(os.environ.get("RELEASE") or pathlib.Path(__file__).resolve().parents[2] / "target" / "release")


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


class Engine:
    def __init__(self, child, log, metrics, token):
        line = child.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(f"the server did not start: {log.read_text()}")
        self.url, self.child, self.pid, self.log = line.split()[-1], child, child.pid, log
        self.roots, self.metrics_url, self.token = [child.pid], f"http://{metrics}/metrics", token

    def since_start(self):
        return time.monotonic() - self.began

    def log_in(self):
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


    def settled_metric(self, name):
        """Once it is told: some are read from time to time only."""
        until = time.monotonic() + 30
        while (found := self.metrics().get(name)) is None and time.monotonic() < until:
            time.sleep(0.2)
        return found


@contextlib.contextmanager
def engine(directory, settings=(), token=None):
    """The release server on a directory: what is there already is gone on with, by this token or a new login."""
    metrics, data, log = free_address(), directory / "data", directory / "log"
    environment = os.environ | {
        "OMNISTREAM__SERVER__LISTEN": "127.0.0.1:0",
        "OMNISTREAM__METRICS__LISTEN": metrics,
        "OMNISTREAM__STORAGE__PATH": str(data),
        "OMNISTREAM__META__GRAPH_URL": "http://127.0.0.1:9",
        "NO_COLOR": "1",
    } | dict(settings)
    is_new, began = not data.exists(), time.monotonic()
    with log.open("w") as errors, process(
        [RELEASE / "omnistream"], env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as child:
        started = Engine(child, log, metrics, token)
        started.environment, started.began, started.ready_seconds = environment, began, time.monotonic() - began
        if is_new:
            started.token = started.found("bench", NUMBER)
        elif token is None:
            started.log_in()
        yield started


class Beside:
    """A program that does the same work; `roots` are its processes, where it has several."""

    def __init__(self, command, address, child):
        self.url, self.pid, self.roots, self.token = f"http://{address}", child.pid, [child.pid], None
        host, port = address.split(":")
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
                return
            time.sleep(0.1)
        raise SystemExit(f"does not listen: {command}")


@contextlib.contextmanager
def beside(directory, command, publish="", address=""):
    """Started by a command in which {address}, {port}, {publish} and {dir} are filled in."""
    address = address or free_address()
    port = address.split(":")[1]
    words = shlex.split(command.format(address=address, port=port, publish=publish, dir=directory))
    with process(words, cwd=directory, stdout=subprocess.DEVNULL) as child:
        yield Beside(command, address, child)


def loadtest(scenario, server, environment=None, **options):
    """The report, and whether everything was as it should be."""
    words = [RELEASE / "loadtest", scenario, "--json"]
    for name, value in ({"url": server.url, "server": server.pid} | options).items():
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(one)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode not in (0, 1):
        raise SystemExit(f"`loadtest {scenario}` did not run to its end")
    return json.loads(done.stdout), done.returncode == 0


def load(server, **options):
    """Webhooks; what they cost a server of several processes is read here, since `loadtest` reads one."""
    options = {"secret": SECRET, "phone_number_id": NUMBER, "connections": 64} | options
    if len(processes(server.roots)) > 1:
        loadtest("webhooks", server, **options | {"for": options.pop("warm_up", 1), "warm_up": 0})
        options["warm_up"] = 0
    before = spent(server.roots)
    report, is_good = loadtest("webhooks", server, **options)
    if len(processes(server.roots)) > 1:
        report["server"]["cpu_us"] = (spent(server.roots) - before) * 1e6 / report["requests"]
    if not is_good:
        report["fault"] = f"not all was accepted: {report['statuses']} {report['errors']}, {report['unanswered']} unanswered"
        print("NOT ALL ACCEPTED:", report["fault"])
    return report


def counted(report, figures, latencies):
    """The row of a report: it says so where it does not count, since not all was as it should be, or where its latencies do
    not, since the generator was late."""
    late = (report.get("late_us_p99") or 0) / 1000
    if late > LATE_MS:
        latencies = {f"why no {key}": f"the generator was {late:.1f} ms late (p99)" for key in latencies}
    fault = {"missing": report["fault"]} if "fault" in report else {}
    return figures | latencies | fault


def settings(pairs):
    """`limits.live_actors=1000` as the environment has it."""
    named = (pair.split("=", 1) for pair in pairs)
    return {"OMNISTREAM__" + key.upper().replace(".", "__"): value for key, value in named}


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
