"""What live sockets cost."""

import json
import statistics

from measure.machine import free_address, open_files, quiet, scratch
from measure.servers import NUMBER, SECRET, beside, engine, loadtest, rested, settings


def watched(server, **options):
    """Sockets that listen; whether all got everything."""
    report, is_good = loadtest("sockets", server, **options)
    if not is_good:
        report["fault"] = (
            f"not all was delivered: {report['missing']} missing, {report['repeats']} repeated, {report['refused']} refused,"
            f" ended {report['ended']}"
        )
        print("NOT ALL DELIVERED:", report["fault"])
    return report, is_good


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
        report, is_good = watched(server, ramp=args.ramp, **options)
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
