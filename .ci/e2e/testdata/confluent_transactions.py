"""Transactions with librdkafka: BROKER IN OUT GROUP. Copies IN to OUT in transactions, of which every third is aborted and done again, and prints what it did."""
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

broker, source, target, group, count = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])


def producer(transactional_id):
    p = Producer({"bootstrap.servers": broker, "transactional.id": transactional_id, "transaction.timeout.ms": 30000})
    p.init_transactions(30)
    return p


consumer = Consumer({"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
consumer.subscribe([source])
p = producer("copier")
done, number = 0, 0
while done < count:
    batch = consumer.consume(50, 5.0)
    if not batch:
        sys.exit(f"nothing comes after {done} records")
    number += 1
    p.begin_transaction()
    for m in batch:
        if m.error():
            sys.exit(str(m.error()))
        p.produce(target, key=m.key(), value=m.value())
    if number % 3 == 0:
        p.flush(30)
        p.abort_transaction(30)
        first = {}
        for m in batch:
            first[m.partition()] = min(first.get(m.partition(), m.offset()), m.offset())
        for partition, offset in first.items():
            consumer.seek(TopicPartition(source, partition, offset))
        continue
    p.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30)
    p.commit_transaction(30)
    done += len(batch)
consumer.close()
print("copied", done)

first, second = producer("fenced"), None
first.begin_transaction()
first.produce(target, value=b"never")
first.flush(30)
second = producer("fenced")
try:
    first.commit_transaction(30)
    print("not fenced")
except KafkaException as e:
    print("fenced", e.args[0].name())
second.begin_transaction()
second.produce(target, value=b"of the second")
second.commit_transaction(30)
