"""Scenarios with confluent-kafka-python (librdkafka): NAME BROKER. Each prints its checks."""
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource,
                                   NewPartitions, NewTopic, OffsetSpec, ResourcePatternType, ResourceType, ScramCredentialInfo, ScramMechanism, UserScramCredentialDeletion,
                                   UserScramCredentialUpsertion)

from scenario import check, eventually, run


def admin_of(broker):
    return AdminClient({"bootstrap.servers": broker})


def done(futures):
    """The results of an admin call, in which errors are names."""
    return {key: future.exception().args[0].name() if future.exception() else future.result() for key, future in futures.items()}


def make(broker, topic, partitions=2, **config):
    a = admin_of(broker)  # which has to live until its calls are done
    a.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)])[topic].result(30)


def producer(broker, **conf):
    return Producer({"bootstrap.servers": broker, "linger.ms": 1, **{k.replace("_", "."): v for k, v in conf.items()}})


def consumer(broker, group, **conf):
    return Consumer({"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                     **{k.replace("_", "."): v for k, v in conf.items()}})


def values(broker, topic, isolation="read_committed"):
    """All records of a topic up to its ends, sorted."""
    c = consumer(broker, "unused", isolation_level=isolation, enable_partition_eof=True)
    c.assign([TopicPartition(topic, p, 0) for p in range(2)])
    got, ends = [], 0
    while ends < 2:
        for m in c.consume(100, 1.0):
            if m.error():
                ends += 1
            else:
                got.append(m.value().decode())
    c.close()
    return sorted(got)


def transactions(broker):
    make(broker, "txn")
    p = producer(broker, transactional_id="txn")
    p.init_transactions(30)
    offsets = []
    for name, end in ("first", p.commit_transaction), ("second", p.abort_transaction), ("third", p.commit_transaction):
        p.begin_transaction()
        for i in range(10):
            p.produce("txn", partition=i % 2, value=f"{name}-{i}", on_delivery=lambda err, m: offsets.append((m.partition(), m.offset())))
        check(f"all of the {name} transaction is delivered", p.flush(30), 0)
        end(30)
    # Each transaction ends with a marker, which has an offset.
    check("offsets", sorted(offsets), [[p, o] for p in range(2) for o in range(17) if o % 6 < 5])
    kept = sorted(f"{name}-{i}" for name in ("first", "third") for i in range(10))
    # A commit is acknowledged when it is sure; readers see it when its markers are written, which is soon after.
    check("read_committed reads what was committed", eventually(lambda: values(broker, "txn"), kept), kept)
    check("read_uncommitted reads all", values(broker, "txn", "read_uncommitted"), sorted(kept + [f"second-{i}" for i in range(10)]))


def offsets_in_transactions(broker):
    make(broker, "from")
    make(broker, "to")
    plain = producer(broker, enable_idempotence=True)
    for i in range(20):
        plain.produce("from", partition=i % 2, value=f"{i:02}")
    check("the input is delivered", plain.flush(30), 0)
    p = producer(broker, transactional_id="copier")
    p.init_transactions(30)
    c = consumer(broker, "copiers", isolation_level="read_committed")
    c.subscribe(["from"])
    read = []
    while len(read) < 20:
        read += c.consume(20, 1.0)
    check("the input", sorted(m.value().decode() for m in read), [f"{i:02}" for i in range(20)])
    for end in p.abort_transaction, p.commit_transaction:
        p.begin_transaction()
        for m in read:
            p.produce("to", partition=m.partition(), value=m.value())
        p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 30)
        p.flush(30)
        check("while it is open, nothing is read", values(broker, "to"), [])
        end(30)
        aborted = end == p.abort_transaction
        check("the offsets follow the transaction", sorted((tp.partition, tp.offset) for tp in c.committed([TopicPartition("from", n) for n in range(2)], 30)),
              [[n, -1001 if aborted else 10] for n in range(2)])
        want = [] if aborted else [f"{i:02}" for i in range(20)]
        check("the records follow the transaction", eventually(lambda: values(broker, "to"), want), want)
    c.close()


def commits(broker):
    make(broker, "lag")
    p = producer(broker, enable_idempotence=True)
    for i in range(10):
        p.produce("lag", partition=0, value=str(i))
    check("all is delivered", p.flush(30), 0)
    a = admin_of(broker)

    def member():
        c = consumer(broker, "laggards")
        c.subscribe(["lag"])
        read = []
        while len(read) < 4:
            read += c.consume(4 - len(read), 1.0)
        return c, [m.value().decode() for m in read]

    c, read = member()
    check("the first four", read, ["0", "1", "2", "3"])
    c.commit(offsets=[TopicPartition("lag", 0, 4, "a note")], asynchronous=False)
    at = c.committed([TopicPartition("lag", 0)], 30)[0]
    check("the commit", (at.offset, at.metadata), [4, "a note"])
    check("the lag", c.get_watermark_offsets(TopicPartition("lag", 0))[1] - at.offset, 6)
    c.close()
    c, read = member()
    check("the next goes on behind the commit", read, ["4", "5", "6", "7"])
    c.commit(asynchronous=False)
    described = done(a.describe_consumer_groups(["laggards"]))["laggards"]
    check("the group", (described.state.name, described.partition_assignor, [len(m.assignment.topic_partitions) for m in described.members]), ["STABLE", "range", [2]])
    check("a group with members is not deleted", done(a.delete_consumer_groups(["laggards"])), {"laggards": "NON_EMPTY_GROUP"})
    c.close()

    def committed():
        result = done(a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("laggards")]))["laggards"]
        return [(tp.topic, tp.partition, tp.offset) for tp in result.topic_partitions]

    check("what is committed", committed(), [["lag", 0, 8]])
    done(a.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("laggards", [TopicPartition("lag", 0, 2)])]))
    check("a group that is empty can be moved", committed(), [["lag", 0, 2]])
    c, read = member()
    check("and is read from there", read, ["2", "3", "4", "5"])
    c.close()
    check("it is listed", [(g.group_id, g.state.name, g.type.name) for g in a.list_consumer_groups().result().valid if g.group_id == "laggards"], [["laggards", "EMPTY", "CLASSIC"]])
    check("it is deleted", done(a.delete_consumer_groups(["laggards"])), {"laggards": None})
    check("and listed no more", [g.group_id for g in a.list_consumer_groups().result().valid if g.group_id == "laggards"], [])


def admin(broker):
    a = admin_of(broker)
    make(broker, "adm", 2, **{"retention.ms": "-1"})
    check("a topic that is there", done(a.create_topics([NewTopic("adm", 1, 1)])), {"adm": "TOPIC_ALREADY_EXISTS"})
    check("partitions are added", done(a.create_partitions([NewPartitions("adm", 4)])), {"adm": None})
    topic = done(a.describe_topics(TopicCollection(["adm"])))["adm"]
    check("its partitions", [(p.id, p.leader.id, [r.id for r in p.replicas], [r.id for r in p.isr]) for p in topic.partitions], [[n, 1, [1], [1]] for n in range(4)])

    def configs():
        described = list(done(a.describe_configs([ConfigResource("topic", "adm")])).values())[0]
        return {e.name: e.value for e in described.values() if e.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value}

    def alter(name, value, operation):
        entry = ConfigEntry(name, value, incremental_operation=operation)
        return list(done(a.incremental_alter_configs([ConfigResource("topic", "adm", incremental_configs=[entry])])).values())

    check("a config is set", alter("cleanup.policy", "compact", AlterConfigOpType.APPEND), [None])
    check("its configs", configs(), {"retention.ms": "-1", "cleanup.policy": "delete,compact"})
    check("a config is removed", alter("cleanup.policy", "delete", AlterConfigOpType.SUBTRACT), [None])
    alter("cleanup.policy", None, AlterConfigOpType.DELETE)
    check("its configs after it", configs(), {"retention.ms": "-1"})
    check("an unknown config", alter("no.such.config", "1", AlterConfigOpType.SET), ["INVALID_CONFIG"])
    p = producer(broker)
    for i in range(10):
        p.produce("adm", partition=1, value="v", timestamp=1000 + i)
    p.flush(30)
    tp = TopicPartition("adm", 1)

    def at(spec):
        return list(done(a.list_offsets({tp: spec})).values())[0].offset

    specs = [OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.max_timestamp(), OffsetSpec.for_timestamp(1005)]
    check("offsets", [at(s) for s in specs], [0, 10, 9, 5])
    check("records are deleted", [d.low_watermark for d in done(a.delete_records([TopicPartition("adm", 1, 6)])).values()], [6])
    check("the log starts behind them", at(specs[0]), 6)
    rule = AclBinding(ResourceType.TOPIC, "adm", ResourcePatternType.LITERAL, "User:alice", "*", AclOperation.READ, AclPermissionType.ALLOW)
    every = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, "User:alice", None, AclOperation.ANY, AclPermissionType.ANY)

    def rules():
        return [(r.name, r.principal, r.operation.name, r.permission_type.name) for r in a.describe_acls(every).result()]

    check("a rule is made", list(done(a.create_acls([rule])).values()), [None])
    check("it is described", rules(), [["adm", "User:alice", "READ", "ALLOW"]])
    check("it is deleted", [len(v) for v in done(a.delete_acls([every])).values()], [1])
    check("no rule", rules(), [])
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 8192)
    done(a.alter_user_scram_credentials([UserScramCredentialUpsertion("bob", info, b"secret")]))
    credentials = done(a.describe_user_scram_credentials(["bob"]))["bob"].scram_credential_infos
    check("a credential", [(c.mechanism.name, c.iterations) for c in credentials], [["SCRAM_SHA_256", 8192]])
    done(a.alter_user_scram_credentials([UserScramCredentialDeletion("bob", ScramMechanism.SCRAM_SHA_256)]))
    check("no credential", done(a.describe_user_scram_credentials(["bob"])), {"bob": "RESOURCE_NOT_FOUND"})
    cluster = a.describe_cluster().result()
    check("the cluster", ([n.id for n in cluster.nodes], cluster.controller.id), [[1], 1])
    check("the topic is deleted", done(a.delete_topics(["adm"])), {"adm": None})
    check("it is gone", "adm" in a.list_topics(timeout=10).topics, False)


def static_member(broker):
    """A static member that comes back within its session gets its partitions back, and the others keep theirs."""
    make(broker, "static", 2)

    rebalances = []  # of the member "two"

    def member(instance):
        c = consumer(broker, "statics", group_instance_id=instance, session_timeout_ms=30000, heartbeat_interval_ms=500)
        c.subscribe(["static"], on_assign=lambda _, tps: rebalances.append(tps) if instance == "two" else None)
        return c

    def assigned(*members):
        for c in members:
            c.poll(0.1)
        return [len(c.assignment()) for c in members]

    one, two = member("one"), member("two")
    check("both have a partition", eventually(lambda: assigned(one, two), [1, 1]), [1, 1])
    mine, times = [tp.partition for tp in one.assignment()], len(rebalances)
    a = admin_of(broker)
    before = done(a.describe_consumer_groups(["statics"]))["statics"]
    one.close()  # a static member does not leave
    one = member("one")
    check("it gets its partition back", eventually(lambda: assigned(one, two) and [tp.partition for tp in one.assignment()], mine), mine)
    check("the other was not asked", len(rebalances), times)
    after = done(a.describe_consumer_groups(["statics"]))["statics"]
    ids = [sorted((m.group_instance_id, m.member_id) for m in g.members) for g in (before, after)]
    check("the other is the same member", ids[0][1] == ids[1][1], True)
    check("it has a new member id", ids[0][0] == ids[1][0], False)
    for c in one, two:
        c.close()


run({"transactions": transactions, "offsets-in-transactions": offsets_in_transactions, "commits": commits, "admin": admin, "static-member": static_member})
