"""This machine and its processes: who is idle, what a process costs, how one is started and ended."""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import time


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


@contextlib.contextmanager
def scratch(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def idle():
    """The share of processor time that nobody uses: near 1 or the figures are of others, too."""

    def read():
        fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return fields[3] + fields[4], sum(fields)

    before = read()
    time.sleep(0.5)
    after = read()
    return round((after[0] - before[0]) / (after[1] - before[1]), 2)


def processes(roots):
    """These processes and all that come of them."""
    parents = {}
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(place.name)] = int(fields_of(place)[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def spent(roots):
    """Seconds of processor that they have taken, user and system."""
    total = 0
    for pid in processes(roots):
        with contextlib.suppress(OSError):
            total += sum(map(int, fields_of(pathlib.Path(f"/proc/{pid}"))[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def apart(pid):
    """This process has the first core for itself, and all that is started meanwhile has the others."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("nothing can be apart on one core")

    def may_use(those):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), those)

    may_use(cores[:1])
    os.sched_setaffinity(0, cores[1:])
    try:
        yield
    finally:
        may_use(cores)
        os.sched_setaffinity(0, cores)


def fields_of(place):
    """What /proc tells of a process, behind its name, which may have spaces in it."""
    return (place / "stat").read_text().rsplit(")", 1)[1].split()


def quiet(seconds):
    """Waits for a machine that is idle, at most so long."""
    until = time.monotonic() + seconds
    while (share := idle()) < 0.9 and time.monotonic() < until:
        pass
    return share


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the server is gone")


def open_files(connections):
    """Lets both sides have so many connections; answers how many files that makes."""
    most = connections + 500
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < most:
        raise SystemExit(f"each side needs {most} open files, and `ulimit -Hn` allows {allowed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, allowed))
    return most


def end(pid):
    """Ends a process that is not a child of this one."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(300):
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
