import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Transactions that commit and abort, with offsets of a group, what each isolation level sees of them, zombies, and timeouts. */
final class Transactions implements Scenario {
    private static final int PARTITIONS = 2;

    private Kit kit;

    @Override
    public void run(Kit kit) throws Exception {
        this.kit = kit;
        kit.topic("out", PARTITIONS);
        commitAndAbort();
        open();
        copy();
        zombie();
        zombieWithOffsets();
        timeout();
        misuse();
    }

    private KafkaProducer<String, String> producer(String id, String... configs) {
        String[] all = Kit.concat(new String[] {"transactional.id", kit.own(id), "transaction.timeout.ms", "60000", "linger.ms", "0"}, configs);
        KafkaProducer<String, String> p = kit.producer(all);
        p.initTransactions();
        return p;
    }

    private void send(KafkaProducer<String, String> p, String what, int count) {
        for (int i = 0; i < count; i++) {
            p.send(new ProducerRecord<>(kit.own("out"), i % PARTITIONS, "k" + i, what + i));
        }
    }

    private void commitAndAbort() throws Exception {
        KafkaProducer<String, String> p = producer("plain", "compression.type", "lz4");
        for (int n = 0; n < 6; n++) {
            p.beginTransaction();
            send(p, (n % 2 == 0 ? "committed-" : "aborted-") + n + "-", 4);
            if (n % 2 == 0) {
                p.commitTransaction();
            } else {
                p.flush();
                p.abortTransaction();
            }
        }
        p.beginTransaction();
        p.commitTransaction();
        p.beginTransaction();
        p.abortTransaction();
        p.close();
        see("after three of each", false);
    }

    /** What each isolation level sees, with offsets. */
    private void see(String when, boolean open) throws Exception {
        KafkaConsumer<String, String> committed = kit.consumer("isolation.level", "read_committed");
        KafkaConsumer<String, String> every = kit.consumer();
        List<TopicPartition> all = List.of(kit.partition("out", 0), kit.partition("out", 1));
        Kit.until("the markers are written", () -> open || committed.endOffsets(all).equals(every.endOffsets(all)));
        committed.close();
        every.close();
        for (String level : List.of("read_committed", "read_uncommitted")) {
            KafkaConsumer<String, String> c = kit.consumer("isolation.level", level);
            c.assign(all);
            Map<TopicPartition, Long> ends = c.endOffsets(all);
            Map<Integer, List<String>> seen = new TreeMap<>();
            Kit.until("all is read", () -> {
                for (ConsumerRecord<String, String> r : c.poll(Kit.SHORT)) {
                    seen.computeIfAbsent(r.partition(), n -> new ArrayList<>()).add(r.offset() + " " + r.value());
                }
                return all.stream().allMatch(tp -> c.position(tp) >= ends.get(tp));
            });
            kit.print("%s, %s: ends %d and %d, records %s", when, level, ends.get(all.get(0)), ends.get(all.get(1)), seen);
            c.close();
        }
    }

    /** While a transaction is open its records, and those behind it, are not seen. */
    private void open() throws Exception {
        KafkaProducer<String, String> p = producer("open");
        p.beginTransaction();
        send(p, "open-", 2);
        p.flush();
        KafkaProducer<String, String> other = kit.producer();
        other.send(new ProducerRecord<>(kit.own("out"), 0, "k", "behind")).get();
        see("with one open", true);
        p.commitTransaction();
        see("with it committed", false);
    }

    /** Consume, transform, produce: offsets in the transactions, some of which are aborted and done again. */
    private void copy() throws Exception {
        kit.topic("in", PARTITIONS);
        kit.topic("copied", PARTITIONS);
        kit.fill("in", PARTITIONS, 0, 100);
        KafkaConsumer<String, String> c = kit.consumer("group.id", kit.own("copiers"), "isolation.level", "read_committed", "max.poll.records", "10");
        c.subscribe(List.of(kit.own("in")));
        KafkaProducer<String, String> p = producer("copier");
        int[] progress = {0, 0};
        Kit.until("all is copied", () -> {
            ConsumerRecords<String, String> batch = c.poll(Kit.SHORT);
            if (batch.isEmpty()) {
                return progress[0] >= 100;
            }
            p.beginTransaction();
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (ConsumerRecord<String, String> r : batch) {
                p.send(new ProducerRecord<>(kit.own("copied"), r.partition(), r.key(), r.value()));
                offsets.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1, "tx"));
            }
            p.sendOffsetsToTransaction(offsets, c.groupMetadata());
            if (progress[1]++ % 3 == 2) {
                p.abortTransaction();
                for (TopicPartition tp : batch.partitions()) {
                    c.seek(tp, batch.records(tp).get(0).offset());
                }
                return false;
            }
            p.commitTransaction();
            progress[0] += batch.count();
            return progress[0] >= 100;
        });
        Map<Integer, String> committed = new TreeMap<>();
        c.committed(Set.of(kit.partition("in", 0), kit.partition("in", 1))).forEach((tp, o) -> committed.put(tp.partition(), o.offset() + " " + o.metadata()));
        c.close();
        p.close();
        KafkaConsumer<String, String> check = kit.consumer("isolation.level", "read_committed");
        check.assign(List.of(kit.partition("copied", 0), kit.partition("copied", 1)));
        List<String> values = new ArrayList<>();
        Kit.until("the copies are read", () -> {
            check.poll(Kit.SHORT).forEach(r -> values.add(r.value()));
            return values.size() >= 100;
        });
        kit.print("copied %d records, %d different, committed %s", values.size(), values.stream().distinct().count(), committed);
    }

    private void zombie() throws Exception {
        KafkaProducer<String, String> first = producer("fenced");
        first.beginTransaction();
        send(first, "never-", 2);
        first.flush();
        KafkaProducer<String, String> second = producer("fenced");
        kit.print("commit of the zombie: %s", Kit.tried(() -> first.commitTransaction()));
        kit.print("then: %s", Kit.tried(() -> first.abortTransaction()));
        second.beginTransaction();
        send(second, "second-", 2);
        second.commitTransaction();
        KafkaProducer<String, String> third = producer("fenced");
        kit.print("what the zombie sends: %s", Kit.outcome(() -> {
            second.beginTransaction();
            return second.send(new ProducerRecord<>(kit.own("out"), 0, "k", "never"));
        }));
        third.close(Duration.ZERO);
        see("after the zombies", false);
    }

    /** Offsets of a member that is not in the group any more do not get into a transaction. */
    private void zombieWithOffsets() throws Exception {
        KafkaConsumer<String, String> gone = kit.consumer("group.id", kit.own("left"));
        gone.subscribe(List.of(kit.own("in")));
        Kit.until("it has partitions", () -> {
            gone.poll(Kit.SHORT);
            return gone.assignment().size() == PARTITIONS;
        });
        var then = gone.groupMetadata();
        gone.close();
        KafkaProducer<String, String> p = producer("left-behind");
        p.beginTransaction();
        kit.print("offsets of a member that left: %s", Kit.tried(() -> {
            p.sendOffsetsToTransaction(Map.of(kit.partition("in", 0), new OffsetAndMetadata(1)), then);
            p.commitTransaction();
        }));
        kit.print("its transaction can be aborted: %s", Kit.tried(() -> p.abortTransaction()));
        p.close();
    }

    /** A transaction that lasts too long is aborted by the coordinator, and its producer learns it. */
    private void timeout() throws Exception {
        KafkaProducer<String, String> slow = producer("slow", "transaction.timeout.ms", "1000");
        slow.beginTransaction();
        send(slow, "too-late-", 2);
        slow.flush();
        KafkaConsumer<String, String> c = kit.consumer("isolation.level", "read_committed");
        KafkaConsumer<String, String> all = kit.consumer();
        List<TopicPartition> p0 = List.of(kit.partition("out", 0));
        Kit.until("the transaction is aborted", () -> c.endOffsets(p0).equals(all.endOffsets(p0)));
        String outcome = Kit.tried(() -> slow.commitTransaction());
        kit.print("commit after the timeout: %s", outcome);
        slow.close(Duration.ZERO);
        see("after the timeout", false);
    }

    private void misuse() {
        kit.print("a timeout above the broker's: %s", Kit.outcome(() -> producer("long", "transaction.timeout.ms", "90000000")));
        KafkaProducer<String, String> p = producer("misused");
        kit.print("send outside: %s", Kit.outcome(() -> p.send(new ProducerRecord<>(kit.own("out"), 0, "k", "v"))));
        p.beginTransaction();
        kit.print("too large inside: %s", Kit.outcome(() -> p.send(new ProducerRecord<>(kit.own("out"), 0, "k", "x".repeat(1_500_000)))));
        kit.print("commit: %s", Kit.tried(() -> p.commitTransaction()));
        kit.print("abort: %s", Kit.tried(() -> p.abortTransaction()));
    }
}
