"""A PostgreSQL of the tests' own, with TLS, in a directory that vanishes."""

import glob
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from support.certificates import issued_to
from support.pod import free_port
from support.programs import run

PASSWORD = "correct horse"


class Cluster:
    """Started on entering, ended on leaving; on 127.0.0.1, where it asks for a password."""

    def __enter__(self):
        [programs, *_] = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
        self.programs, self.port = Path(programs), free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="imapwarden-db-"))
        self.directory.chmod(0o755)
        self.certificate, key = issued_to(self.directory, "127.0.0.1")
        password = self.directory / "password"
        password.write_text(PASSWORD)
        for path in (self.directory, self.certificate, key, password):
            shutil.chown(path, "postgres", "postgres")
        key.chmod(0o600)
        data = self.directory / "data"
        run([*self.as_postgres(), self.programs / "initdb", "-D", data, "-U", "warden", f"--pwfile={password}", "-E", "UTF8",
             "--locale=C", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256"])
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self.directory}'\n"
                           f"fsync = off\nssl = on\nssl_cert_file = '{self.certificate}'\nssl_key_file = '{key}'\n")
        # It ends with us, however we end.
        self.process = subprocess.Popen(
            [*self.as_postgres("--pdeathsig=KILL"), str(self.programs / "postgres"), "-D", str(data)],
            stdout=subprocess.DEVNULL, stderr=(self.directory / "log").open("wb"))
        deadline = time.monotonic() + 60
        while self.psql("SELECT 1", check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.1)
        return self

    @staticmethod
    def as_postgres(*options):
        return ["setpriv", *options, "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def psql(self, statement, check=True):
        return run([self.programs / "psql", "-h", self.directory, "-p", str(self.port), "-U", "warden", "-d", "postgres", "-qAt", "-c",
                    statement], check=check)

    def database(self, name):
        """A new one; its URL as an operator of PostgreSQL writes it."""
        self.psql(f"CREATE DATABASE {name}")
        return f"postgresql://warden:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{name}?sslmode=verify-full"

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
        shutil.rmtree(self.directory)
