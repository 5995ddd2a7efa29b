import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourcePatternFilter;
import org.apache.kafka.common.resource.ResourceType;

/** What the Admin client of old and of new has in common. */
final class AdminCalls implements Scenario {
    /** Of a topic, of one broker, of all brokers. */
    private static final List<ConfigEntry.ConfigSource> DYNAMIC = List.of(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG,
            ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG, ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG);

    private Kit kit;
    private Admin admin;

    @Override
    public void run(Kit kit) throws Exception {
        this.kit = kit;
        this.admin = kit.admin();
        cluster();
        topics();
        topicConfigs();
        brokerConfigs();
        offsetsAndRecords();
        groups();
        logDirs();
        acls();
        quotas();
        scram();
    }

    private void cluster() throws Exception {
        kit.print("nodes %d, controller is one of them %s, cluster id of %d characters", admin.describeCluster().nodes().get().size(),
                admin.describeCluster().nodes().get().contains(admin.describeCluster().controller().get()), admin.describeCluster().clusterId().get().length());
        kit.print("features %s", new TreeMap<>(admin.describeFeatures().featureMetadata().get().finalizedFeatures()).keySet().stream()
                .filter(f -> f.equals("group.version") || f.equals("transaction.version") || f.equals("metadata.version")).collect(Collectors.toList()));
    }

    private void topics() throws Exception {
        CreateTopicsResult made = admin.createTopics(List.of(new NewTopic(kit.own("t"), 3, (short) 1),
                new NewTopic(kit.own("defaults"), Optional.empty(), Optional.empty()),
                new NewTopic(kit.own("placed"), Map.of(0, List.of(admin.describeCluster().nodes().get().iterator().next().id()))),
                new NewTopic(kit.own("bad config"), 1, (short) 1),
                new NewTopic(kit.own("copies"), 1, (short) 3), new NewTopic(kit.own("none"), 0, (short) 1),
                new NewTopic(kit.own("unknown-key"), 1, (short) 1).configs(Map.of("no.such.key", "1")),
                new NewTopic(kit.own("bad-value"), 1, (short) 1).configs(Map.of("retention.ms", "soon"))));
        for (String name : new TreeSet<>(made.values().keySet())) {
            kit.print("create %s: %s", name, Kit.outcome(() -> made.values().get(name)));
        }
        kit.print("t has %d partitions, factor %d, %d configs of which not default %s", made.numPartitions(kit.own("t")).get(), made.replicationFactor(kit.own("t")).get(),
                made.config(kit.own("t")).get().entries().size(),
                made.config(kit.own("t")).get().entries().stream().filter(e -> !e.isDefault() && counts(e)).map(ConfigEntry::name)
                        .sorted().collect(Collectors.toList()));
        kit.print("again: %s", Kit.outcome(() -> admin.createTopics(List.of(new NewTopic(kit.own("t"), 3, (short) 1))).all()));
        kit.print("grow: %s", Kit.outcome(() -> admin.createPartitions(Map.of(kit.own("t"), NewPartitions.increaseTo(5))).all()));
        kit.print("shrink: %s", Kit.outcome(() -> admin.createPartitions(Map.of(kit.own("t"), NewPartitions.increaseTo(2))).all()));
        kit.print("names: %s", Kit.answer(() -> admin.listTopics().names().get(), n -> n.contains(kit.own("placed"))).stream().filter(n -> n.startsWith(kit.own(""))).sorted().collect(Collectors.toList()));
        kit.print("partitions: %s", Kit.answer(() -> kit.producer().partitionsFor(kit.own("t")), partitions -> partitions.size() == 5).stream()
                .map(p -> p.partition() + " replicas " + p.replicas().length
                        + " in sync " + p.inSyncReplicas().length + " offline " + p.offlineReplicas().length)
                .sorted().collect(Collectors.toList()));
        kit.print("delete: %s", Kit.outcome(() -> admin.deleteTopics(List.of(kit.own("defaults"), kit.own("placed"))).all()));
        kit.print("delete again: %s", Kit.outcome(() -> admin.deleteTopics(List.of(kit.own("defaults"))).all()));
        kit.print("elect: %s", Kit.outcome(() -> admin.electLeaders(ElectionType.PREFERRED, Set.of(kit.partition("t", 0))).all()));
        kit.print("reassignments: %s", admin.listPartitionReassignments().reassignments().get());
        kit.print("reassign to no broker: %s", Kit.outcome(() -> admin.alterPartitionReassignments(Map.of(kit.partition("t", 0),
                Optional.of(new NewPartitionReassignment(List.of(77))))).all()));
        kit.print("cancel a reassignment that is not: %s", Kit.outcome(() -> admin.alterPartitionReassignments(Map.of(kit.partition("t", 0), Optional.empty())).all()));
    }

    private void topicConfigs() throws Exception {
        ConfigResource t = new ConfigResource(ConfigResource.Type.TOPIC, kit.own("t"));
        alter(t, AlterConfigOp.OpType.SET, "retention.ms", "86400000");
        alter(t, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact");
        alter(t, AlterConfigOp.OpType.SET, "max.message.bytes", "100");
        alter(t, AlterConfigOp.OpType.SET, "max.message.bytes", "-100");
        alter(t, AlterConfigOp.OpType.SET, "compression.type", "zip");
        alter(t, AlterConfigOp.OpType.SET, "no.such.key", "1");
        describe(t, "after setting");
        alter(t, AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "delete");
        alter(t, AlterConfigOp.OpType.DELETE, "retention.ms", "");
        describe(t, "after deleting");
        kit.print("of no topic: %s", Kit.outcome(() -> admin.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.TOPIC, kit.own("nowhere")))).all()));
        Config all = admin.describeConfigs(List.of(t), new DescribeConfigsOptions().includeSynonyms(true)).all().get().get(t);
        for (ConfigEntry e : new TreeMap<>(all.entries().stream().filter(AdminCalls::counts).collect(Collectors.toMap(ConfigEntry::name, e -> e))).values()) {
            kit.print("  %s = %s, %s, read only %s, sensitive %s, synonyms %s", e.name(), e.value(), e.source(), e.isReadOnly(), e.isSensitive(),
                    e.synonyms().stream().map(s -> s.name() + " = " + s.value() + " (" + s.source() + ")").collect(Collectors.toList()));
        }
    }

    /** Eligible leader replicas (KIP-966), which Milldam does not have, set this one for all brokers. */
    private static boolean counts(ConfigEntry e) {
        return !e.name().equals("min.insync.replicas");
    }

    private void alter(ConfigResource r, AlterConfigOp.OpType op, String key, String value) throws Exception {
        String outcome = Kit.outcome(() -> admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry(key, value), op)))).all());
        kit.print("%s %s %s: %s", op, key, value, outcome);
        if (outcome.equals("ok")) { // Apache Kafka answers before a description shows it
            Kit.until("the change is described", () -> {
                ConfigEntry e = admin.describeConfigs(List.of(r)).all().get().get(r).get(key);
                return switch (op) {
                    case SET -> e != null && e.value().equals(value);
                    case APPEND -> e.value().contains(value);
                    case SUBTRACT -> !e.value().contains(value);
                    case DELETE -> e == null || e.source() != DYNAMIC.get(r.type().id() == ConfigResource.Type.TOPIC.id() ? 0 : r.name().isEmpty() ? 2 : 1);
                };
            });
        }
    }

    private void describe(ConfigResource r, String when) throws Exception {
        kit.print("%s: %s", when, admin.describeConfigs(List.of(r)).all().get().get(r).entries().stream()
                .filter(e -> DYNAMIC.contains(e.source()) && counts(e))
                .map(e -> e.name() + "=" + e.value()).sorted().collect(Collectors.toList()));
    }

    private void brokerConfigs() throws Exception {
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(admin.describeCluster().nodes().get().iterator().next().id()));
        ConfigResource all = new ConfigResource(ConfigResource.Type.BROKER, "");
        alter(all, AlterConfigOp.OpType.SET, "log.segment.bytes", "500000000");
        alter(broker, AlterConfigOp.OpType.SET, "log.cleaner.threads", "2");
        alter(broker, AlterConfigOp.OpType.SET, "node.id", "7");
        describe(all, "all brokers");
        describe(broker, "the broker");
        alter(all, AlterConfigOp.OpType.DELETE, "log.segment.bytes", "");
        alter(broker, AlterConfigOp.OpType.DELETE, "log.cleaner.threads", "");
        describe(broker, "the broker at last");
    }

    private void offsetsAndRecords() throws Exception {
        kit.topic("records", 2);
        kit.fill("records", 2, 0, 40);
        offsets("earliest", OffsetSpec.earliest());
        offsets("latest", OffsetSpec.latest());
        offsets("of a time to come", OffsetSpec.forTimestamp(System.currentTimeMillis() + 3_600_000));
        kit.print("delete records: low watermark %d", admin.deleteRecords(Map.of(kit.partition("records", 0), RecordsToDelete.beforeOffset(5)))
                .lowWatermarks().get(kit.partition("records", 0)).get().lowWatermark());
        kit.print("delete too many: %s", Kit.outcome(() -> admin.deleteRecords(Map.of(kit.partition("records", 0), RecordsToDelete.beforeOffset(500))).all()));
        kit.print("delete all: low watermark %d", admin.deleteRecords(Map.of(kit.partition("records", 1), RecordsToDelete.beforeOffset(-1)))
                .lowWatermarks().get(kit.partition("records", 1)).get().lowWatermark());
        offsets("earliest", OffsetSpec.earliest());
    }

    private void offsets(String what, OffsetSpec spec) throws Exception {
        Map<TopicPartition, ListOffsetsResult.ListOffsetsResultInfo> found =
                admin.listOffsets(Map.of(kit.partition("records", 0), spec, kit.partition("records", 1), spec)).all().get();
        Map<Integer, String> out = new TreeMap<>();
        found.forEach((p, i) -> out.put(p.partition(), i.offset() + " epoch " + i.leaderEpoch().map(String::valueOf).orElse("-")));
        kit.print("%s: %s", what, out);
    }

    private void groups() throws Exception {
        String group = kit.own("g");
        kit.print("alter offsets: %s", Kit.outcome(() -> admin.alterConsumerGroupOffsets(group, Map.of(kit.partition("records", 0), new OffsetAndMetadata(7, "m"),
                kit.partition("records", 1), new OffsetAndMetadata(9))).all()));
        kit.print("offsets %s", committed(group));
        kit.print("state %s", admin.describeConsumerGroups(List.of(group)).all().get().get(group).state());
        kit.print("delete an offset: %s", Kit.outcome(() -> admin.deleteConsumerGroupOffsets(group, Set.of(kit.partition("records", 1))).all()));
        kit.print("offsets %s", committed(group));
        kit.print("listed %s", admin.listConsumerGroups().all().get().stream().filter(g -> g.groupId().equals(group)).count());
        kit.print("delete: %s", Kit.outcome(() -> admin.deleteConsumerGroups(List.of(group)).all()));
        kit.print("delete again: %s", Kit.outcome(() -> admin.deleteConsumerGroups(List.of(group)).all()));
        kit.print("offsets of a group that is not there %s", committed(group));
    }

    private Map<Integer, String> committed(String group) throws Exception {
        Map<Integer, String> out = new TreeMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((p, o) -> out.put(p.partition(), o == null ? "none" : o.offset() + o.metadata()));
        return out;
    }

    private void logDirs() throws Exception {
        Collection<Integer> nodes = admin.describeCluster().nodes().get().stream().map(n -> n.id()).collect(Collectors.toList());
        for (Map<String, LogDirDescription> dirs : admin.describeLogDirs(nodes).allDescriptions().get().values()) {
            for (LogDirDescription d : dirs.values()) {
                List<String> own = new ArrayList<>();
                d.replicaInfos().forEach((p, r) -> {
                    if (p.topic().equals(kit.own("records"))) {
                        own.add(p.partition() + " has bytes " + (r.size() > 0) + " lag " + r.offsetLag() + " future " + r.isFuture());
                    }
                });
                kit.print("log dir: error %s, %s", d.error() == null ? "none" : Kit.name(d.error()), new TreeSet<>(own));
            }
        }
    }

    private void acls() throws Exception {
        AclBinding one = new AclBinding(new ResourcePattern(ResourceType.TOPIC, kit.own("t"), PatternType.LITERAL),
                new AccessControlEntry("User:alice", "*", AclOperation.READ, AclPermissionType.ALLOW));
        AclBinding two = new AclBinding(new ResourcePattern(ResourceType.GROUP, kit.own("g"), PatternType.PREFIXED),
                new AccessControlEntry("User:bob", "10.0.0.1", AclOperation.ALL, AclPermissionType.DENY));
        kit.print("create rules: %s", Kit.outcome(() -> admin.createAcls(List.of(one, two)).all()));
        AclBindingFilter ofTopic = new AclBindingFilter(new ResourcePatternFilter(ResourceType.TOPIC, kit.own("t"), PatternType.MATCH), AccessControlEntryFilter.ANY);
        AclBindingFilter ofGroup = new AclBindingFilter(new ResourcePatternFilter(ResourceType.GROUP, kit.own("g-1"), PatternType.MATCH), AccessControlEntryFilter.ANY);
        kit.print("rules of the topic %s", Kit.answer(() -> admin.describeAcls(ofTopic).values().get(), rules -> !rules.isEmpty()));
        kit.print("rules of groups %s", Kit.answer(() -> admin.describeAcls(ofGroup).values().get(), rules -> !rules.isEmpty()));
        kit.print("deleted %d", admin.deleteAcls(List.of(ofTopic, ofGroup)).all().get().size());
        kit.print("left %s", Kit.answer(() -> admin.describeAcls(ofTopic).values().get(), Collection::isEmpty));
    }

    private void quotas() throws Exception {
        ClientQuotaEntity user = new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, kit.own("user"), ClientQuotaEntity.CLIENT_ID, "c"));
        kit.print("alter a quota: %s", Kit.outcome(() -> admin.alterClientQuotas(List.of(new ClientQuotaAlteration(user, List.of(
                new ClientQuotaAlteration.Op("producer_byte_rate", 1e6), new ClientQuotaAlteration.Op("request_percentage", 50.0))))).all()));
        kit.print("no such quota: %s", Kit.outcome(() -> admin.alterClientQuotas(List.of(new ClientQuotaAlteration(user, List.of(
                new ClientQuotaAlteration.Op("no_such_rate", 1e6))))).all()));
        ClientQuotaFilter ofUser = ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntity(ClientQuotaEntity.USER, kit.own("user"))));
        kit.print("quotas %s", Kit.answer(() -> admin.describeClientQuotas(ofUser).entities().get(), q -> !q.isEmpty()).values().stream().map(TreeMap::new).collect(Collectors.toList()));
        kit.print("remove: %s", Kit.outcome(() -> admin.alterClientQuotas(List.of(new ClientQuotaAlteration(user, List.of(
                new ClientQuotaAlteration.Op("producer_byte_rate", null), new ClientQuotaAlteration.Op("request_percentage", null))))).all()));
        kit.print("quotas %s", Kit.answer(() -> admin.describeClientQuotas(ofUser).entities().get(), Map::isEmpty));
    }

    private void scram() throws Exception {
        String user = kit.own("user");
        for (ScramMechanism m : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
            kit.print("set a password for %s: %s", m, Kit.outcome(() -> admin.alterUserScramCredentials(List.of(
                    new UserScramCredentialUpsertion(user, new ScramCredentialInfo(m, 8192), "secret"))).all()));
        }
        kit.print("too few iterations: %s", Kit.outcome(() -> admin.alterUserScramCredentials(List.of(
                new UserScramCredentialUpsertion(user, new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 1), "secret"))).all()));
        kit.print("credentials %s", Kit.answer(() -> admin.describeUserScramCredentials(List.of(user)).description(user).get().credentialInfos(), infos -> infos.size() == 2).stream()
                .map(Object::toString).sorted().collect(Collectors.toList()));
        for (ScramMechanism m : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
            kit.print("delete for %s: %s", m, Kit.outcome(() -> admin.alterUserScramCredentials(List.of(new UserScramCredentialDeletion(user, m))).all()));
        }
        kit.print("of no user: %s", Kit.answer(() -> Kit.outcome(() -> admin.describeUserScramCredentials(List.of(user)).description(user)), o -> !o.equals("ok")));
    }
}
