#!/usr/bin/env bash
# run.sh KAFKA.SH: starts Apache Kafka behind the proxy, lets every client talk to it, and writes core/wire/testdata/golden.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
kafka=$1 port=${CAPTURE_PORT:-21090}
out=core/wire/testdata/golden
python=${XDG_CACHE_HOME:-$HOME/.cache}/milldam-test/venv/bin/python
bin=$(mktemp -d)
logs=/dev/shm/kafka-capture # answers name it, and so the captures do: no folder of somebody's
go build -o "$bin/capture" ./.ci/capture
go build -o "$bin/franz" ./.ci/capture/franz
export KAFKA_INSTANCE=capture
"$kafka" wipe
rm -rf "$logs"
KAFKA_SET="advertised.listeners=PLAINTEXT://127.0.0.1:$port
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs=$logs
auto.create.topics.enable=true" "$kafka" start 1 $((port + 2)) >/dev/null
trap '"$kafka" wipe; rm -rf "$bin" "$logs"' EXIT

# captured NAME COMMAND...: the command with the proxy before the broker
captured() {
  local name=$1 proxy; shift
  "$bin/capture" -listen "127.0.0.1:$port" -to "127.0.0.1:$((port + 2))" -client "$name" -out "$out" & proxy=$!
  sleep 0.5
  "$@" || echo "$name: exit $?"
  kill "$proxy"; wait "$proxy"
}
rm -rf "$out"
captured franz-go "$bin/franz" "127.0.0.1:$port"
captured kafka-python timeout 90 "$python" .ci/capture/kafka_python.py "127.0.0.1:$port"
captured librdkafka timeout 90 "$python" .ci/capture/librdkafka.py "127.0.0.1:$port"
captured java bash .ci/capture/java.sh "$kafka" "127.0.0.1:$port"
