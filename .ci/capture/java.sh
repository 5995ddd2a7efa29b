#!/usr/bin/env bash
# java.sh KAFKA.SH BROKER: uses as much of the protocol as Apache Kafka's own tools can, for capture. What a tool says is of no interest here.
set -u
kafka=$1 b="--bootstrap-server $2"
tool() { timeout 60 "$kafka" tool "$@" >/dev/null 2>&1 || echo "exit $?: $*"; }
tool TopicCommand $b --create --topic jv --partitions 2
tool TopicCommand $b --alter --topic jv --partitions 3
tool TopicCommand $b --describe
tool ConfigCommand $b --alter --entity-type topics --entity-name jv --add-config retention.ms=100000
tool ConfigCommand $b --describe --entity-type topics --entity-name jv
tool ConfigCommand $b --describe --entity-type brokers
tool ConfigCommand $b --alter --entity-type users --entity-name jv --add-config 'producer_byte_rate=100000000,SCRAM-SHA-256=[iterations=4096,password=p]'
tool ConfigCommand $b --describe --entity-type users
tool ConfigCommand $b --alter --entity-type client-metrics --entity-name jv --add-config interval.ms=1000
tool ConfigCommand $b --describe --entity-type client-metrics
tool ConfigCommand $b --alter --entity-type groups --entity-name jv --add-config consumer.session.timeout.ms=50000
tool ConfigCommand $b --describe --entity-type groups
tool AclCommand $b --add --allow-principal User:a --operation Read --topic jv
tool AclCommand $b --list
tool AclCommand $b --remove --force --allow-principal User:a --operation Read --topic jv
tool FeatureCommand $b describe
tool FeatureCommand $b upgrade --feature metadata.version=30
tool ProducerPerformance $b --topic jv --num-records 20 --record-size 10 --throughput -1 --command-property acks=all
tool ProducerPerformance $b --topic jv --num-records 20 --record-size 10 --throughput -1 --transaction-id jv --transaction-duration-ms 100
tool ConsumerPerformance $b --topic jv --num-records 10 --group jv --timeout 8000
tool ConsumerPerformance $b --topic jv --num-records 10 --group jv-new --timeout 8000 --command-property group.protocol=consumer
tool ConsumerGroupCommand $b --list --state
tool ConsumerGroupCommand $b --describe --all-groups --members
tool ConsumerGroupCommand $b --describe --all-groups
tool ConsumerGroupCommand $b --reset-offsets --group jv --topic jv --to-earliest --execute
tool ConsumerGroupCommand $b --delete-offsets --group jv --topic jv
tool ConsumerGroupCommand $b --delete --group jv
tool GetOffsetShell $b --topic jv
tool LogDirsCommand $b --describe
tool TransactionsCommand $b list
tool TransactionsCommand $b describe --transactional-id jv
tool TransactionsCommand $b describe-producers --topic jv --partition 0
tool LeaderElectionCommand $b --election-type preferred --topic jv --partition 0
tool ReassignPartitionsCommand $b --list
tool ClusterTool cluster-id $b
tool TopicCommand $b --delete --topic jv
