"""Produces, consumes, joins a group or looks up offsets with confluent-kafka (librdkafka). Prints one JSON object a line."""
import json
import signal
import sys

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition


def emit(msg):
    print(json.dumps({
        "partition": msg.partition(), "offset": msg.offset(), "key": (msg.key() or b"").decode(),
        "value": msg.value().decode(), "headers": {k: v.decode() for k, v in msg.headers() or []},
        "timestamp": msg.timestamp()[1],
    }), flush=True)


def produce(broker, topic, codec, first, count):
    failed = []
    p = Producer({"bootstrap.servers": broker, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5})
    for i in range(first, first + count):
        p.produce(topic, key=f"k-{i}", value=f"{codec}-{i}", headers={"h": f"{codec}-{i}"}, timestamp=1_000_000 + i * 1000,
                  on_delivery=lambda err, _: failed.append(err) if err else None)
        p.poll(0)
    left = p.flush(30)
    if left or failed:
        sys.exit(f"{left} records not delivered, errors: {failed[:3]}")


def trickle(broker, topic, count):
    """Produces numbers in many small batches."""
    failed = []
    p = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 1, "batch.num.messages": 10, "log_level": 0})
    for i in range(count):
        p.produce(topic, value=f"{i:06}", partition=i % 6, on_delivery=lambda err, _: failed.append(err) if err else None)
        p.poll(0.001)
    left = p.flush(120)
    if left or failed:
        sys.exit(f"{left} records not delivered, errors: {failed[:3]}")


def read(consumer, until_count):
    seen = 0
    while until_count is None or seen < until_count:
        msg = consumer.poll(1.0)
        if msg is None:
            continue
        if msg.error():
            if msg.error().code() == KafkaError._PARTITION_EOF:
                continue
            sys.exit(str(msg.error()))
        emit(msg)
        seen += 1
    consumer.close()


def consume(broker, topic, count):
    c = Consumer({"bootstrap.servers": broker, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    parts = c.list_topics(topic, timeout=10).topics[topic].partitions
    c.assign([TopicPartition(topic, p, 0) for p in parts])
    read(c, count)


def member(broker, topic, group, strategy="cooperative-sticky"):
    c = Consumer({"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest", "session.timeout.ms": 6000,
                  "heartbeat.interval.ms": 1000, "auto.commit.interval.ms": 200,
                  "partition.assignment.strategy": strategy})
    signal.signal(signal.SIGTERM, lambda *_: (c.close(), sys.exit(0)))
    c.subscribe([topic])
    read(c, None)


def consumer_member(broker, topic, group, instance=None):
    """A member of the consumer protocol (KIP-848); a topic that starts with ^ is a regular expression, matched by the broker."""
    conf = {"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest", "group.protocol": "consumer",
            "auto.commit.interval.ms": 200, "log_level": 0}
    if instance:
        conf["group.instance.id"] = instance
    c = Consumer(conf)
    signal.signal(signal.SIGTERM, lambda *_: (c.close(), sys.exit(0)))
    c.subscribe([topic])
    read(c, None)


def time(broker, topic, timestamp):
    c = Consumer({"bootstrap.servers": broker, "group.id": "unused"})
    parts = c.list_topics(topic, timeout=10).topics[topic].partitions
    for tp in c.offsets_for_times([TopicPartition(topic, p, timestamp) for p in parts], timeout=10):
        print(json.dumps({"partition": tp.partition, "offset": tp.offset}), flush=True)


verb, args = sys.argv[1], [int(a) if a.isdigit() else a for a in sys.argv[2:]]
{"produce": produce, "consume": consume, "member": member, "consumer-member": consumer_member, "time": time, "trickle": trickle}[verb](*args)
