"""A publisher that dies: it leaves a committed transaction, and behind it an open one that would stop all sending."""

import asyncio
import subprocess
import sys
from typing import Final

from tests.faults.harness import Cluster
from tests.faults.processes import ROOT
from tests.waiting import PATIENCE

_PUBLISHER: Final = """
import asyncio, sys
from aiokafka import AIOKafkaProducer
from schemas.control import CONTROL_KEY, control_headers

async def main(brokers, topic, count):
    identity = dict(transactional_id=topic + "-killed", transaction_timeout_ms=3000)
    producer = AIOKafkaProducer(bootstrap_servers=brokers, **identity)
    await producer.start()
    for body in (b'{"type":"resume"}', b'{"type":"pause"}'):
        await producer.begin_transaction()
        kind = body.decode().split('"')[3]
        for number in range(count):
            await producer.send_and_wait(topic, body, CONTROL_KEY, number, headers=control_headers(kind))
        if kind == "resume":
            await producer.commit_transaction()
    print("open", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def kill_publisher(cluster: Cluster) -> None:
    """A transactional publisher is killed with its transaction open at the tail of every partition."""
    command = [
        sys.executable,
        "-c",
        _PUBLISHER,
        cluster.kafka.bootstrap,
        cluster.settings.topic("users"),
        str(cluster.partitions),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    said = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    process.kill()
    await process.wait()
    assert said == b"open\n"
