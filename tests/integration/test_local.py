import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from agents.exits import Refusal
from agents.jars import kafka_jars
from agents.kafka.admin import admin_client
from agents.local import LocalKafka, home
from tests.waiting import PATIENCE, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(broker_folder: Path, request: pytest.FixtureRequest) -> Path:
    return broker_folder / request.node.name[:40]


def run(source: str, *args: object) -> subprocess.Popen[str]:
    """A Python program that speaks one line at a time; it runs from the repository's root."""
    command = [sys.executable, "-c", textwrap.dedent(source), *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def topics(broker: LocalKafka) -> list[str]:
    with admin_client({"bootstrap_servers": broker.bootstrap}) as admin:
        return [name for name in admin.list_topics() if not name.startswith("__")]


def test_topics_and_address_survive_stop_and_kill(data: Path) -> None:
    with LocalKafka(data) as broker:
        address = broker.bootstrap
        with admin_client({"bootstrap_servers": address}) as admin:
            admin.create_topics({"kept": {"num_partitions": 3}}, wait_for_metadata=True)
        broker.stop()
        assert not broker.running
        assert topics(broker.start()) == ["kept"]
        broker.kill()
        assert topics(broker.start()) == ["kept"]
        assert broker.bootstrap == address
    assert topics(LocalKafka(data).start()) == ["kept"]


def test_a_broker_that_died_by_itself_can_be_started_again(data: Path) -> None:
    with LocalKafka(data) as broker:
        os.kill(broker.pid, signal.SIGKILL)
        assert eventually(lambda: not broker.running)
        assert topics(broker.start()) == []


def test_a_taken_port_is_avoided(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with LocalKafka(data, port=port) as broker:
            assert broker.bootstrap != f"127.0.0.1:{port}"
            assert topics(broker) == []


def test_ports_that_were_taken_meanwhile_are_replaced_and_the_data_stay(data: Path) -> None:
    with LocalKafka(data) as broker:
        with admin_client({"bootstrap_servers": broker.bootstrap}) as admin:
            admin.create_topics({"kept": {"num_partitions": 1}}, wait_for_metadata=True)
        ports = [c.laddr.port for c in psutil.Process(broker.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        address = broker.bootstrap
    assert len(ports) == 2
    with socket.socket() as first, socket.socket() as second:
        for holder, port in zip((first, second), ports, strict=True):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", port))
            holder.listen()
        with LocalKafka(data) as broker:
            assert broker.bootstrap != address
            assert topics(broker) == ["kept"]


def test_a_folder_may_have_any_name(broker_folder: Path) -> None:
    with LocalKafka(broker_folder / "Jürgens Müll 気") as broker:
        assert topics(broker) == []
    assert (broker.data / "logs" / "meta.properties").is_file()


def test_two_brokers_on_one_folder_are_refused_and_leave_the_first_alone(data: Path) -> None:
    with LocalKafka(data) as broker:
        with pytest.raises(Refusal, match="another Kafka is running on"):
            LocalKafka(data).start()
        assert topics(broker) == []
        assert LocalKafka(data).bootstrap == broker.bootstrap


def test_a_broker_that_can_not_start_says_why(data: Path) -> None:
    with pytest.raises(Refusal, match=r"could not format .*num\.io\.threads.*see .*kafka\.log"):
        LocalKafka(data, settings={"num.io.threads": "none"}).start()
    with LocalKafka(data):
        pass
    with pytest.raises(Refusal, match=r"ended with code 1: .*controller\.listener\.names.*see .*kafka\.log"):
        LocalKafka(data, settings={"process.roles": "broker"}).start()


def test_jars_without_a_network_are_one_readable_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(Refusal, match=r"could not fetch .*\.jar from Maven Central .*REKINDLE_BROKERS"):
        kafka_jars(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_that_is_not_trusted_names_where_to_say_which_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that ends TLS itself: the one thing that a newcomer in a company's network meets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ROOT / "tests" / "samples" / "proxy.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_intercept, args=(server, context), daemon=True).start()
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Refusal, match=r"CERTIFICATE_VERIFY_FAILED.*REQUESTS_CA_BUNDLE"):
            kafka_jars(tmp_path)


def _intercept(server: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):  # until it is closed
        while True:
            client, _ = server.accept()
            with client, suppress(OSError):
                client.recv(4096)
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                context.wrap_socket(client, server_side=True).close()


def test_everything_lies_in_one_folder(data: Path, tmp_path: Path) -> None:
    """Neither HOME nor the temporary folder sees a file of the broker's."""
    jars = kafka_jars(home())
    program = """
        import sys
        from pathlib import Path
        from agents.local import LocalKafka
        with LocalKafka(Path(sys.argv[1]), jars=Path(sys.argv[2])) as broker:
            print(broker.bootstrap, flush=True)
    """
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-c", textwrap.dedent(program), str(data), str(jars)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def ends_with_its_parent(server: str, data: Path, ending: signal.Signals) -> bool:
    """Whether a server (`module import Class`) on this folder is gone when its parent got the signal."""
    parent = run(
        f"""
        import sys, time
        from pathlib import Path
        from agents.{server} as Server
        with Server(Path(sys.argv[1])) as running:
            print(running.pid, flush=True)
            time.sleep(600)
        """,
        data,
    )
    pid = int(line(parent))
    assert not gone(pid)
    parent.send_signal(ending)
    parent.wait(PATIENCE)
    return eventually(lambda: gone(pid))


@pytest.mark.faults
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_kafka_is_gone_when_its_parent_is(data: Path, ending: signal.Signals) -> None:
    assert ends_with_its_parent("local import LocalKafka", data, ending)
    with LocalKafka(data) as broker:  # and the folder is free again
        assert broker.running
