import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Classic consumer groups: assignors of the client, static members, commits, seek, pause, and members that are too late. */
final class Groups implements Scenario {
    private static final int PARTITIONS = 6;
    private static final int RECORDS = 120;

    private Kit kit;

    @Override
    public void run(Kit kit) throws Exception {
        this.kit = kit;
        kit.topic("orders", PARTITIONS);
        kit.topic("returns", 2);
        kit.fill("orders", PARTITIONS, 0, RECORDS);
        for (String assignor : List.of("Range", "RoundRobin", "Sticky", "CooperativeSticky")) {
            rebalance(assignor);
        }
        staticMembers();
        commits();
        seekAndPause();
        tooLate();
    }

    private Member member(String group, String name, String... configs) {
        return kit.member(group, name, configs, "session.timeout.ms", "30000", "heartbeat.interval.ms", "300");
    }

    /** One member alone, a second one beside it, then the second alone. */
    private void rebalance(String assignor) throws Exception {
        String group = "by-" + assignor;
        String strategy = "org.apache.kafka.clients.consumer." + assignor + "Assignor";
        Member a = member(group, "a", "partition.assignment.strategy", strategy);
        Member b = member(group, "b", "partition.assignment.strategy", strategy);
        a.consumer.subscribe(List.of(kit.own("orders"), kit.own("returns")), a);
        Member.settle(List.of(8), a);
        b.consumer.subscribe(List.of(kit.own("orders"), kit.own("returns")), b);
        Member.settle(List.of(4, 4), a, b);
        boolean sticky = assignor.contains("Sticky"); // how they choose depends on the order in a hash map
        describe(group, !sticky);
        a.consumer.close();
        Member.settle(List.of(8), b);
        b.consumer.close();
        for (Member m : List.of(a, b)) {
            kit.print("%s: %s was told %s", assignor, m.name, sticky ? m.told.stream().map(t -> t.split(" ")[0]).toList() : m.told);
        }
        describe(group, !sticky);
    }

    private void describe(String group, boolean partitions) throws Exception {
        ConsumerGroupDescription d = kit.admin().describeConsumerGroups(List.of(kit.own(group))).all().get().get(kit.own(group));
        Map<String, String> members = new TreeMap<>();
        d.members().forEach(m -> members.put(m.clientId(), m.host() + " " + m.groupInstanceId().orElse("dynamic") + " " + (partitions ? Kit.list(m.assignment().topicPartitions())
                : m.assignment().topicPartitions().size())));
        kit.print("%s is %s, simple %s, assignor '%s', members %s", group, d.state(), d.isSimpleConsumerGroup(), d.partitionAssignor(), members);
    }

    /** A static member that comes back has its partitions without a rebalance; another one of its name fences it; an admin may remove it. */
    private void staticMembers() throws Exception {
        String[] first = {"group.instance.id", "first"};
        Member a = member("statics", "a", first);
        Member b = member("statics", "b", "group.instance.id", "second");
        a.consumer.subscribe(List.of(kit.own("orders")), a);
        Member.settle(List.of(6), a);
        b.consumer.subscribe(List.of(kit.own("orders")), b);
        Member.settle(List.of(3, 3), a, b);
        a.consumer.close();
        Member again = member("statics", "a", first);
        again.consumer.subscribe(List.of(kit.own("orders")), again);
        Member.settle(List.of(3, 3), again, b);
        describe("statics", true);
        Member fencing = member("statics", "a", first);
        fencing.consumer.subscribe(List.of(kit.own("orders")), fencing);
        Member.settle(List.of(3, 3), fencing, b);
        kit.print("fenced: %s", Kit.tried(() -> Member.poll("it is refused", () -> false, again, b)));
        kit.print("commit of the fenced: %s", Kit.tried(() -> again.consumer.commitSync(Map.of(kit.partition("orders", 0), new OffsetAndMetadata(1)))));
        fencing.consumer.close();
        kit.admin().removeMembersFromConsumerGroup(kit.own("statics"), new RemoveMembersFromConsumerGroupOptions(
                List.of(new MemberToRemove("first")))).all().get();
        Member.settle(List.of(6), b);
        kit.print("statics: b was told %s", b.told);
        b.consumer.close();
        describe("statics", true);
    }

    private void commits() throws Exception {
        TopicPartition p0 = kit.partition("orders", 0);
        TopicPartition p1 = kit.partition("orders", 1);
        Member m = member("commits", "m");
        m.consumer.subscribe(List.of(kit.own("orders")), m);
        Member.poll("all is read", () -> m.read.size() == RECORDS, m);
        m.consumer.commitSync();
        kit.print("committed %s", committed(m.consumer));
        m.consumer.commitSync(Map.of(p0, new OffsetAndMetadata(3, "third"), p1, new OffsetAndMetadata(4)));
        String[] answer = {null};
        m.consumer.commitAsync(Map.of(p1, new OffsetAndMetadata(5, "fifth")), (offsets, e) -> answer[0] = "async " + (e == null ? "ok" : Kit.name(e)));
        Member.poll("the commit is answered", () -> answer[0] != null, m);
        kit.print("%s, committed %s", answer[0], committed(m.consumer));
        kit.print("of a long text: %s", Kit.tried(() -> m.consumer.commitSync(Map.of(p0, new OffsetAndMetadata(3, "x".repeat(5000))))));
        m.consumer.close();
        Member next = member("commits", "next");
        next.consumer.subscribe(List.of(kit.own("orders")), next);
        Member.poll("what was not committed is read again", () -> next.read.size() == 2 * RECORDS / PARTITIONS - 8, next);
        kit.print("read again: %s", next.read);
        next.consumer.close();

        Member auto = member("auto", "auto", "enable.auto.commit", "true", "auto.commit.interval.ms", "100");
        auto.consumer.subscribe(Pattern.compile(".*" + kit.own("orders")), auto);
        Member.poll("all is read", () -> auto.read.size() == RECORDS, auto);
        auto.consumer.close();
        KafkaConsumer<String, String> simple = kit.consumer("group.id", kit.own("auto"));
        simple.assign(List.of(p0));
        kit.print("committed by itself: %s, position %d", committed(simple), simple.position(p0));
        simple.commitSync(Map.of(p0, new OffsetAndMetadata(7)));
        kit.print("by a consumer without membership: %s", committed(simple));
        KafkaConsumer<String, String> none = kit.consumer("group.id", kit.own("nobody"), "auto.offset.reset", "none");
        none.assign(List.of(p0));
        kit.print("no offset and no reset: %s", Kit.outcome(() -> none.poll(Duration.ofSeconds(10))));
    }

    private Map<Integer, String> committed(KafkaConsumer<String, String> consumer) {
        Map<Integer, String> out = new TreeMap<>();
        TreeSet<TopicPartition> all = new TreeSet<>((x, y) -> x.partition() - y.partition());
        for (int p = 0; p < PARTITIONS; p++) {
            all.add(kit.partition("orders", p));
        }
        consumer.committed(all).forEach((p, o) -> out.put(p.partition(), o == null ? "none"
                : o.offset() + "/" + o.leaderEpoch().map(String::valueOf).orElse("-") + "/" + o.metadata()));
        return out;
    }

    private void seekAndPause() throws Exception {
        TopicPartition p0 = kit.partition("orders", 0);
        TopicPartition p1 = kit.partition("orders", 1);
        KafkaConsumer<String, String> c = kit.consumer("max.poll.records", "5");
        c.assign(Arrays.asList(p0, p1));
        c.seek(p0, 15);
        c.seekToEnd(List.of(p1));
        kit.print("positions %d and %d", c.position(p0), c.position(p1));
        c.seek(p1, 18);
        c.pause(List.of(p0));
        TreeSet<String> read = new TreeSet<>();
        Kit.until("the other is read", () -> {
            for (ConsumerRecord<String, String> r : c.poll(Kit.SHORT)) {
                read.add(r.partition() + "@" + r.offset());
            }
            return read.size() >= 2;
        });
        kit.print("with %s paused: %s", c.paused().size(), read);
        c.resume(List.of(p0));
        Kit.until("both are read", () -> {
            for (ConsumerRecord<String, String> r : c.poll(Kit.SHORT)) {
                read.add(r.partition() + "@" + r.offset());
            }
            return read.size() >= 7;
        });
        kit.print("then: %s", read);
        c.seek(p0, 1000);
        Kit.until("an offset out of range is reset", () -> c.poll(Kit.SHORT).count() > 0);
        kit.print("after an offset out of range at most %s", c.position(p0) <= 5);
        c.wakeup();
        kit.print("woken up: %s", Kit.outcome(() -> c.poll(Duration.ofSeconds(10))));
    }

    /** A member that does not poll loses its membership, and its commit is refused. */
    private void tooLate() throws Exception {
        Member late = member("late", "late", "max.poll.interval.ms", "1500", "session.timeout.ms", "6000");
        late.consumer.subscribe(List.of(kit.own("orders")), late);
        Member.poll("all is read", () -> late.read.size() == RECORDS, late);
        Kit.until("the group is empty", () -> kit.admin().describeConsumerGroups(List.of(kit.own("late"))).all().get()
                .get(kit.own("late")).members().isEmpty());
        kit.print("commit after max.poll.interval.ms: %s", Kit.tried(() -> late.consumer.commitSync()));
        Member.poll("it joins again", () -> late.told.size() >= 3, late);
        late.consumer.close();
        kit.print("late: was told %s", late.told);
    }
}
