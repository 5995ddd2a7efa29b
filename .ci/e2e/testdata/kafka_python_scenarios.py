"""Scenarios with kafka-python: NAME BROKER. Each prints its checks."""
import re

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACL, ACLFilter, ACLOperation, ACLPermissionType, ConfigResource, ConfigResourceType, OffsetSpec, ResourcePattern, ResourceType
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from scenario import check, eventually, run


def admin_of(broker):
    return KafkaAdminClient(bootstrap_servers=broker)


def make(broker, topic, partitions=2, **configs):
    admin = admin_of(broker)
    admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}, wait_for_metadata=True)
    admin.close()


def parts(topic, count=2):
    return [TopicPartition(topic, p) for p in range(count)]


def values(broker, topic, isolation="read_committed"):
    """All records of a topic up to its ends, sorted."""
    c = KafkaConsumer(bootstrap_servers=broker, isolation_level=isolation, auto_offset_reset="earliest", enable_auto_commit=False)
    c.assign(parts(topic))
    ends, got = c.end_offsets(parts(topic)), []
    while any(c.position(tp) < end for tp, end in ends.items()):
        for batch in c.poll(timeout_ms=200).values():
            got += [m.value.decode() for m in batch]
    c.close()
    return sorted(got)


def error(action):
    """The last name of an error in what the action raises, which the producer wraps in others."""
    try:
        action()
    except KafkaError as e:
        return re.findall(r"\w+Error", f"{type(e).__name__} {e}".split("Request")[0])[-1]
    return "none"


def transactions(broker):
    make(broker, "txn")
    p = KafkaProducer(bootstrap_servers=broker, transactional_id="txn")
    p.init_transactions()
    for name, end in ("first", p.commit_transaction), ("second", p.abort_transaction), ("third", p.commit_transaction):
        p.begin_transaction()
        sent = [p.send("txn", partition=i % 2, value=f"{name}-{i}".encode()) for i in range(10)]
        p.flush()
        check(f"the {name} transaction is acknowledged", [s.get(10).topic for s in sent], ["txn"] * 10)
        end()
    kept = sorted(f"{name}-{i}" for name in ("first", "third") for i in range(10))
    # A commit is acknowledged when it is sure; readers see it when its markers are written, which is soon after.
    check("read_committed reads what was committed", eventually(lambda: values(broker, "txn"), kept), kept)
    check("read_uncommitted reads all", values(broker, "txn", "read_uncommitted"), sorted(kept + [f"second-{i}" for i in range(10)]))
    second = KafkaProducer(bootstrap_servers=broker, transactional_id="txn")
    second.init_transactions()
    p.begin_transaction()

    def go_on():
        p.send("txn", partition=0, value=b"of a fenced producer")
        p.flush()
        p.commit_transaction()

    check("a producer is fenced by the next of its id", error(go_on), "ProducerFencedError")
    check("nothing of it is read", values(broker, "txn"), kept)
    for producer in p, second:
        producer.close()
    admin = admin_of(broker)
    check("its transactions are listed", [(t.transactional_id, t.state.name) for ts in admin.list_transactions(transactional_id_pattern="txn").values() for t in ts], [["txn", "EMPTY"]])
    admin.close()


def offsets_in_transactions(broker):
    make(broker, "from")
    make(broker, "to")
    p = KafkaProducer(bootstrap_servers=broker, transactional_id="copier")
    plain = KafkaProducer(bootstrap_servers=broker)
    for i in range(20):
        plain.send("from", partition=i % 2, value=f"{i:02}".encode())
    plain.close()
    p.init_transactions()
    c = KafkaConsumer("from", bootstrap_servers=broker, group_id="copiers", enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed")
    read = []
    while len(read) < 20:
        for batch in c.poll(timeout_ms=500).values():
            read += batch
    admin = admin_of(broker)

    def committed():
        return {tp.partition: o.offset for tp, o in admin.list_group_offsets({"copiers": parts("from")})["copiers"].items() if o.offset >= 0}

    for end in p.abort_transaction, p.commit_transaction:
        p.begin_transaction()
        for m in read:
            p.send("to", partition=m.partition, value=m.value)
        p.send_offsets_to_transaction({tp: OffsetAndMetadata(c.position(tp), "by the copier", -1) for tp in parts("from")}, c.group_metadata())
        p.flush()
        check("while it is open, nothing is read", values(broker, "to"), [])
        end()
        aborted = end == p.abort_transaction
        offsets, records = ({}, []) if aborted else ({0: 10, 1: 10}, [f"{i:02}" for i in range(20)])
        check("the offsets follow the transaction", eventually(committed, offsets), offsets)
        check("the records follow the transaction", eventually(lambda: values(broker, "to"), records), records)
    p.close()
    c.close()
    admin.close()


def commits(broker):
    make(broker, "lag")
    p = KafkaProducer(bootstrap_servers=broker, acks="all")
    check("offsets of acknowledged records", [p.send("lag", partition=0, value=str(i).encode()).get(10).offset for i in range(10)], list(range(10)))
    tp = TopicPartition("lag", 0)

    def member():
        c = KafkaConsumer("lag", bootstrap_servers=broker, group_id="laggards", enable_auto_commit=False, auto_offset_reset="earliest", max_poll_records=4)
        while not (batch := c.poll(timeout_ms=500)):
            pass
        return c, [m.value.decode() for m in batch[tp]]

    c, read = member()
    check("the first four", read, ["0", "1", "2", "3"])
    c.commit({tp: OffsetAndMetadata(4, "a note", -1)})
    check("the metadata of the commit", c.committed(tp, metadata=True).metadata, "a note")
    check("the lag", c.end_offsets([tp])[tp] - c.committed(tp), 6)
    c.close()
    c, read = member()
    check("the next goes on behind the commit", read, ["4", "5", "6", "7"])
    c.commit()
    c.close()
    admin = admin_of(broker)
    check("what is committed", admin.list_group_offsets({"laggards": [tp]})["laggards"][tp].offset, 8)
    check("a group that is empty can be moved", [e.__name__ for e in admin.alter_group_offsets("laggards", {tp: OffsetAndMetadata(2, "", -1)}).values()], ["NoError"])
    c, read = member()
    check("and is read from there", read, ["2", "3", "4", "5"])
    described = admin.describe_groups(["laggards"])["laggards"]
    check("the group", (described["group_state"], described["protocol_type"], len(described["members"])), ["Stable", "consumer", 1])
    check("a group with members is not deleted", admin.delete_groups(["laggards"]), {"laggards": "NonEmptyGroupError"})
    c.close()
    check("its offsets are deleted", [e.__name__ for e in admin.delete_group_offsets("laggards", [tp]).values()], ["NoError"])
    check("and it", admin.delete_groups(["laggards"]), {"laggards": "OK"})
    check("it is listed no more", [g["group_id"] for g in admin.list_groups() if g["group_id"] == "laggards"], [])
    admin.close()
    p.close()


def admin(broker):
    a = admin_of(broker)
    make(broker, "adm", 2, **{"retention.ms": "-1"})
    check("a topic that is there", error(lambda: make(broker, "adm")), "TopicAlreadyExistsError")
    a.create_partitions({"adm": 4})
    check("its partitions", len(a.describe_topics(["adm"])[0]["partitions"]), 4)
    resource = ConfigResource(ConfigResourceType.TOPIC, "adm", {"max.message.bytes": "2000000"})
    a.alter_configs([resource])

    def modified():
        described = a.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "adm")])["topic"]["adm"]
        return {k: c["value"] for k, c in described.items() if c["config_source"].lower().startswith("dynamic_topic")}

    check("its configs", modified(), {"retention.ms": "-1", "max.message.bytes": "2000000"})
    a.reset_configs([resource])
    check("after one was reset", modified(), {"retention.ms": "-1"})
    p = KafkaProducer(bootstrap_servers=broker)
    for i in range(10):
        p.send("adm", partition=1, value=b"v", timestamp_ms=1000 + i)
    p.close()
    tp = TopicPartition("adm", 1)

    def at(spec):
        return a.list_partition_offsets({tp: spec})[tp].offset

    check("offsets", [at(OffsetSpec.EARLIEST), at(OffsetSpec.LATEST), at(OffsetSpec.MAX_TIMESTAMP), at(1005)], [0, 10, 9, 5])
    check("records are deleted", a.delete_records({tp: 6})[tp]["low_watermark"], 6)
    check("the log starts behind them", at(OffsetSpec.EARLIEST), 6)
    rule = ACL("User:alice", "*", ACLOperation.READ, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, "adm"))
    everything = ACLFilter("User:alice", None, ACLOperation.ANY, ACLPermissionType.ANY, ResourcePattern(ResourceType.TOPIC, "adm"))
    a.create_acls([rule])

    def rules():
        found, err = a.describe_acls(everything)
        return [(r.principal, r.host, r.operation.name, r.permission_type.name, r.resource_pattern.resource_name) for r in found]

    check("the rule", rules(), [["User:alice", "*", "READ", "ALLOW", "adm"]])
    check("it is deleted", [len(deleted) for _, deleted, _ in a.delete_acls([everything])], [1])
    check("no rule", rules(), [])
    cluster = a.describe_cluster()
    check("the cluster", [b["node_id"] if "node_id" in b else b["broker_id"] for b in cluster["brokers"]], [1])
    a.delete_topics(["adm"])
    check("it is gone", "adm" in a.list_topics(), False)
    a.close()


run({"transactions": transactions, "offsets-in-transactions": offsets_in_transactions, "commits": commits, "admin": admin})
