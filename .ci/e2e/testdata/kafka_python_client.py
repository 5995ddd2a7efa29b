"""Produces, consumes, joins a group or looks up offsets with kafka-python. Prints one JSON object a line."""
import json
import signal
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor


def emit(msg):
    print(json.dumps({
        "partition": msg.partition, "offset": msg.offset, "key": (msg.key or b"").decode(), "value": msg.value.decode(),
        "headers": {k: v.decode() for k, v in msg.headers}, "timestamp": msg.timestamp,
    }), flush=True)


def produce(broker, topic, codec, first, count):
    p = KafkaProducer(bootstrap_servers=broker, compression_type=None if codec == "none" else codec, linger_ms=5)
    sent = [p.send(topic, key=f"k-{i}".encode(), value=f"{codec}-{i}".encode(), headers=[("h", f"{codec}-{i}".encode())],
                   timestamp_ms=1_000_000 + i * 1000) for i in range(first, first + count)]
    for s in sent:
        s.get(timeout=30)
    p.close()


def trickle(broker, topic, count):
    """Produces numbers in many small batches."""
    p = KafkaProducer(bootstrap_servers=broker, linger_ms=1, batch_size=300, reconnect_backoff_max_ms=200)
    for s in [p.send(topic, value=f"{i:06}".encode(), partition=i % 6) for i in range(count)]:
        s.get(timeout=120)
    p.close()


def consumer(broker, **more):
    return KafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest", **more)


def partitions(c, topic):
    return [TopicPartition(topic, p) for p in c.partitions_for_topic(topic)]


def consume(broker, topic, count):
    c = consumer(broker, enable_auto_commit=False)
    c.assign(partitions(c, topic))
    seen = 0
    while seen < count:
        for batch in c.poll(timeout_ms=1000).values():
            for msg in batch:
                emit(msg)
                seen += 1
    c.close()


def member(broker, topic, group, strategy="range", instance=None):
    assignors = {"range": RangePartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}
    c = consumer(broker, group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=1000, auto_commit_interval_ms=200,
                 partition_assignment_strategy=[assignors[strategy]], group_instance_id=instance)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    c.subscribe([topic])
    try:
        # Not poll with a timeout: one that ends in the middle of a rebalance may leave the member without heartbeats.
        for msg in c:
            emit(msg)
    finally:
        c.close()


def time(broker, topic, timestamp):
    c = consumer(broker)
    for tp, found in c.offsets_for_times({tp: timestamp for tp in partitions(c, topic)}).items():
        print(json.dumps({"partition": tp.partition, "offset": found.offset if found else -1}), flush=True)
    c.close()


verb, args = sys.argv[1], [int(a) if a.isdigit() else a for a in sys.argv[2:]]
{"produce": produce, "consume": consume, "member": member, "time": time, "trickle": trickle}[verb](*args)
