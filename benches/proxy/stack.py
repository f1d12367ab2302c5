"""The servers of a measurement: Postgres, and before it PgBouncer, HAProxy and pgwarden, each as its own process.

Everything listens on free ports of 127.0.0.1 and keeps its files in one folder; `Stack.stop` ends what was started.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POSTGRES = Path(os.environ.get("PGWARDEN_BENCH_POSTGRES", "/usr/lib/postgresql/15/bin"))
PGWARDEN = Path(os.environ.get("PGWARDEN_BENCH_BINARY", ROOT / "target/release/pgwarden"))
USER, PASSWORD, DATABASE = "bench", "bench", "bench"
# pgbench_accounts has 100,000 rows a step: enough that a random aid is hardly ever seen twice.
SCALE = 10
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A started process with its port."""

    def __init__(self, name, process, port, pid=None):
        self.name, self.process, self.port = name, process, port
        self.pid = pid or process.pid

    def cpu_seconds(self):
        """User and system time of the process, its ended threads included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_bytes(self):
        """Private and shared pages in memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(2 if self.name == "postgres" else 15)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(server, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise SystemExit(f"{server.name} did not start:\n{Path(log).read_text()[-3000:]}")
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{server.name} does not answer:\n{Path(log).read_text()[-3000:]}")


class Stack:
    """Every server that a run compares."""

    def __init__(self, folder, max_connections=600):
        self.folder = Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        # Postgres and PgBouncer refuse to run as root.
        self.account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.servers = []
        self.certificate()
        self.postgres = self.start_postgres(max_connections)
        self.verifier = self.make_user()

    # ----- odds and ends -----

    def own(self, path):
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def command(self, *command):
        if not self.account:
            return [str(word) for word in command]
        return ["setpriv", f"--reuid={self.account.pw_uid}", f"--regid={self.account.pw_gid}", "--clear-groups",
                *(str(word) for word in command)]

    def start(self, name, command, port, own=True):
        log = self.folder / f"{name}.log"
        command = self.command(*command) if own else [str(word) for word in command]
        with open(log, "wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, cwd="/", start_new_session=True)
        server = Server(name, process, port)
        self.servers.append(server)
        wait_for_port(server, log)
        return server

    def stop(self):
        for server in reversed(self.servers):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, server):
        self.servers.remove(server)
        server.stop()

    def certificate(self):
        """One self-signed certificate for everybody; its owner is who Postgres runs as."""
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", key, "-out", certificate],
            check=True, capture_output=True)
        key.chmod(0o600)
        for file in (key, certificate, self.folder):
            self.own(file)
        self.key, self.cert = key, certificate

    # ----- Postgres -----

    def start_postgres(self, max_connections):
        data, password = self.folder / "data", self.folder / "password"
        password.write_text("postgres")
        self.own(password)
        subprocess.run(self.command(POSTGRES / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256",
                                    "--pwfile", password, "-E", "UTF8", "--locale=C", "--no-sync"),
                       check=True, capture_output=True)
        settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=512MB",
                    "autovacuum=off", "max_wal_size=8GB", f"max_connections={max_connections}", "jit=off",
                    "unix_socket_directories=", "ssl=on", f"ssl_cert_file={self.cert}", f"ssl_key_file={self.key}",
                    "max_parallel_workers_per_gather=0"]
        port = free_port()
        command = [POSTGRES / "postgres", "-D", data, "-h", "127.0.0.1", "-p", port]
        for setting in settings:
            command += ["-c", setting]
        return self.start("postgres", command, port)

    def sql(self, text, user="postgres", password="postgres", database="postgres"):
        answer = subprocess.run(
            [POSTGRES / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.postgres.port),
             "-U", user, "-d", database, "-c", text],
            env={**os.environ, "PGPASSWORD": password}, capture_output=True, text=True)
        if answer.returncode:
            raise SystemExit(answer.stderr)
        return answer.stdout.strip()

    def make_user(self):
        for attempt in range(100):
            try:
                self.sql("select 1")
                break
            except SystemExit:
                if attempt == 99:
                    raise
                time.sleep(0.1)
        self.sql(f"create role {USER} login password '{PASSWORD}'")
        self.sql(f"create database {DATABASE} owner {USER}")
        subprocess.run([POSTGRES / "pgbench", "-i", "-q", "-s", str(SCALE), "--unlogged-tables", "-h", "127.0.0.1",
                        "-p", str(self.postgres.port), "-U", USER, DATABASE],
                       env={**os.environ, "PGPASSWORD": PASSWORD}, check=True, capture_output=True)
        own = {"user": USER, "password": PASSWORD, "database": DATABASE}
        self.sql("create unlogged table copied (like pgbench_accounts)", **own)
        self.sql("vacuum analyze", database=DATABASE)
        return self.sql(f"select rolpassword from pg_authid where rolname = '{USER}'")

    # ----- the peers -----

    def pgbouncer(self, name, mode, tls=False, max_client_conn=10000):
        port, folder = free_port(), self.folder / name
        folder.mkdir()
        self.own(folder)
        users, ini = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        text = (f"[databases]\n{DATABASE} = host=127.0.0.1 port={self.postgres.port}\n[pgbouncer]\n"
                f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
                f"auth_file = {users}\npool_mode = {mode}\ndefault_pool_size = {500 if mode == 'session' else 30}\n"
                f"max_client_conn = {max_client_conn}\nlog_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n"
                "ignore_startup_parameters = extra_float_digits\n")
        if tls:
            text += (f"client_tls_sslmode = require\nclient_tls_key_file = {self.key}\n"
                     f"client_tls_cert_file = {self.cert}\nserver_tls_sslmode = require\n")
        else:
            text += "server_tls_sslmode = disable\n"
        ini.write_text(text)
        for file in (users, ini):
            file.chmod(0o600)
            self.own(file)
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        return self.start(name, [program, ini], port)

    def haproxy(self):
        port, configuration = free_port(), self.folder / "haproxy.cfg"
        configuration.write_text(
            "global\n  maxconn 4000\n  nbthread 2\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n"
            f"  timeout server 1h\nlisten bench\n  bind 127.0.0.1:{port}\n  server a 127.0.0.1:{self.postgres.port}\n")
        self.own(configuration)
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        return self.start("haproxy", [program, "-db", "-f", configuration], port)

    def pgwarden(self, name="pgwarden", tls=False, read_only=False, pooled_port=None, counted=False, wrap=()):
        """One environment, one role; application or read-only policy; the direct endpoint unless a pooler is given.

        Every statement is recorded, unless reads are to be `counted`.
        """
        port, admin, folder = free_port(), free_port(), self.folder / name
        folder.mkdir()
        self.own(folder)
        mode = "require" if tls else "disable"
        to = pooled_port or self.postgres.port
        url = f"postgres://{USER}:{PASSWORD}@127.0.0.1:{to}/{DATABASE}?sslmode={mode}"
        policy, endpoint = "read-only" if read_only else "application", "pooled" if pooled_port else "direct"
        text = f'[listen]\npostgres = "127.0.0.1:{port}"\nadmin = "127.0.0.1:{admin}"\n'
        if tls:
            text += f'tls = {{ certificate = "{self.cert}", key = "{self.key}" }}\n'
        text += (f'[audit]\ndirectory = "{folder}/audit"\n[limits]\nconnections_per_user = 10000\n'
                 f'connections_per_database = 10000\n[databases.{DATABASE}]\n'
                 f'environment = "production"\n{endpoint} = "{url}"\n[environments.production.roles]\n'
                 f'bench = {{ policy = "{policy}", endpoint = "{endpoint}" }}\n'
                 '[policies.application]\nallow = ["read", "write", "function.safe", "function.volatile", '
                 f'"session.setting", "transaction", "notify"]\nrecord_reads = "{"counted" if counted else "each"}"\n'
                 # More than COPY IN brings: its rows are counted all the same.
                 'max_affected_rows = 10000000\n'
                 f'[[users]]\nname = "{USER}"\nverifier = "{self.verifier}"\nperson = false\nroles = {{ production = "bench" }}\n')
        configuration = folder / "pgwarden.toml"
        configuration.write_text(text)
        self.own(configuration)
        server = self.start(name, [*wrap, PGWARDEN, "serve", "--config", configuration], port)
        server.audit = folder / "audit"
        return server
