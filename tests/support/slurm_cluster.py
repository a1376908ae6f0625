"""A SLURM of one node, real, for the length of a test: its own key, sockets and ports, on loopback.

Debian's slurmctld, slurmd, slurm-client and munge, as root, without systemd.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
HOST = socket.gethostname().partition(".")[0]
CPUS = 2

# NoCtldInAddrAny and NoInAddrAny bind to the addresses that are named, not to all of the machine.
# cred_expire is also how long a job waits before it is requeued: 120 s unless it is said.
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=20
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10
"""


def lacking() -> str:
    """Why there can be no cluster here; "" where there can."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root"


class Cluster:
    """It, running.

    Args:
        home: An empty folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        for name in ("state", "spool"):
            (home / name).mkdir()
        self._ports = _free_ports(2)
        (home / "munge.key").write_bytes(os.urandom(128))
        (home / "munge.key").chmod(0o400)
        conf = CONF.format(home=home, host=HOST, ports=self._ports, cpus=CPUS)
        (home / "slurm.conf").write_text(conf)
        # Two fake GPUs: device files that are always there.
        (home / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        (home / "cgroup.conf").write_text("CgroupAutomount=no\n")
        self.env = {"SLURM_CONF": str(home / "slurm.conf")}
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._start()
            undo.pop_all()

    def _start(self) -> None:
        home = self._home
        self._run(
            "munged", "--force", f"--key-file={home / 'munge.key'}",
            f"--socket={home / 'munge.sock'}", f"--pid-file={home / 'munged.pid'}",
            f"--log-file={home / 'munged.log'}", f"--seed-file={home / 'munge.seed'}",
            "--num-threads=2",
        )  # fmt: skip
        self._run("slurmctld", "-c", "-f", str(home / "slurm.conf"))
        self.start_node()

    def start_node(self) -> None:
        """Start the node, also again, and wait until it takes jobs."""
        self._run("slurmd", "-f", str(self._home / "slurm.conf"), "-N", HOST)
        self.wait(lambda: self.ask("sinfo", "-h", "-o", "%T").strip() in ("idle", "mixed"), 30)

    def lose_node(self) -> None:
        """The node is gone, with all that runs there; jobs of it are requeued."""
        daemon = psutil.Process(int((self._home / "slurmd.pid").read_text()))
        daemon.kill()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.wait(lambda: not self.processes(), 10)
        self.ask("scontrol", "update", f"nodename={HOST}", "state=down", "reason=lost")

    def processes(self) -> list[psutil.Process]:
        """Those of jobs: what was started by the cluster's steps, and the steps."""
        found, own = [], f"SLURM_CONF={self.env['SLURM_CONF']}".encode()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                in_job = any(entry.startswith(b"SLURM_JOB_ID=") for entry in environ)
                if own in environ and (in_job or process.name().startswith("slurmstepd")):
                    found.append(process)
        return found

    def ask(self, *words: str) -> str:
        """What one of SLURM's commands prints."""
        done = self._run(*words)
        return done.stdout

    def queue(self) -> list[str]:
        """States of jobs that are not over."""
        return self.ask("squeue", "-h", "-r", "-o", "%T").split()

    def running(self) -> list[str]:
        """Jobs that run, as other commands name them."""
        return self.ask("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").split()

    def wait(self, until, seconds: float) -> None:
        """Wait for something.

        Raises:
            TimeoutError: It did not come, with what the daemons say.
        """
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                logs = [
                    "\n".join(path.read_text().splitlines()[-15:])
                    for path in sorted(self._home.glob("*.log"))
                ]
                raise TimeoutError("\n".join(logs))
            time.sleep(0.1)

    def listening(self) -> set[str]:
        """Addresses on which processes of the cluster accept connections."""
        return {
            connection.laddr.ip
            for name in ("slurmctld", "slurmd", "munged")
            for connection in psutil.Process(
                int((self._home / f"{name}.pid").read_text())
            ).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }

    def stop(self) -> None:
        """End everything."""
        with suppress(subprocess.CalledProcessError, OSError):
            self._run("scancel", f"--user={os.getuid()}")
            self.wait(lambda: not self.processes(), 10)
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for name in ("slurmd", "slurmctld", "munged"):
            with suppress(OSError, ValueError, psutil.NoSuchProcess):
                daemon = psutil.Process(int((self._home / f"{name}.pid").read_text()))
                daemon.send_signal(signal.SIGTERM)
                with suppress(psutil.TimeoutExpired):
                    daemon.wait(10)
                    continue
                daemon.kill()

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env={**os.environ, **self.env}, check=True, capture_output=True, text=True,
            timeout=60, cwd=self._home,
        )  # fmt: skip


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
