"""The broker's ACLs as our grants: add what is missing, find what should not be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from schemas.access import Grant, Kind, Operation
from schemas.settings import Settings
from streams.kafka.config import KafkaUnavailable, client_config, finished, words_of

_TIMEOUT_SECONDS: Final = 10.0
_USER: Final = "User:"

_KINDS: Final = {
    Kind.TOPIC: ResourceType.TOPIC,
    Kind.GROUP: ResourceType.GROUP,
    Kind.TRANSACTION: ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS: Final = {
    Operation.READ: AclOperation.READ,
    Operation.WRITE: AclOperation.WRITE,
    Operation.DESCRIBE: AclOperation.DESCRIBE,
    Operation.CREATE: AclOperation.CREATE,
    Operation.DELETE: AclOperation.DELETE,
}


class Acls:
    """The ACLs of one broker, which only a principal that may alter the cluster can change."""

    def __init__(self, settings: Settings) -> None:
        self._admin = AdminClient(client_config(settings))

    def missing(self, wanted: Sequence[Grant]) -> list[Grant]:
        """Those of ``wanted`` that the broker has not; raises ``KafkaUnavailable``."""
        present = set(self._present())
        return [grant for grant in wanted if _binding(grant) not in present]

    def add(self, wanted: Sequence[Grant]) -> None:
        """Add them; one that is there already stays as it is."""
        if wanted:
            bindings = [_binding(grant) for grant in wanted]
            futures = self._admin.create_acls(bindings, request_timeout=_TIMEOUT_SECONDS)
            for future in futures.values():
                finished(future)

    def beyond(self, wanted: Sequence[Grant]) -> list[str]:
        """What is allowed on the same topics, groups and transactional ids beyond ``wanted``.

        Each as one line. What reaches them by a prefix or by ``*`` counts too.
        """
        bindings = {_binding(grant) for grant in wanted}
        ours = {(binding.restype, binding.name) for binding in bindings}
        return sorted(
            _line(binding)
            for binding in self._present()
            if binding not in bindings
            and binding.permission_type == AclPermissionType.ALLOW
            and any(_reaches(binding, *resource) for resource in ours)
        )

    def _present(self) -> list[AclBinding]:
        # None stands for any; the library's annotations lack it.
        everything = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type]
            ResourcePatternType.ANY,
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        try:
            asked = self._admin.describe_acls(everything, request_timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise KafkaUnavailable(words_of(error)) from error
        found: list[AclBinding] = finished(asked)
        return found


def _binding(grant: Grant) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL
    return AclBinding(
        _KINDS[grant.kind],
        grant.name,
        pattern,
        _USER + grant.principal,
        "*",
        _OPERATIONS[grant.operation],
        AclPermissionType.ALLOW,
    )


def _reaches(binding: AclBinding, kind: object, name: str) -> bool:
    if binding.restype != kind:
        return False
    if binding.resource_pattern_type == ResourcePatternType.PREFIXED:
        return name.startswith(binding.name)
    return binding.name in ("*", name)


def _line(binding: AclBinding) -> str:
    pattern = "*" if binding.resource_pattern_type == ResourcePatternType.PREFIXED else ""
    operation = AclOperation(binding.operation).name.capitalize()
    kind = ResourceType(binding.restype).name.lower().replace("_", "-")
    return f"{binding.principal} {operation} {kind} {binding.name}{pattern} from {binding.host}"
