"""Clients of a measurement: pgbench, psql, and a small one of our own that logs in and then holds still."""

import base64
import hashlib
import hmac
import os
import re
import socket
import ssl
import statistics
import struct
import subprocess
import time

from stack import DATABASE, PASSWORD, POSTGRES, USER


def environment(sslmode):
    return {**os.environ, "PGPASSWORD": PASSWORD, "PGSSLMODE": sslmode, "PGGSSENCMODE": "disable"}


def pgbench(port, folder, seconds, clients, mode, sslmode="disable", connect=False, sample=0.05):
    """Runs `pgbench -S`: transactions, transactions a second, and p50, p95, p99 in microseconds."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("latency*"):
        old.unlink()
    # More threads than one only add switches when there is one client.
    command = [POSTGRES / "pgbench", "-n", "-S", "-M", mode, "-c", str(clients), "-j", str(min(clients, 2)),
               "-T", str(seconds), "-h", "127.0.0.1", "-p", str(port), "-U", USER,
               "-l", "--log-prefix", folder / "latency", "--sampling-rate", str(sample)]
    if connect:
        command.append("-C")
    answer = subprocess.run([*map(str, command), DATABASE], env=environment(sslmode), capture_output=True, text=True)
    done = re.search(r"actually processed: (\d+)", answer.stdout)
    rate = re.search(r"tps = ([\d.]+)", answer.stdout)
    if answer.returncode or not done or not rate:
        raise SystemExit(f"pgbench failed: {answer.stdout}{answer.stderr}")
    times = sorted(int(line.split()[2]) for file in folder.glob("latency*") for line in file.read_text().splitlines())
    return int(done[1]), float(rate[1]), percentiles(times)


def percentiles(times):
    if not times:
        return {50: 0, 95: 0, 99: 0}
    return {share: times[min(len(times) - 1, len(times) * share // 100)] for share in (50, 95, 99)}


def psql(port, script, sslmode="disable", stdin=None):
    """Runs a psql script, its output thrown away; gives the seconds it took."""
    command = [POSTGRES / "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(port), "-U", USER,
               "-d", DATABASE]
    for line in script:
        command += ["-c", line]
    began = time.monotonic()
    with open(stdin or os.devnull, "rb") as source:
        answer = subprocess.run(command, env=environment(sslmode), stdin=source, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE)
    if answer.returncode:
        raise SystemExit(f"psql failed: {answer.stderr.decode()}")
    return time.monotonic() - began


class Session:
    """A logged-in connection."""

    def __init__(self, port, tls=False):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.encrypt()
        self.buffer = b""
        body = struct.pack("!I", 196608)
        for word in ("user", USER, "database", DATABASE, "application_name", "bench"):
            body += word.encode() + b"\0"
        body += b"\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.log_in()
        self.until(b"Z")

    def encrypt(self):
        self.socket.sendall(struct.pack("!II", 8, 80877103))
        if self.socket.recv(1) != b"S":
            raise SystemExit("no TLS offered")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def message(self):
        while True:
            if len(self.buffer) >= 5:
                length = struct.unpack("!I", self.buffer[1:5])[0] + 1
                if len(self.buffer) >= length:
                    tag, body, self.buffer = self.buffer[:1], self.buffer[5:length], self.buffer[length:]
                    if tag == b"E":
                        raise SystemExit(f"the server said: {body}")
                    return tag, body
            more = self.socket.recv(65536)
            if not more:
                raise SystemExit("the server closed the connection")
            self.buffer += more

    def until(self, wanted):
        while True:
            tag, body = self.message()
            if tag == wanted:
                return body

    def send(self, tag, body):
        self.socket.sendall(tag + struct.pack("!I", len(body) + 4) + body)

    def log_in(self):
        """SCRAM-SHA-256 (RFC 5802, RFC 7677)."""
        self.until(b"R")
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n=,r={nonce}"
        opening = f"n,,{first}".encode()
        self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(opening)) + opening)
        challenge = self.until(b"R")[4:].decode()
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={parts['r']}"
        signed = f"{first},{challenge},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        self.send(b"p", f"{without_proof},p={proof}".encode())
        while struct.unpack("!I", self.until(b"R")[:4])[0] != 0:
            pass

    def query(self, text):
        self.send(b"Q", text.encode() + b"\0")
        self.until(b"Z")

    def close(self):
        self.socket.close()


def median(values):
    return statistics.median(values)
