"""Uses as much of the protocol as kafka-python can, for capture: BROKER."""
import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import admin as ka

broker = sys.argv[1]


def tell(what, fn):
    try:
        return fn()
    except Exception as e:  # not every call is in every version of the library
        print(f"{what}: {type(e).__name__}: {e}"[:200])


a = KafkaAdminClient(bootstrap_servers=broker, client_id="kafka-python")
tell("create", lambda: a.create_topics([ka.NewTopic("py", 2, 1)]))
tell("partitions", lambda: a.create_partitions({"py": ka.NewPartitions(3)}))
tell("configs", lambda: a.describe_configs([ka.ConfigResource(ka.ConfigResourceType.TOPIC, "py")]))
tell("alter", lambda: a.alter_configs([ka.ConfigResource(ka.ConfigResourceType.TOPIC, "py", configs={"retention.ms": "100000"})]))
rule = tell("acl", lambda: ka.ACL("User:a", "*", ka.ACLOperation.READ, ka.ACLPermissionType.ALLOW, ka.ResourcePattern(ka.ResourceType.TOPIC, "py")))
tell("create acls", lambda: a.create_acls([rule]))
tell("describe acls", lambda: a.describe_acls(rule))
tell("delete acls", lambda: a.delete_acls([rule]))
p = KafkaProducer(bootstrap_servers=broker, client_id="kafka-python", acks="all")
for i in range(5):
    tell("produce", lambda: p.send("py", key=b"k", value=b"v", headers=[("h", b"x")]).get(timeout=10))
p.close()
t = tell("transactions", lambda: KafkaProducer(bootstrap_servers=broker, client_id="kafka-python", transactional_id="py"))
if t:
    tell("init", t.init_transactions)
    tell("begin", t.begin_transaction)
    tell("send", lambda: t.send("py", b"t").get(timeout=10))
    tell("commit", t.commit_transaction)
    t.close()
c = KafkaConsumer("py", bootstrap_servers=broker, client_id="kafka-python", group_id="py", auto_offset_reset="earliest", heartbeat_interval_ms=200)
for _ in range(10):
    c.poll(timeout_ms=300)
tell("commit", c.commit)
tell("committed", lambda: c.committed(TopicPartition("py", 0)))
tell("end", lambda: c.end_offsets([TopicPartition("py", 0)]))
tell("times", lambda: c.offsets_for_times({TopicPartition("py", 0): 1}))
tell("groups", lambda: a.list_groups() if hasattr(a, "list_groups") else a.list_consumer_groups())
tell("describe groups", lambda: a.describe_groups(["py"]) if hasattr(a, "describe_groups") else a.describe_consumer_groups(["py"]))
c.close()
tell("offsets", lambda: a.list_group_offsets("py") if hasattr(a, "list_group_offsets") else a.list_consumer_group_offsets("py"))
tell("delete records", lambda: a.delete_records({TopicPartition("py", 0): 1}))
tell("delete groups", lambda: a.delete_groups(["py"]) if hasattr(a, "delete_groups") else a.delete_consumer_groups(["py"]))
tell("cluster", a.describe_cluster)
tell("dirs", a.describe_log_dirs)
tell("delete", lambda: a.delete_topics(["py"]))
