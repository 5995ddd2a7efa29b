import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What the scenarios share: clients of one broker, names of their own, and lines that do not change from run to run. */
final class Kit implements AutoCloseable {
    static final Duration LIMIT = Duration.ofMinutes(2);
    static final Duration SHORT = Duration.ofMillis(100);

    private final String broker;
    private final String prefix;
    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    private Admin admin;

    Kit(String broker, String prefix) {
        this.broker = broker;
        this.prefix = prefix + "-";
    }

    /** A name that no other scenario and no other run has; what is printed leaves the prefix out. */
    String own(String name) {
        return prefix + name;
    }

    void print(String format, Object... args) {
        System.out.println(String.format(format, args).replace(prefix, ""));
    }

    Admin admin() {
        if (admin == null) {
            admin = keep(Admin.create(properties()));
        }
        return admin;
    }

    void topic(String name, int partitions, String... configs) throws Exception {
        NewTopic topic = new NewTopic(own(name), partitions, (short) 1).configs(map("retention.ms", "-1"));
        topic.configs().putAll(map(configs));
        admin().createTopics(List.of(topic)).all().get();
        answer(() -> admin().listTopics().names().get(), names -> names.contains(own(name)));
    }

    KafkaProducer<String, String> producer(String... configs) {
        return keep(new KafkaProducer<>(properties(configs), new StringSerializer(), new StringSerializer()));
    }

    KafkaConsumer<String, String> consumer(String... configs) {
        Properties p = properties("auto.offset.reset", "earliest", "enable.auto.commit", "false");
        p.putAll(map(configs));
        return keep(new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer()));
    }

    /** A member of a group; its configs override the others. */
    Member member(String group, String name, String[] configs, String... others) {
        return new Member(name, consumer(concat(concat(others, "group.id", own(group), "client.id", name), configs)));
    }

    static String[] concat(String[] first, String... second) {
        return Stream.concat(Arrays.stream(first), Arrays.stream(second)).toArray(String[]::new);
    }

    /** Sends count records, with partitions in turn, and values that tell their number. */
    void fill(String topic, int partitions, int first, int count) throws Exception {
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties(), new StringSerializer(), new StringSerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            for (int i = first; i < first + count; i++) {
                sent.add(producer.send(new ProducerRecord<>(own(topic), i % partitions, "k" + i, "v" + i)));
            }
            for (Future<?> s : sent) {
                s.get();
            }
        }
    }

    Properties properties(String... configs) {
        Properties p = new Properties();
        p.put("bootstrap.servers", broker);
        p.putAll(map(configs));
        return p;
    }

    TopicPartition partition(String topic, int partition) {
        return new TopicPartition(own(topic), partition);
    }

    private <T extends AutoCloseable> T keep(T client) {
        open.push(client);
        return client;
    }

    /** Closes what a scenario has left open; clients may be closed twice. */
    @Override
    public void close() throws Exception {
        while (!open.isEmpty()) {
            open.pop().close();
        }
    }

    static Map<String, String> map(String... pairs) {
        Map<String, String> m = new HashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            m.put(pairs[i], pairs[i + 1]);
        }
        return m;
    }

    /** Partitions as topic:1,2,3, sorted. */
    static String list(Collection<TopicPartition> partitions) {
        return partitions.stream().collect(Collectors.groupingBy(TopicPartition::topic, TreeMap::new,
                Collectors.mapping(TopicPartition::partition, Collectors.toCollection(TreeSet::new)))).toString();
    }

    /** The name of what was thrown, below what wraps it. */
    static String name(Throwable e) {
        while ((e instanceof ExecutionException || e instanceof CompletionException || e.getClass().getSimpleName().equals("KafkaException"))
                && e.getCause() != null) {
            e = e.getCause();
        }
        return e.getClass().getSimpleName();
    }

    interface Call {
        Object run() throws Exception;
    }

    /** What a call answers: "ok", or the name of its error. */
    static String outcome(Call call) {
        try {
            Object result = call.run();
            if (result instanceof Future) {
                ((Future<?>) result).get();
            }
            return "ok";
        } catch (Exception e) {
            return name(e);
        }
    }

    interface Action {
        void run() throws Exception;
    }

    /** The outcome of what answers nothing. */
    static String tried(Action action) {
        return outcome(() -> {
            action.run();
            return null;
        });
    }

    /** Asks until the answer is as it must become: Apache Kafka acknowledges a change before it answers by it. */
    static <T> T answer(Callable<T> question, Predicate<T> expected) throws Exception {
        AtomicReference<T> last = new AtomicReference<>();
        until("the answer is as it must become", () -> {
            try {
                last.set(question.call());
                return expected.test(last.get());
            } catch (ExecutionException e) {
                return false; // it is not there yet
            }
        });
        return last.get();
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    /** Asks until the condition holds. What it does in between, it does itself: it polls consumers, or waits for an answer. */
    static void until(String what, Condition condition) throws Exception {
        long end = System.nanoTime() + LIMIT.toNanos();
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException("not within " + LIMIT + ": " + what);
            }
        }
    }
}
