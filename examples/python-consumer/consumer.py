"""Listens to adledger.warehouse.daily_summary.changed.v1 and prints each tenant's day as it changes."""

import argparse
import asyncio
import json
import os
import sys
import tempfile

import nats
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from nats.errors import TimeoutError as NothingYet
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

STREAM = "WAREHOUSE"
SUBJECT = "warehouse.daily_summary.*.*"
TYPE = "adledger.warehouse.daily_summary.changed.v1"


class Days:
    """The newest version of each tenant's day, in a file that is replaced whole."""

    def __init__(self, path):
        self.path = path
        self.days = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.days = json.load(file)

    def apply(self, change):
        """Takes a change over, unless this or a newer one was taken before: events come twice, and out of order."""
        key = f"{change['account_id']} {change['date']}"
        if change["version"] <= self.days.get(key, {"version": 0})["version"]:
            return False
        self.days[key] = {"version": change["version"], "now": change["new"]}
        return True

    def save(self):
        """The file is the old one or the new one, also where the power fails in between."""
        folder = os.path.dirname(os.path.abspath(self.path))
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
            json.dump(self.days, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self.path)
        # The new name is on the disk only once its folder is.
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def read(message):
    """The change that a message carries; None where it is an event of another type, which is not for us."""
    # The NATS binding writes attributes as HTTP's does: ce-… headers, percent-encoded, and the data as the body.
    event = from_binary_event(HTTPMessage(headers=dict(message.headers or {}), body=message.data))
    if event.get_type() != TYPE:
        return None
    change = event.get_data()
    return json.loads(change) if isinstance(change, (str, bytes)) else change


def line(change):
    def spend(values):
        return (values or {}).get("meta_spend") or "nothing"

    return (
        f"{change['account_id']} {change['date']} version {change['version']} ({change['cause']}):"
        f" spend {spend(change['old'])} -> {spend(change['new'])}"
    )


async def listen(arguments):
    connection = await nats.connect(
        arguments.nats, user_credentials=arguments.creds, inbox_prefix=arguments.inbox_prefix.encode()
    )
    jetstream = connection.jetstream()
    # The durable consumer keeps our place. A message that is not acknowledged within 30 s comes again.
    subscription = await jetstream.pull_subscribe(
        SUBJECT,
        durable=arguments.durable,
        stream=STREAM,
        config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, deliver_policy=DeliverPolicy.ALL, ack_wait=30),
    )
    days, left = Days(arguments.store), arguments.count
    while left is None or left > 0:
        try:
            messages = await subscription.fetch(batch=min(100, left or 100), timeout=5)
        except NothingYet:
            continue
        for message in messages:
            try:
                change = read(message)
            except Exception as error:  # No event, or not one that this program can read: it never will be.
                print(f"{message.subject} cannot be read: {error}", file=sys.stderr)
                await message.term()
                continue
            if change and days.apply(change):
                print(line(change), flush=True)
        # What was taken over is on the disk before it is acknowledged. Who dies in between is given it again, and
        # knows it by its version.
        days.save()
        for message in messages:
            if not message.is_acked:
                await message.ack()
        left = None if left is None else left - len(messages)
    await connection.drain()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nats", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    parser.add_argument("--creds", default=os.environ.get("NATS_CREDS"), help="a .creds file")
    parser.add_argument("--inbox-prefix", default="_INBOX", help="where answers are heard, if the user may not hear all")
    parser.add_argument("--durable", default="example-python", help="the name under which the server keeps our place")
    parser.add_argument("--store", default="days.json", help="where the newest version of each day is kept")
    parser.add_argument("--count", type=int, help="end after this many messages; without it, never")
    asyncio.run(listen(parser.parse_args()))


if __name__ == "__main__":
    main()
