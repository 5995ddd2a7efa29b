import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;

/** Groups of the consumer protocol (KIP-848): assignors of the broker, regular expressions, static members, and migration from classic groups and back. */
final class ConsumerProtocol implements Scenario {
    private static final int PARTITIONS = 6;
    private static final int RECORDS = 120;

    private Kit kit;

    @Override
    public void run(Kit kit) throws Exception {
        this.kit = kit;
        kit.topic("orders", PARTITIONS);
        kit.topic("returns", 2);
        kit.fill("orders", PARTITIONS, 0, RECORDS);
        rebalance("range");
        rebalance("uniform");
        kit.print("an assignor that is not there: %s", Kit.tried(() -> {
            Member m = member("strange", "m", "group.remote.assignor", "strange");
            m.consumer.subscribe(List.of(kit.own("orders")), m);
            Member.poll("it is refused", () -> false, m);
        }));
        pattern();
        staticMembers();
        commits();
        migration();
    }

    private Member member(String group, String name, String... configs) {
        return kit.member(group, name, configs, "group.protocol", "consumer");
    }

    private Member classic(String group, String name) {
        return kit.member(group, name, new String[] {}, "heartbeat.interval.ms", "300");
    }

    private void subscribe(Member m) {
        m.consumer.subscribe(List.of(kit.own("orders"), kit.own("returns")), m);
    }

    private void rebalance(String assignor) throws Exception {
        String group = "by-" + assignor;
        Member a = member(group, "a", "group.remote.assignor", assignor);
        Member b = member(group, "b", "group.remote.assignor", assignor);
        subscribe(a);
        Member.settle(List.of(8), a);
        subscribe(b);
        Member.settle(List.of(4, 4), a, b);
        Member.poll("all is read", () -> a.read.size() + b.read.size() >= RECORDS, a, b);
        describe(group, false);
        a.consumer.close();
        Member.settle(List.of(8), b);
        b.consumer.close();
        describe(group, false);
    }

    /** Describes a group; the members' partitions only where they do not depend on their ids. */
    private void describe(String group, boolean partitions) throws Exception {
        Kit.until("the group is at rest", () -> {
            String state = described(group).groupState().toString();
            return state.equals("Stable") || state.equals("Empty");
        });
        ConsumerGroupDescription d = described(group);
        Map<String, String> members = new TreeMap<>();
        d.members().forEach(m -> members.put(m.clientId(), m.groupInstanceId().orElse("dynamic") + " " + m.upgraded().map(String::valueOf).orElse("-") + " "
                + (partitions ? Kit.list(m.assignment().topicPartitions()) : m.assignment().topicPartitions().size())
                + m.targetAssignment().map(t -> t.topicPartitions().equals(m.assignment().topicPartitions()) ? " as aimed" : " otherwise aimed").orElse("")));
        kit.print("%s is a %s group, %s, assignor '%s', members %s", group, d.type(), d.groupState(), d.partitionAssignor(), members);
    }

    private ConsumerGroupDescription described(String group) throws Exception {
        return kit.admin().describeConsumerGroups(List.of(kit.own(group))).all().get().get(kit.own(group));
    }

    /** A regular expression that the broker resolves; also topics that are made later. */
    private void pattern() throws Exception {
        kit.topic("log-a", 2);
        kit.topic("catalog", 2);
        Member m = member("by-pattern", "m");
        m.consumer.subscribe(new SubscriptionPattern(kit.own("log-") + "[a-z]+"), m);
        Member.settle(List.of(2), m);
        kit.topic("log-b", 3);
        kit.topic("log-1", 3);
        Member.settle(List.of(5), m);
        kit.print("by a pattern: %s", Kit.list(m.consumer.assignment()));
        m.consumer.unsubscribe();
        m.consumer.subscribe(new SubscriptionPattern("(unclosed"), m);
        kit.print("a pattern that is none: %s", Kit.tried(() -> Member.poll("it is refused", () -> false, m)));
    }

    private void staticMembers() throws Exception {
        Member a = member("statics", "a", "group.instance.id", "first", "group.remote.assignor", "range");
        Member b = member("statics", "b", "group.instance.id", "second", "group.remote.assignor", "range");
        subscribe(a);
        Member.settle(List.of(8), a);
        subscribe(b);
        Member.settle(List.of(4, 4), a, b);
        describe("statics", true);
        Member late = member("statics", "late", "group.instance.id", "first");
        subscribe(late);
        kit.print("a second one of its name: %s", Kit.tried(() -> Member.poll("it is refused", () -> false, late, a, b)));
        a.consumer.close();
        Member again = member("statics", "a-again", "group.instance.id", "first", "group.remote.assignor", "range");
        subscribe(again);
        Member.settle(List.of(4, 4), again, b);
        describe("statics", true);
        kit.print("statics: b was told %s", b.told);
    }

    private void commits() throws Exception {
        Member m = member("commits", "m");
        m.consumer.subscribe(List.of(kit.own("orders")), m);
        Member.poll("all is read", () -> m.read.size() == RECORDS, m);
        m.consumer.commitSync();
        m.consumer.commitSync(Map.of(kit.partition("orders", 0), new OffsetAndMetadata(3, "third")));
        m.consumer.close();
        KafkaConsumer<String, String> simple = kit.consumer("group.id", kit.own("commits"));
        kit.print("by a consumer without membership: %s", Kit.tried(() -> simple.commitSync(Map.of(kit.partition("orders", 1), new OffsetAndMetadata(4)))));
        Member next = member("commits", "next");
        next.consumer.subscribe(List.of(kit.own("orders")), next);
        Member.poll("what was not committed is read again", () -> next.read.size() == 2 * RECORDS / PARTITIONS - 7, next);
        kit.print("read again: %s", next.read);
        next.consumer.seek(kit.partition("orders", 0), 19);
        next.consumer.pause(List.of(kit.partition("orders", 1)));
        List<String> after = new ArrayList<>();
        Kit.until("it is read", () -> {
            for (ConsumerRecord<String, String> r : next.consumer.poll(Kit.SHORT)) {
                after.add(r.value());
            }
            return !after.isEmpty();
        });
        kit.print("after a seek: %s", after);
        Member auto = member("auto", "auto", "enable.auto.commit", "true");
        auto.consumer.subscribe(List.of(kit.own("orders")), auto);
        Member.poll("all is read", () -> auto.read.size() == RECORDS, auto);
        auto.consumer.close();
        Map<Integer, Long> committed = new TreeMap<>();
        kit.admin().listConsumerGroupOffsets(kit.own("auto")).partitionsToOffsetAndMetadata().get().forEach((p, o) -> committed.put(p.partition(), o.offset()));
        kit.print("committed by itself: %s", committed);
    }

    /** A classic group whose members are replaced one by one, and back. */
    private void migration() throws Exception {
        Member old1 = classic("moving", "old-1");
        Member old2 = classic("moving", "old-2");
        old1.consumer.subscribe(List.of(kit.own("orders")), old1);
        Member.settle(List.of(6), old1);
        old2.consumer.subscribe(List.of(kit.own("orders")), old2);
        Member.settle(List.of(3, 3), old1, old2);
        describe("moving", true);
        Member new1 = member("moving", "new-1", "group.remote.assignor", "range");
        new1.consumer.subscribe(List.of(kit.own("orders")), new1);
        Member.settle(List.of(2, 2, 2), old1, old2, new1);
        describe("moving", false);
        Member.poll("all is read", () -> old1.read.size() + old2.read.size() + new1.read.size() >= RECORDS, old1, old2, new1);
        old1.consumer.close();
        Member.settle(List.of(3, 3), old2, new1);
        old2.consumer.close();
        Member.settle(List.of(6), new1);
        describe("moving", true);
        Member back = classic("moving", "back");
        back.consumer.subscribe(List.of(kit.own("orders")), back);
        Member.settle(List.of(3, 3), new1, back);
        describe("moving", false);
        new1.consumer.close();
        Member.settle(List.of(6), back);
        describe("moving", true);
    }
}
