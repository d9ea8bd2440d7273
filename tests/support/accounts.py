"""Accounting for the tests' cluster: a MariaDB and a slurmdbd in its folder, on ports of its own, on loopback."""

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

PROGRAMS = {"mariadbd": "mariadb-server", "slurmdbd": "slurmdbd"}
DATABASE, DAEMON = 98, 99  # ports beyond the controller's

CONF = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={daemon}
AccountingStoragePass={home}/run/munge.socket
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
"""
DAEMON_CONF = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={home}/run/munge.socket
PidFile={home}/run/slurmdbd.pid
LogFile={home}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
SQL = """
CREATE DATABASE slurm_acct_db;
CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
"""


def lines(home: Path, port: int) -> str:
    """The lines of slurm.conf about accounting; writes slurmdbd.conf, which only its owner may read."""
    words = {"home": home, "database": port + DATABASE, "daemon": port + DAEMON}
    conf = home / "slurmdbd.conf"
    conf.touch(mode=0o600)
    conf.write_text(DAEMON_CONF.format(**words), encoding="utf-8")
    return CONF.format(**words)


def start(home: Path, port: int, until: Callable) -> None:
    """Start the database and the daemon; add the cluster `test` with the account `lab`, which is root's."""
    data, run = home / "database", home / "run"
    data.mkdir()
    shutil.chown(data, "mysql")
    run.chmod(0o777)  # the database is not root
    made = ["--user=mysql", f"--datadir={data}"]
    words = ["--auth-root-authentication-method=normal", "--skip-test-db"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["mariadb-install-db", "--no-defaults", *made, *words], **quiet)
    words = [f"--socket={run}/mysql.sock", f"--pid-file={run}/mariadbd.pid", f"--port={port + DATABASE}"]
    words += ["--bind-address=127.0.0.1", f"--log-error={data}/mariadb.log", "--skip-name-resolve"]
    alone = 'setsid "$0" "$@" > /dev/null 2>&1 &'  # it has no option to be a daemon
    subprocess.run(["sh", "-c", alone, "mariadbd", "--no-defaults", *made, *words], check=True)
    until(lambda: _open(port + DATABASE), 60, "the database")
    client = ["mariadb", "--no-defaults", "-u", "root", "-S", f"{run}/mysql.sock"]
    subprocess.run(client, input=SQL, text=True, check=True)
    subprocess.run(["slurmdbd"], check=True)  # its file lies beside slurm.conf
    until(lambda: _open(port + DAEMON), 30, "slurmdbd")
    for words in ("cluster test", "account lab Cluster=test", "user root Account=lab Cluster=test"):
        subprocess.run(["sacctmgr", "-i", "add", *words.split()], **(quiet | {"check": False}))


def _open(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0
