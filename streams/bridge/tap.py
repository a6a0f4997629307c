"""A tap on the bus: a queue and a rule of its own, through which one sees what arrives."""

from __future__ import annotations

import json
import uuid
from types import TracebackType
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from schemas.settings import Settings
from streams import aws

_WAIT_SECONDS: Final = 1


class TapFault(Exception):
    """The bus cannot be tapped; the text says why."""


class Tap:
    """Used with ``with``; what it made of AWS goes with it."""

    def __init__(self, settings: Settings) -> None:
        if not aws.has_region(settings):
            raise TapFault(
                "the AWS region is not set: set WALLET_AWS_REGION, or let `wallet up`, which "
                "starts an emulator, run in this folder"
            )
        self._bus = settings.event_bus
        self._source = settings.event_source
        self._name = f"wallet-tap-{uuid.uuid4().hex[:12]}"
        self._queue = ""
        try:
            self._events = self._client(settings, "events")
            self._sqs = self._client(settings, "sqs")
        except BotoCoreError as error:
            raise TapFault(f"AWS cannot be asked: {error}") from error

    def __enter__(self) -> Tap:
        try:
            self._queue = self._sqs.create_queue(QueueName=self._name)["QueueUrl"]
            answer = self._sqs.get_queue_attributes(
                QueueUrl=self._queue, AttributeNames=["QueueArn"]
            )
            arn = answer["Attributes"]["QueueArn"]
            pattern = json.dumps({"source": [self._source]})
            rule = self._events.put_rule(
                Name=self._name, EventBusName=self._bus, EventPattern=pattern
            )["RuleArn"]
            self._sqs.set_queue_attributes(
                QueueUrl=self._queue, Attributes={"Policy": _policy(arn, rule)}
            )
            self._events.put_targets(
                Rule=self._name, EventBusName=self._bus, Targets=[{"Id": "tap", "Arn": arn}]
            )
        except (BotoCoreError, ClientError) as error:
            raise TapFault(f"the bus {self._bus} cannot be tapped: {error}") from error
        return self

    def receive(self) -> list[str]:
        """What came lately, in no particular order: the queue keeps none."""
        try:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=_WAIT_SECONDS
            )
            messages = answer.get("Messages", [])
            if messages:
                self._sqs.delete_message_batch(
                    QueueUrl=self._queue,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                        for number, message in enumerate(messages)
                    ],
                )
        except (BotoCoreError, ClientError) as error:
            raise TapFault(f"the queue of the tap cannot be read: {error}") from error
        return [message["Body"] for message in messages]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._events.remove_targets(Rule=self._name, EventBusName=self._bus, Ids=["tap"])
            self._events.delete_rule(Name=self._name, EventBusName=self._bus)
            self._sqs.delete_queue(QueueUrl=self._queue)
        except (BotoCoreError, ClientError) as fault:
            raise TapFault(f"the rule and queue {self._name} are left behind: {fault}") from fault

    @staticmethod
    def _client(settings: Settings, service: str) -> Any:
        return aws.client(settings, service, connect_seconds=3, answer_seconds=10, tries=3)


def _policy(queue: str, rule: str) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": queue,
                    "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
                }
            ],
        }
    )
