"""Uses as much of the protocol as librdkafka can, for capture: BROKER."""
import sys
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, Producer, TopicPartition
from confluent_kafka import admin as ca

broker = sys.argv[1]
conf = {"bootstrap.servers": broker, "client.id": "librdkafka"}


def tell(what, fn):
    try:
        r = fn()
        for f in r.values() if isinstance(r, dict) else [r]:
            if hasattr(f, "result"):
                f.result(15)
        return r
    except Exception as e:
        print(f"{what}: {type(e).__name__}: {e}"[:200])


a = ca.AdminClient(conf)
tell("create", lambda: a.create_topics([ca.NewTopic("rd", 2, 1)]))
tell("partitions", lambda: a.create_partitions([ca.NewPartitions("rd", 3)]))
tell("configs", lambda: a.describe_configs([ca.ConfigResource("topic", "rd")]))
tell("alter", lambda: a.alter_configs([ca.ConfigResource("topic", "rd", set_config={"retention.ms": "100000"})]))
tell("incremental", lambda: a.incremental_alter_configs([ca.ConfigResource("topic", "rd", incremental_configs=[ca.ConfigEntry("retention.ms", "200000", incremental_operation=ca.AlterConfigOpType.SET)])]))
rule = ca.AclBinding(ca.ResourceType.TOPIC, "rd", ca.ResourcePatternType.LITERAL, "User:a", "*", ca.AclOperation.READ, ca.AclPermissionType.ALLOW)
some = ca.AclBindingFilter(ca.ResourceType.TOPIC, "rd", ca.ResourcePatternType.LITERAL, None, None, ca.AclOperation.ANY, ca.AclPermissionType.ANY)
tell("create acls", lambda: a.create_acls([rule]))
tell("describe acls", lambda: a.describe_acls(some))
tell("delete acls", lambda: a.delete_acls([some]))
tell("scram", lambda: a.alter_user_scram_credentials([ca.UserScramCredentialUpsertion("rd", ca.ScramCredentialInfo(ca.ScramMechanism.SCRAM_SHA_256, 4096), b"password", b"salt")]))
tell("describe scram", lambda: a.describe_user_scram_credentials(["rd"]))
p = Producer({**conf, "acks": "all"})
for i in range(5):
    p.produce("rd", key=b"k", value=b"v", headers=[("h", b"x")])
p.flush(10)
t = Producer({**conf, "transactional.id": "rd"})
t.init_transactions(10)
for commit in (True, False):
    t.begin_transaction()
    t.produce("rd", b"t")
    t.send_offsets_to_transaction([TopicPartition("rd", 0, 1)], Consumer({**conf, "group.id": "rd-txn"}).consumer_group_metadata(), 10)
    t.commit_transaction(10) if commit else t.abort_transaction(10)
for protocol in ("classic", "consumer"):
    settings = {"heartbeat.interval.ms": 300} if protocol == "classic" else {}
    c = Consumer({**conf, "group.id": "rd-" + protocol, "group.protocol": protocol, "auto.offset.reset": "earliest", "enable.auto.commit": False, **settings})
    c.subscribe(["rd"])
    until = time.time() + 6
    while time.time() < until:
        m = c.poll(0.2)
        if m and not m.error():
            c.commit(m, asynchronous=False)
    tell("committed", lambda: c.committed([TopicPartition("rd", 0)], 5))
    tell("times", lambda: c.offsets_for_times([TopicPartition("rd", 0, 1)], 5))
    tell("describe groups", lambda: a.describe_consumer_groups(["rd-" + protocol]))
    c.close()
tell("list groups", lambda: a.list_consumer_groups())
tell("offsets", lambda: a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("rd-classic")]))
tell("list offsets", lambda: a.list_offsets({TopicPartition("rd", 0): ca.OffsetSpec.latest()}, isolation_level=IsolationLevel.READ_COMMITTED))
tell("cluster", lambda: a.describe_cluster())
tell("topics", lambda: a.list_topics(timeout=5))
tell("delete records", lambda: a.delete_records([TopicPartition("rd", 0, 1)]))
tell("elect", lambda: a.elect_leaders(ca.ElectionType.PREFERRED, [TopicPartition("rd", 0)]))
tell("delete groups", lambda: a.delete_consumer_groups(["rd-classic"]))
tell("delete", lambda: a.delete_topics(["rd"]))
