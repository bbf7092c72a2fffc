"""The state topic is lost under load, and comes back from a snapshot and the log."""

import asyncio
import signal
import sys
import time
from uuid import uuid4

from kafka.admin import KafkaAdminClient

from agents.kafka.admin import create_topics, plan
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.settings import Settings
from agents.snapshot import take
from tests.faults.harness import Cluster
from tests.faults.processes import ROOT
from tests.waiting import PATIENCE

_REBUILD = """
import asyncio, sys
from pathlib import Path
from agents.rebuild import rebuild
from agents.settings import load_settings
brokers, prefix, app_id, failpoint, folder = sys.argv[1:]
settings = load_settings(brokers=brokers, topic_prefix=prefix, app_id=app_id, failpoint=failpoint or None)
asyncio.run(rebuild(settings, Path(folder) if folder else None))
"""


def recreate(settings: Settings, partitions: int, *names: str) -> None:
    """Delete topics, by their short names, and make them anew."""
    client = client_options(settings)
    lost = {settings.topic(name) for name in names}
    admin = KafkaAdminClient(**client)
    admin.delete_topics(sorted(lost))
    deadline = time.monotonic() + PATIENCE
    while lost & set(admin.list_topics()) and time.monotonic() < deadline:
        time.sleep(0.05)
    admin.close()
    create_topics(client, plan(settings.topic_prefix, partitions))


async def lose_state(cluster: Cluster) -> None:
    """Both workers are killed or stopped, the state topic is deleted, and rebuilt from a snapshot under load or from
    the log alone; now and then the rebuilding is killed, too, in the middle.
    """
    settings = cluster.settings
    snapshot = cluster.folder / f"snapshot-{uuid4().hex[:6]}"
    await take(settings, snapshot)
    await cluster.pause(0.5, 3.0)
    for worker in list(cluster.workers.values()):
        worker.planned = True
        if cluster.random.random() < 0.5:
            await cluster.terminate(worker)
        else:
            worker.process.kill()
            await cluster.ended(worker, -signal.SIGKILL)
    async with open_logs(client_options(settings)) as logs, asyncio.timeout(PATIENCE):
        while await logs.members(settings.app_id):  # noqa: ASYNC110 the session of one that was killed
            await asyncio.sleep(0.2)
    await asyncio.to_thread(recreate, settings, cluster.partitions, "state")
    source = str(snapshot) if cluster.random.random() < 0.7 else ""
    point = cluster.random.choice(("after_changelog:1", "after_changelog:3", "before_commit", None))
    if point is not None:
        assert await _rebuild(cluster, source, point) == -signal.SIGKILL
    assert await _rebuild(cluster, source) == 0
    for name in list(cluster.workers):
        cluster.start(name)
    await cluster.ready()


async def _rebuild(cluster: Cluster, source: str, failpoint: str = "") -> int:
    settings = cluster.settings
    where = (settings.brokers, settings.topic_prefix, settings.app_id, failpoint, source)
    with (cluster.folder / "rebuild.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _REBUILD, *where, cwd=ROOT, stdout=log, stderr=log
        )
        return await asyncio.wait_for(process.wait(), PATIENCE)
