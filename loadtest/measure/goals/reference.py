"""What the engine is compared to: bare programs that `../shared/bench` has the source of, and peers that
people run instead, installed once by `measure.py peers`."""

import contextlib
import os
import pathlib
import shutil
import subprocess

from measure.machine import free_address
from measure.servers import beside

NGINX_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
PACKAGES = ["nginx-light", "libnginx-mod-nchan"]
# Fixed in the peers' own configurations.
NCHAN = "127.0.0.1:7111"


class Reference:
    """`why(program)` says why it cannot be had; "" means that it can."""

    def __init__(self, bench, directory, limits=None):
        self.bench, self.dir = bench, directory
        self.peers, self.node = bench / "peers", directory / "node"
        self.limits = limits or directory / "limits-target" / "release" / "limits"
        self.database = Database(directory / "pg", self.peers / "schema.sql")

    def why(self, program):
        if not self.bench.is_dir():
            return f"{self.bench} is not there"
        if program == "limits":
            return "" if self.limits.exists() else "the bare programs are not built"
        if program == "nchan":
            return "" if NGINX_MODULE.exists() and shutil.which("nginx") else "nginx with nchan is not installed: `measure.py peers`"
        if program == "socket.io":
            return self.lacks("socket.io")
        return self.lacks("express") or self.lacks("pg") or self.database.why()

    def lacks(self, package):
        if not shutil.which("node"):
            return "there is no `node`"
        return "" if (self.node / "node_modules" / package).is_dir() else f"the npm package {package} is not installed: `measure.py peers`"

    def build(self):
        """The bare programs, unless they are there; of a copy, since building writes beside the source."""
        if self.limits.exists() or not self.bench.is_dir() or not shutil.which("cargo"):
            return
        print("building the bare programs: one to six minutes on two cores", flush=True)
        source, target = self.dir / "limits-source", self.dir / "limits-target"
        shutil.copytree(self.bench / "limits", source, dirs_exist_ok=True)
        environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
        words = ["cargo", "build", "--release", "--manifest-path", source / "Cargo.toml"]
        if subprocess.run(words, env=environment).returncode != 0:
            print("the bare programs could not be built; what needs them is not measured", flush=True)

    def log_alone(self):
        return f"{self.limits} ingest --stage wal --threads 2 --addr {{address}} --log {{dir}}/wal"

    def log_and_tree(self):
        return f"{self.log_alone()} --store log+tree --actor flushed --db {{dir}}/tree"

    def sockets(self, threads=1):
        return f"{self.limits} wsd --impl raw --threads {threads} --addr {{address}} --pub {{publish}}"

    def express(self, mode):
        words = f"env MODE={mode} PORT={{port}} NODE_ENV=production NODE_PATH={self.node}/node_modules"
        return f"{words} {self.database.environment()} node {self.peers}/express-pg.js"

    @contextlib.contextmanager
    def nchan(self, directory):
        """Its worker does the work."""
        directory.chmod(0o755)
        command = f"nginx -p {{dir}} -c {self.peers}/nchan.conf -g 'daemon off;'"
        with beside(directory, command, publish=NCHAN, address=NCHAN) as server:
            children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
            server.pid = int(children.split()[0])
            yield server

    @contextlib.contextmanager
    def socket_io(self, directory, publish):
        port = publish.split(":")[1]
        words = f"env SIO_PORT={{port}} PUB_PORT={port} NODE_ENV=production NODE_PATH={self.node}/node_modules"
        with beside(directory, f"{words} node {self.peers}/socketio.js", publish) as server:
            yield server


class Database:
    """A PostgreSQL of our own, durable as it is by default."""

    def __init__(self, directory, schema):
        self.dir, self.schema, self.address = directory, schema, None

    def programs(self):
        found = subprocess.run(["pg_config", "--bindir"], stdout=subprocess.PIPE, text=True) if shutil.which("pg_config") else None
        return pathlib.Path(found.stdout.strip()) if found and found.returncode == 0 else None

    def why(self):
        if self.programs() is None or not (self.programs() / "initdb").exists():
            return "there is no PostgreSQL: `pg_config --bindir` leads to no `initdb`"
        return "" if (self.dir / "PG_VERSION").exists() else "the database is not made: `measure.py peers`"

    def own(self, *words):
        """It does not run as root."""
        words = [str(word) for word in words]
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *words] if os.geteuid() == 0 else words

    def make(self):
        if (self.dir / "PG_VERSION").exists():
            return
        self.dir.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres")
        subprocess.run(self.own(self.programs() / "initdb", "-D", self.dir, "-A", "trust", "-U", "postgres"), cwd="/", check=True, stdout=subprocess.DEVNULL)

    def environment(self):
        host, port = (self.address or "127.0.0.1:0").split(":")
        return f"PGHOST={host} PGPORT={port} PGUSER=postgres PGDATABASE=postgres"

    def ask(self, *words):
        host, port = self.address.split(":")
        subprocess.run(["psql", "-q", "-h", host, "-p", port, "-U", "postgres", *words], check=True, stderr=subprocess.DEVNULL)

    @contextlib.contextmanager
    def running(self):
        self.address = free_address()
        host, port = self.address.split(":")
        options = f"-p {port} -c listen_addresses={host} -c unix_socket_directories={self.dir}"
        control = self.own(self.programs() / "pg_ctl", "-D", self.dir, "-w", "-m", "fast")
        subprocess.run([*control, "-l", self.dir / "log", "-o", options, "start"], cwd="/", check=True, stdout=subprocess.DEVNULL)
        try:
            self.ask("-f", str(self.schema))
            self.ask("-c", "TRUNCATE messages, conversations")
            yield int((self.dir / "postmaster.pid").read_text().split()[0])
        finally:
            subprocess.run([*control, "stop"], cwd="/", check=True, stdout=subprocess.DEVNULL)


def peers(args):
    """Installs the peers: nginx with nchan by apt (as root), Express, pg and Socket.IO by npm and a database
    of PostgreSQL's, both in DIR, which the user `postgres` must be able to enter. Says what cannot be had;
    the goals that need it are not measured then."""
    reference = Reference(args.bench.resolve(), args.dir)
    if not args.bench.is_dir():
        raise SystemExit(f"{args.bench} is not there: it has the peers' configurations")
    args.dir.mkdir(parents=True, exist_ok=True)
    if reference.why("nchan"):
        words = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
        if not shutil.which("apt-get") or os.geteuid() != 0 or subprocess.run(words).returncode != 0:
            print(f"not installed: install {' and '.join(PACKAGES)} yourself", flush=True)
    if reference.lacks("pg") or reference.lacks("socket.io"):
        reference.node.mkdir(exist_ok=True)
        shutil.copyfile(reference.peers / "package.json", reference.node / "package.json")
        if not shutil.which("npm") or subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=reference.node).returncode != 0:
            print("not installed: `npm install` failed, or there is none", flush=True)
    if reference.database.programs():
        reference.database.make()
    reference.build()
    lacking = {name: why for name in ("limits", "nchan", "socket.io", "express") if (why := reference.why(name))}
    for name, why in lacking.items():
        print(f"{name}: {why}")
    print("not all is there" if lacking else "all peers are there")
    return 1 if lacking else 0
