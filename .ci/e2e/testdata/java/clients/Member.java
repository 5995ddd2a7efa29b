import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** A member of a group, with what it was told and what it has read. */
final class Member implements ConsumerRebalanceListener {
    final String name;
    final KafkaConsumer<String, String> consumer;
    final List<String> told = new ArrayList<>();
    final Set<String> read = new TreeSet<>();

    Member(String name, KafkaConsumer<String, String> consumer) {
        this.name = name;
        this.consumer = consumer;
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        // How often a cooperative member is told that nothing is new depends on when it polls.
        if (!partitions.isEmpty()) {
            told.add("assigned " + Kit.list(partitions));
        }
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        told.add("revoked " + Kit.list(partitions));
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        told.add("lost " + Kit.list(partitions));
    }

    void poll() {
        for (ConsumerRecord<String, String> r : consumer.poll(Kit.SHORT)) {
            read.add(r.value());
        }
    }

    /** Polls the members in turn until the condition holds. */
    static void poll(String what, Kit.Condition condition, Member... members) throws Exception {
        Kit.until(what, () -> {
            for (Member m : members) {
                m.poll();
            }
            return condition.holds();
        });
    }

    /** Polls the members in turn until they own so many partitions, whoever owns how many. */
    static void settle(List<Integer> owned, Member... members) throws Exception {
        poll("the group settles", () -> Arrays.stream(members).map(m -> m.consumer.assignment().size()).sorted().toList().equals(owned), members);
    }
}
