"""Apache Kafka's jars: named with their digests in `kafka.lock`, fetched once from Maven Central, kept in one folder.

`python -m agents.jars` resolves the dependencies anew and rewrites the lock (after a change of `KAFKA`).
"""

import hashlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from jgo.maven import Artifact, MavenContext

from agents.exits import Exit, Refusal

# Not 4.3.0, 4.3.1 or 4.4.0: a coordinator drops a transaction's markers while its partitions have no leader, and the
# transaction hangs (KAFKA-20734); one broker that restarts has no leader for a moment.
KAFKA = "4.2.2"
_ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA}", "org.slf4j:slf4j-simple:1.7.36")
_LOCK = Path(__file__).with_name("kafka.lock")


def kafka_jars(home: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder with Kafka's jars below `home`, filled on the first call (43 MB, 5-20 s).

    The folder appears whole or not at all, so an interrupted download or two at a time leave nothing half done.

    Raises:
        Refusal: no network, a jar that is not the one in the lock, or a disk that can't be written.
    """
    folder = home / f"kafka-{KAFKA}"
    if folder.is_dir():
        return folder
    lock = dict(line.split() for line in _LOCK.read_text().splitlines())
    say(f"fetching Apache Kafka {KAFKA} from Maven Central into {home} (once, 43 MB)")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="download-", dir=home) as temporary:
            context = MavenContext(repo_cache=Path(temporary, "maven"))
            whole = Path(temporary, "jars")
            whole.mkdir()
            with ThreadPoolExecutor(8) as pool:
                for jar in pool.map(lambda item: _fetch(context, *item), lock.items()):
                    jar.rename(whole / jar.name)
            try:
                whole.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster, with the same jars
                    raise
    except OSError as error:  # requests' errors are OSErrors too, but _fetch has spoken for those
        raise Refusal(Exit.NO_BROKER, f"could not write Kafka's jars below {home}: {error}") from error
    return folder


def _fetch(context: MavenContext, coordinate: str, sha256: str) -> Path:
    jar = _download(context.create_dependency(coordinate).artifact)
    if hashlib.sha256(jar.read_bytes()).hexdigest() != sha256:
        raise Refusal(
            Exit.NO_BROKER,
            f"{coordinate} as fetched is not the one that Rekindle names in {_LOCK.name}: its SHA-256 differs",
        )
    return jar


def _download(artifact: Artifact, attempts: int = 3) -> Path:
    try:
        if artifact.cached_path is not None:
            artifact.cached_path.unlink(missing_ok=True)  # what a failed attempt left
        return artifact.resolve()
    except (requests.RequestException, RuntimeError) as error:  # jgo raises RuntimeError for a 404 and for a torn file
        if attempts > 1:
            return _download(artifact, attempts - 1)
        reason, mend = _reason(error), "connect and try again"
        if "CERTIFICATE_VERIFY_FAILED" in reason:  # a proxy looks into TLS
            mend = "name the file of your network's certificate authorities in REQUESTS_CA_BUNDLE"
        raise Refusal(
            Exit.NO_BROKER,
            f"could not fetch {artifact.filename} from Maven Central ({reason}). The local "
            f"Kafka needs the network once: {mend}, or name a Kafka of yours in REKINDLE_BROKERS",
        ) from error


def _reason(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error) or type(error).__name__


def _relock() -> None:
    with TemporaryDirectory() as temporary:
        context = MavenContext(repo_cache=Path(temporary))
        wanted = [context.create_dependency(root) for root in _ROOTS]
        for dependency in wanted:
            dependency.scope = "compile"
        roots, others = context.resolver.resolve(wanted)
        artifacts = [d.artifact for d in (*roots, *(d for d in others if d.scope in {"compile", "runtime"}))]
        lines = [
            f"{a.groupId}:{a.artifactId}:{a.version} {hashlib.sha256(a.resolve().read_bytes()).hexdigest()}\n"
            for a in artifacts
        ]
    _LOCK.write_text("".join(sorted(lines)))
    sys.stdout.write(f"{len(lines)} jars in {_LOCK}\n")


if __name__ == "__main__":
    _relock()
