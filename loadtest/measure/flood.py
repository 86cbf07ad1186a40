"""One organization floods, another stands by."""

import json
import os
import statistics
import threading

from measure.machine import end, free_address, open_files, quiet, scratch
from measure.search import caught_up
from measure.servers import NUMBER, RELEASE, SECRET, engine, loadtest, settings

# Ends the server `$SERVER` without a warning and starts it again at the same place.
RESTART = """
kill -9 $SERVER
while kill -0 $SERVER 2>/dev/null; do sleep 0.02; done
"$PROGRAM" >/dev/null 2>>"$LOG" &
echo $! | tee "$PID"
"""


def flooded(args):
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
    return report, is_kept


def flood(args):
    report, is_kept = flooded(args)
    print(json.dumps(report))
    return 0 if is_kept else 1


flood.__doc__ = flooded.__doc__
