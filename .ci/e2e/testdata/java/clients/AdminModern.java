import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DeletedRecords;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;

/** What only the Admin client of new has: topic ids, group types, features, transactions and their producers. */
final class AdminModern implements Scenario {
    private Kit kit;
    private Admin admin;

    @Override
    public void run(Kit kit) throws Exception {
        this.kit = kit;
        this.admin = kit.admin();
        topics();
        offsets();
        groups();
        features();
        transactions();
        hanging();
        resources();
    }

    private void topics() throws Exception {
        kit.topic("t", 3);
        TopicDescription d = admin.describeTopics(List.of(kit.own("t"))).allTopicNames().get().get(kit.own("t"));
        kit.print("t: internal %s, operations %s, %s", d.isInternal(), d.authorizedOperations(), d.partitions().stream().map(p -> p.partition() + " replicas "
                + p.replicas().size() + " in sync " + p.isr().size() + " eligible " + p.elr() + " last known " + p.lastKnownElr()).collect(Collectors.toList()));
        kit.print("by its id: %s", admin.describeTopics(TopicCollection.ofTopicIds(List.of(d.topicId()))).allTopicIds().get().get(d.topicId()).name());
        kit.print("by no id: %s", Kit.outcome(() -> admin.describeTopics(TopicCollection.ofTopicIds(List.of(new Uuid(7, 7)))).allTopicIds()));
        kit.print("listed with its id %s", admin.listTopics().namesToListings().get().get(kit.own("t")).topicId().equals(d.topicId()));
        kit.print("no topic: %s", Kit.outcome(() -> admin.describeTopics(List.of(kit.own("nowhere"))).allTopicNames()));
        kit.topic("gone", 1);
        Uuid gone = admin.describeTopics(List.of(kit.own("gone"))).allTopicNames().get().get(kit.own("gone")).topicId();
        kit.print("delete by id: %s", Kit.outcome(() -> admin.deleteTopics(TopicCollection.ofTopicIds(List.of(gone))).all()));
        kit.print("again: %s", Kit.outcome(() -> admin.deleteTopics(TopicCollection.ofTopicIds(List.of(gone))).all()));
    }

    private void offsets() throws Exception {
        try (KafkaProducer<String, String> p = kit.producer()) {
            for (long at : new long[] {1_000, 3_000, 2_000}) {
                p.send(new ProducerRecord<>(kit.own("t"), 0, at, "k", "v")).get();
            }
        }
        for (Map.Entry<String, OffsetSpec> e : new TreeMap<>(Map.of("max timestamp", OffsetSpec.maxTimestamp(), "earliest local", OffsetSpec.earliestLocal(),
                "latest tiered", OffsetSpec.latestTiered(), "at 1500", OffsetSpec.forTimestamp(1_500))).entrySet()) {
            kit.print("%s: %s", e.getKey(), Kit.tried(() -> {
                ListOffsetsResult.ListOffsetsResultInfo i = admin.listOffsets(Map.of(kit.partition("t", 0), e.getValue())).all().get().get(kit.partition("t", 0));
                kit.print("  offset %d, timestamp %d, epoch %s", i.offset(), i.timestamp(), i.leaderEpoch());
            }));
        }
        DeletedRecords deleted = admin.deleteRecords(Map.of(kit.partition("t", 0), RecordsToDelete.beforeOffset(1)))
                .lowWatermarks().get(kit.partition("t", 0)).get();
        kit.print("low watermark %d", deleted.lowWatermark());
    }

    private void groups() throws Exception {
        String group = kit.own("g");
        admin.alterConsumerGroupOffsets(group, Map.of(kit.partition("t", 0), new OffsetAndMetadata(2))).all().get();
        kit.print("listed %s", admin.listGroups(new ListGroupsOptions()).all().get().stream().filter(g -> g.groupId().equals(group))
                .map(g -> g.type() + " " + g.groupState() + " " + g.protocol()).collect(Collectors.toList()));
        kit.print("of the consumer type %d", admin.listGroups(new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER))).all().get().stream()
                .filter(g -> g.groupId().equals(group)).count());
        kit.print("offsets of two groups %s", admin.listConsumerGroupOffsets(Map.of(group, new ListConsumerGroupOffsetsSpec(), kit.own("no"), new ListConsumerGroupOffsetsSpec()))
                .all().get().entrySet().stream().sorted(Map.Entry.comparingByKey()).map(e -> e.getKey() + " " + e.getValue().values().stream().map(OffsetAndMetadata::offset)
                        .collect(Collectors.toList())).collect(Collectors.toList()));
        kit.print("describe as classic: %s", Kit.outcome(() -> admin.describeClassicGroups(List.of(group)).all()));
        kit.print("no such group: %s", Kit.outcome(() -> admin.describeConsumerGroups(List.of(kit.own("no"))).all()));
        kit.print("remove members of it: %s", Kit.outcome(() -> admin.removeMembersFromConsumerGroup(kit.own("no"),
                new RemoveMembersFromConsumerGroupOptions()).all()));
    }

    private void features() throws Exception {
        Map<String, String> levels = new TreeMap<>();
        admin.describeFeatures().featureMetadata().get().finalizedFeatures().forEach((name, range) -> levels.put(name, Short.toString(range.maxVersionLevel())));
        levels.keySet().retainAll(Set.of("group.version", "transaction.version", "metadata.version"));
        kit.print("finalised %s", levels);
        kit.print("too high: %s", upgrade("group.version", 9, new UpdateFeaturesOptions()));
        kit.print("unknown: %s", upgrade("no.version", 1, new UpdateFeaturesOptions()));
        kit.print("what it is: %s", upgrade("group.version", 1, new UpdateFeaturesOptions().validateOnly(true)));
    }

    private String upgrade(String feature, int level, UpdateFeaturesOptions options) {
        return Kit.outcome(() -> admin.updateFeatures(Map.of(feature, new FeatureUpdate((short) level, FeatureUpdate.UpgradeType.UPGRADE)), options).all());
    }

    private KafkaProducer<String, String> transactional(String id) {
        KafkaProducer<String, String> p = kit.producer("transactional.id", kit.own(id), "transaction.timeout.ms", "60000");
        p.initTransactions();
        return p;
    }

    private void transactions() throws Exception {
        kit.topic("out", 1);
        KafkaProducer<String, String> p = transactional("tx");
        describe("tx", "before its first");
        p.beginTransaction();
        p.send(new ProducerRecord<>(kit.own("out"), "k", "v")).get();
        describe("tx", "in its first");
        producers("in its first");
        kit.print("listed %s", admin.listTransactions(new ListTransactionsOptions()).all().get().stream().filter(t -> t.transactionalId().equals(kit.own("tx")))
                .map(t -> t.state().toString()).collect(Collectors.toList()));
        kit.print("listed by a pattern %d, by a duration %d", admin.listTransactions(new ListTransactionsOptions().filterOnTransactionalIdPattern(".*" + kit.own("t") + "x$"))
                        .all().get().size(),
                admin.listTransactions(new ListTransactionsOptions().filterOnTransactionalIdPattern(".*" + kit.own("tx")).filterOnDuration(3_600_000)).all().get().size());
        p.commitTransaction();
        Kit.until("the transaction is complete", () -> described("tx").state().toString().equals("CompleteCommit"));
        describe("tx", "after it");
        producers("after it");
        kit.print("fence: %s", Kit.outcome(() -> admin.fenceProducers(List.of(kit.own("tx"))).all()));
        kit.print("then: %s", Kit.tried(() -> {
            p.beginTransaction();
            p.send(new ProducerRecord<>(kit.own("out"), "k", "v")).get();
        }));
        p.close(Duration.ZERO);
        kit.print("no such transaction: %s", Kit.outcome(() -> admin.describeTransactions(List.of(kit.own("no"))).all()));
    }

    private void describe(String id, String when) throws Exception {
        TransactionDescription d = described(id);
        kit.print("%s: %s, epoch %d, timeout %d, started %s, in %s", when, d.state(), d.producerEpoch(), d.transactionTimeoutMs(),
                d.transactionStartTimeMs().isPresent(), Kit.list(d.topicPartitions()));
    }

    private TransactionDescription described(String id) throws Exception {
        return admin.describeTransactions(List.of(kit.own(id))).all().get().get(kit.own(id));
    }

    private void producers(String when) throws Exception {
        TopicPartition out = kit.partition("out", 0);
        for (ProducerState s : admin.describeProducers(List.of(out)).partitionResult(out).get().activeProducers()) {
            kit.print("%s, a producer: epoch %d, last sequence %d, coordinator epoch %s, open from %s", when, s.producerEpoch(), s.lastSequence(),
                    s.coordinatorEpoch(), s.currentTransactionStartOffset());
        }
    }

    /** Aborts a transaction from outside, as the tool against hanging ones does. */
    private void hanging() throws Exception {
        kit.topic("hung", 1);
        TopicPartition hung = kit.partition("hung", 0);
        KafkaProducer<String, String> p = transactional("hanging");
        p.beginTransaction();
        p.send(new ProducerRecord<>(kit.own("hung"), "k", "v")).get();
        ProducerState s = admin.describeProducers(List.of(hung)).partitionResult(hung).get().activeProducers().get(0);
        kit.print("abort: %s", Kit.outcome(() -> admin.abortTransaction(
                new AbortTransactionSpec(hung, s.producerId(), (short) s.producerEpoch(), s.coordinatorEpoch().orElse(0))).all()));
        kit.print("open from %s", admin.describeProducers(List.of(hung)).partitionResult(hung).get().activeProducers().get(0).currentTransactionStartOffset());
        p.close(Duration.ZERO);
        kit.print("terminate: %s", Kit.outcome(() -> admin.forceTerminateTransaction(kit.own("hanging")).result()));
    }

    private void resources() throws Exception {
        ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, kit.own("g"));
        kit.print("set a group's config: %s", Kit.outcome(() -> admin.incrementalAlterConfigs(Map.of(group,
                List.of(new AlterConfigOp(new ConfigEntry("consumer.session.timeout.ms", "50000"), AlterConfigOp.OpType.SET)))).all()));
        kit.print("too short: %s", Kit.outcome(() -> admin.incrementalAlterConfigs(Map.of(group,
                List.of(new AlterConfigOp(new ConfigEntry("consumer.session.timeout.ms", "1"), AlterConfigOp.OpType.SET)))).all()));
        kit.print("it has %s", Kit.answer(() -> admin.describeConfigs(List.of(group)).all().get().get(group),
                        c -> c.entries().stream().anyMatch(e -> e.source() == ConfigEntry.ConfigSource.DYNAMIC_GROUP_CONFIG)).entries().stream()
                .filter(e -> e.name().startsWith("consumer."))
                .map(e -> e.name() + "=" + e.value() + " " + e.source()).sorted().collect(Collectors.toList()));
        kit.print("resources with configs %s", admin.listConfigResources(Set.of(ConfigResource.Type.GROUP), new ListConfigResourcesOptions()).all().get().stream()
                .filter(r -> r.name().equals(kit.own("g"))).map(ConfigResource::name).collect(Collectors.toList()));
    }
}
