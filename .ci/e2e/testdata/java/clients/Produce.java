import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.zip.CRC32;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/** Idempotent producers with every compression, and those without; what comes back; offsets by time; and records that are refused. */
final class Produce implements Scenario {
    private static final int PARTITIONS = 3;
    private static final int RECORDS = 300;
    private static final long START = 1_700_000_000_000L;

    private Kit kit;

    @Override
    public void run(Kit kit) throws Exception {
        this.kit = kit;
        kit.topic("records", PARTITIONS);
        int first = 0;
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            send("idempotent, " + codec, first, "enable.idempotence", "true", "acks", "all", "compression.type", codec, "linger.ms", "5");
            first += RECORDS;
        }
        for (String acks : List.of("1", "all")) {
            send("acks " + acks, first, "enable.idempotence", "false", "acks", acks, "batch.size", "1000");
            first += RECORDS;
        }
        readBack(first);
        byTime(first);
        partitionOfKey();
        refused();
    }

    private void send(String what, int first, String... configs) throws Exception {
        Map<Integer, List<Long>> offsets = new TreeMap<>();
        try (KafkaProducer<String, String> producer = kit.producer(configs)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = first; i < first + RECORDS; i++) {
                ProducerRecord<String, String> r =
                        new ProducerRecord<>(kit.own("records"), i % PARTITIONS, START + i, i % 7 == 0 ? null : "key " + i, i % 11 == 0 ? null : "value " + i);
                r.headers().add("n", Integer.toString(i).getBytes(StandardCharsets.UTF_8)).add("empty", null);
                sent.add(producer.send(r));
            }
            for (Future<RecordMetadata> s : sent) {
                offsets.computeIfAbsent(s.get().partition(), p -> new ArrayList<>()).add(s.get().offset());
            }
        }
        offsets.forEach((p, o) -> kit.print("%s: partition %d from %d to %d", what, p, o.get(0), o.get(o.size() - 1)));
    }

    private void readBack(int count) throws Exception {
        Map<Integer, CRC32> sums = new TreeMap<>();
        int[] read = {0};
        try (KafkaConsumer<String, String> consumer = kit.consumer()) {
            consumer.assign(partitions());
            Kit.until("all records are read", () -> {
                for (ConsumerRecord<String, String> r : consumer.poll(Kit.SHORT)) {
                    String all = r.offset() + " " + r.timestamp() + " " + r.timestampType() + " " + r.key() + " " + r.value() + " " + r.headers() + r.leaderEpoch();
                    sums.computeIfAbsent(r.partition(), p -> new CRC32()).update(all.getBytes(StandardCharsets.UTF_8));
                    read[0]++;
                }
                return read[0] >= count;
            });
            kit.print("from %s to %s", new TreeMap<>(byNumber(consumer.beginningOffsets(partitions()))), byNumber(consumer.endOffsets(partitions())));
        }
        sums.forEach((p, sum) -> kit.print("partition %d: checksum of its records %08x", p, sum.getValue()));
    }

    private void byTime(int count) {
        try (KafkaConsumer<String, String> consumer = kit.consumer()) {
            for (long at : new long[] {0, START + 1, START + 700, START + count - 1, START + count}) {
                Map<TopicPartition, Long> wanted = new HashMap<>();
                partitions().forEach(p -> wanted.put(p, at));
                Map<Integer, String> found = new TreeMap<>();
                for (Map.Entry<TopicPartition, OffsetAndTimestamp> e : consumer.offsetsForTimes(wanted).entrySet()) {
                    found.put(e.getKey().partition(), e.getValue() == null ? "none" : e.getValue().offset() + "@" + (e.getValue().timestamp() - START));
                }
                kit.print("at %d: %s", at - START, found);
            }
        }
    }

    private void partitionOfKey() throws Exception {
        kit.topic("keys", 5);
        Map<Integer, Integer> counts = new TreeMap<>();
        try (KafkaProducer<String, String> producer = kit.producer()) {
            for (int i = 0; i < 100; i++) {
                counts.merge(producer.send(new ProducerRecord<>(kit.own("keys"), "key " + i, "")).get().partition(), 1, Integer::sum);
            }
        }
        kit.print("keys fall into %s", counts);
    }

    private void refused() throws Exception {
        kit.topic("small", 1, "max.message.bytes", "1000");
        kit.topic("compacted", 1, "cleanup.policy", "compact");
        KafkaProducer<String, String> producer = kit.producer("max.block.ms", "10000");
        kit.print("too large: %s", Kit.outcome(() -> producer.send(new ProducerRecord<>(kit.own("small"), "x".repeat(2000)))));
        kit.print("no key, compacted: %s", Kit.outcome(() -> producer.send(new ProducerRecord<>(kit.own("compacted"), "x"))));
        kit.print("of the far future: %s", Kit.outcome(() -> producer.send(
                new ProducerRecord<>(kit.own("records"), 0, System.currentTimeMillis() + 7_200_000, "k", "x"))));
        kit.print("topic of an illegal name: %s", Kit.outcome(() -> producer.send(new ProducerRecord<>("no topic!", "x"))));
        kit.print("a partition that is not there: %s", Kit.outcome(() -> kit.producer("max.block.ms", "1000").send(new ProducerRecord<>(kit.own("small"), 9, "k", "x"))));
        kit.print("after all that: %s", Kit.outcome(() -> producer.send(new ProducerRecord<>(kit.own("small"), "x"))));
        kit.print("a new topic: %s", Kit.outcome(() -> producer.send(new ProducerRecord<>(kit.own("made-by-sending"), "x"))));
    }

    private List<TopicPartition> partitions() {
        List<TopicPartition> all = new ArrayList<>();
        for (int p = 0; p < PARTITIONS; p++) {
            all.add(kit.partition("records", p));
        }
        return all;
    }

    private static Map<Integer, Long> byNumber(Map<TopicPartition, Long> offsets) {
        Map<Integer, Long> m = new TreeMap<>();
        offsets.forEach((p, offset) -> m.put(p.partition(), offset));
        return m;
    }
}
