"""A round of live sockets: the engine, the bare server R, nchan and Socket.IO."""

import contextlib
import json
import subprocess

from measure.machine import free_address, open_files, quiet, scratch
from measure.servers import NUMBER, SECRET, beside, counted, engine, rested, settings
from measure.sockets import watched


# Sockets, events a second, and how many sockets are opened a second.
CASES = {"1k": (1000, 20, 500), "10k": (10_000, 2, 1000)}
# So many events a second that some are written together.
JOINED = {"joined": (200, 400, 200)}


def round_of(lab):
    """Few events to many sockets, beside all others."""
    return compared(lab, CASES)


def joined(lab):
    """Many events to few sockets, beside R alone."""
    return compared(lab, JOINED)


def compared(lab, cases):
    most = open_files(10_000)
    roomy = settings([f"limits.sockets_per_user={most}", f"limits.connections={most}", "limits.handshakes_per_second=5000"])
    reference, rows, size = lab.reference, {}, 500

    def told(name, report):
        cost = report["server"]
        row = {"cpu_us": cost["cpu_us"], "bytes": cost["resident_bytes_per_socket"], "generator_us": report["generator_us"]}
        row |= {"missing_events": report["missing"], "repeats": report["repeats"]}
        rows[name] |= counted(report, row, {"p99_ms": report["latency_us"]["p99"] / 1000})
        lab.tell(name, rows[name])
        return report

    for case, (sockets, rate, ramp) in cases.items():
        options = {"rate": rate, "for": 2 * lab.seconds, "sockets": sockets, "ramp": ramp}
        with case_of(lab, rows, f"engine {case}", "") as place:
            with engine(place, roomy) as server:
                rested(server)
                own = {"secret": SECRET, "phone_number_id": NUMBER, "token": server.token}
                size = told(f"engine {case}", watched(server, **own, **options)[0])["message_bytes"] or size
        with case_of(lab, rows, f"R {case}", reference.why("limits")) as place:
            publish = free_address()
            if place:
                with beside(place, reference.sockets(), publish) as server:
                    told(f"R {case}", watched(server, post=f"http://{publish}/pub", bytes=size, **options)[0])
        if cases is JOINED:
            continue
        with case_of(lab, rows, f"nchan {case}", reference.why("limits") or reference.why("nchan")) as place:
            if place:
                with reference.nchan(place) as server:
                    told(f"nchan {case}", watched(server, post=f"{server.url}/pub", bytes=size, **options)[0])
        with case_of(lab, rows, f"Socket.IO {case}", reference.why("limits") or reference.why("socket.io")) as place:
            publish = free_address()
            if place:
                with reference.socket_io(place, publish) as server:
                    rows[f"Socket.IO {case}"] |= listened(reference, server, publish, options, size)
                lab.tell(f"Socket.IO {case}", rows[f"Socket.IO {case}"])
    return rows


@contextlib.contextmanager
def case_of(lab, rows, name, why):
    """A place for it; `None` where it cannot be had, and then its row says why."""
    if why:
        rows[name] = {"missing": why}
        yield None
        return
    with scratch(lab.dir / "measure-fanout") as place:
        rows[name] = {"idle": quiet(lab.quiet)}
        yield place


def listened(reference, server, publish, options, size):
    """Socket.IO has a protocol of its own, which the bare programs' listener speaks."""
    words = [reference.limits, "wsload", "--proto", "sio", "--addr", server.url.removeprefix("http://"), "--pub", publish]
    words += ["--n", options["sockets"], "--rate", options["rate"], "--size", size, "--secs", options["for"], "--warm", 2]
    done = subprocess.run([str(word) for word in [*words, "--pids", server.pid]], stdout=subprocess.PIPE, text=True, timeout=600)
    if done.returncode != 0 or not done.stdout:
        return {"missing": "Socket.IO was not listened to until the end"}
    found = json.loads(done.stdout.splitlines()[-1])
    row = {"cpu_us": found["srv_us_per_msg"], "bytes": found["rss_per_conn"], "p99_ms": found["p99"] / 1000}
    return row | {"missing_events": found["missing"], "repeats": found["out_of_order"]}
