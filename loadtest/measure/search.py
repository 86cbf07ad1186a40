"""How soon a message is found."""

import hashlib
import hmac
import json
import statistics
import threading
import time
import urllib.request

from measure.machine import quiet, scratch
from measure.servers import NUMBER, SECRET, engine, load, settings


def caught_up(server, patience=900):
    """How long it takes until everything can be found, and what the server holds then. Own memory is what
    counts: mapped pages are the system's cache."""
    began, seen = time.monotonic(), server.metrics()
    while seen['omnistream_oldest_seconds{what="search"}'] > 0 and time.monotonic() - began < patience:
        time.sleep(0.5)
        seen = server.metrics()
    row = {"caught_up_seconds": round(time.monotonic() - began, 1), "search_behind_seconds": seen['omnistream_oldest_seconds{what="search"}']}
    row |= {f"{kind}_mb": round(seen[f'omnistream_memory_bytes{{kind="{kind}"}}'] / 1e6, 1) for kind in ("own", "files")}
    row["indexed"] = seen.get("omnistream_search_messages_total", 0)
    row["segments"] = seen["omnistream_search_segments"]
    return row


def deliver(server, text, phone=4915550000000):
    """A customer writes this; answers when it was acknowledged."""
    message = {"from": str(phone), "id": f"wamid.{text}", "timestamp": str(int(time.time())), "type": "text", "text": {"body": text}}
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
