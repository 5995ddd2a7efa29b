import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/**
 * An exactly-once Kafka Streams application: BROKER STATE_FOLDER. Values of the topics orders and payments are CUSTOMER:ID; pairs of one customer that are
 * at most two seconds apart go to the topic pairs, and how many there are in a minute to pairs-per-minute, at each change.
 *
 * <p>It has what such an application can ask of a broker: repartition topics, changelogs of windows (compact,delete), a transaction per commit, and offsets
 * in it. Nothing is ever late, so that the output does not depend on the order in which the topics are read.
 */
public final class Pairs {
    private static final Duration APART = Duration.ofSeconds(2);
    private static final Duration GRACE = Duration.ofDays(1);

    public static void main(String[] args) {
        KafkaStreams streams = new KafkaStreams(topology(), config(args[0], args[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> pairs = byCustomer(builder, "orders").join(byCustomer(builder, "payments"), (order, payment) -> order + "+" + payment,
                JoinWindows.ofTimeDifferenceAndGrace(APART, GRACE), StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()).withName("join").withStoreName("join"));
        pairs.to("pairs");
        pairs.groupByKey(Grouped.as("pairs"))
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), GRACE))
                .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("per-minute").withCachingDisabled())
                .toStream()
                .map((window, count) -> KeyValue.pair(window.key() + "@" + window.window().start(), Long.toString(count)))
                .to("pairs-per-minute");
        return builder.build();
    }

    private static KStream<String, String> byCustomer(StreamsBuilder builder, String topic) {
        return builder.<String, String>stream(topic).selectKey((key, value) -> value.substring(0, value.indexOf(':')));
    }

    private static Properties config(String broker, String state) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, broker);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, "pairs-app");
        p.put(StreamsConfig.STATE_DIR_CONFIG, state);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put("auto.offset.reset", "earliest");
        p.put("session.timeout.ms", 6000); // a process that was killed is missed soon
        p.put("heartbeat.interval.ms", 1000);
        return p;
    }
}
