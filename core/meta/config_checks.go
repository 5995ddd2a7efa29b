package meta

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// normal is value as the other parts read it: Kafka takes blanks around it, and booleans in any case.
func (d definition) normal(value string) string {
	value = strings.TrimSpace(value)
	switch d.kind {
	case TypeBoolean:
		return strings.ToLower(value)
	case TypeShort, TypeInt, TypeLong:
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case TypeDouble:
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			return javaDouble(v)
		}
	}
	return value
}

// javaDouble writes a number as Java does, which is what clients of Kafka see: at least one digit behind the point, and an exponent for large and small ones.
func javaDouble(v float64) string {
	text, exponent := strconv.FormatFloat(v, 'f', -1, 64), ""
	if size := math.Abs(v); size != 0 && !math.IsInf(v, 0) && (size < 1e-3 || size >= 1e7) {
		mantissa, power, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
		n, err := strconv.Atoi(power)
		if err != nil { // FormatFloat writes a number there
			panic(err)
		}
		text, exponent = mantissa, "E"+strconv.Itoa(n)
	}
	if !strings.Contains(text, ".") && !math.IsInf(v, 0) && !math.IsNaN(v) {
		text += ".0"
	}
	return text + exponent
}

// numberBits says how large the whole numbers of a type are, and what it is called.
var numberBits = map[ConfigType]struct {
	bits int
	name string
}{TypeShort: {16, "SHORT"}, TypeInt: {32, "INT"}, TypeLong: {64, "LONG"}, TypeDouble: {64, "DOUBLE"}}

// check tells what is wrong with a value of the key by itself. ErrInvalidConfig.
func (d definition) check(value string) error {
	switch d.kind {
	case TypeBoolean:
		if value != "true" && value != "false" {
			return invalidValue(d.key, value, "Expected value to be either true or false")
		}
	case TypeInt, TypeShort, TypeLong, TypeDouble:
		return d.checkNumber(value)
	case TypeList:
		return d.checkList(value)
	case TypeString:
		if d.valid != "" && !slices.Contains(strings.Split(d.valid, "|"), value) {
			return invalidValue(d.key, value, "String must be one of: %s", strings.ReplaceAll(d.valid, "|", ", "))
		}
	}
	return nil
}

// replicas is what is valid of the keys that name replicas to be throttled.
const replicas = "replicas"

var replicaList = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

func (d definition) checkList(value string) error {
	list := words(value)
	if d.valid == replicas {
		if len(list) == 1 && list[0] == "*" {
			return nil
		}
		for _, word := range list {
			if !replicaList.MatchString(word) {
				return invalidValue(d.key, value, "it must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...")
			}
		}
		return nil
	}
	for _, word := range list {
		if d.valid != "" && !slices.Contains(strings.Split(d.valid, "|"), word) {
			return invalidValue(d.key, word, "String must be one of: %s", strings.ReplaceAll(d.valid, "|", ", "))
		}
	}
	return nil
}

func (d definition) checkNumber(value string) error {
	kind := numberBits[d.kind]
	n, err := strconv.ParseFloat(value, 64)
	if d.kind != TypeDouble {
		_, err = strconv.ParseInt(value, 10, kind.bits)
	}
	if err != nil || math.IsNaN(n) {
		return invalidValue(d.key, value, "Not a number of type %s", kind.name)
	}
	bounds, other, _ := cutLast(d.valid)
	from, to, ranged := strings.Cut(bounds, "..")
	low, high := number(from, math.Inf(-1)), number(to, math.Inf(1))
	switch {
	case !ranged || other != "" && value == other:
	case other != "" && (n < low || n > high):
		return invalidValue(d.key, value, "Value must be between %s and %s or equal to %s", from, to, other)
	case n < low:
		return invalidValue(d.key, value, "Value must be at least %s", from)
	case n > high:
		return invalidValue(d.key, value, "Value must be no more than %s", to)
	}
	return nil
}

// cutLast splits `one value|from..to`.
func cutLast(valid string) (bounds, other string, found bool) {
	other, bounds, found = strings.Cut(valid, "|")
	if !found {
		return valid, "", false
	}
	return bounds, other, true
}

func number(text string, otherwise float64) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// checkEach checks values by themselves; keys must be known. In the order of the keys, so that the same mistakes get the same answer.
func checkEach(kind string, known map[string]definition, config map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(config)) {
		def, ok := known[key]
		if !ok {
			return unknownKey(kind, key)
		}
		if err := def.check(config[key]); err != nil {
			return err
		}
	}
	return nil
}

func normalTopicConfig(config map[string]string) map[string]string {
	out := make(map[string]string, len(config))
	for key, value := range config {
		out[key] = knownConfigs().topic[key].normal(value)
	}
	return out
}

// checkTopicConfig checks what is to be set on a topic. ErrInvalidConfig.
func checkTopicConfig(config map[string]string) error {
	known := knownConfigs().topic
	if err := checkEach("topic", known, config); err != nil {
		return err
	}
	value := func(key string) int64 {
		text, ok := config[key]
		if !ok {
			text = known[key].value
		}
		n, _ := strconv.ParseInt(text, 10, 64) // checked
		return n
	}
	if least, most := value("min.compaction.lag.ms"), value("max.compaction.lag.ms"); least > most {
		return refused(ErrInvalidConfig, "conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", least, most)
	}
	if config["remote.storage.enable"] == "true" {
		return refused(ErrInvalidConfig, "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.")
	}
	return nil
}

// groupLimits are the broker keys that bound a group key.
var groupLimits = func() map[string][2]string {
	limits := map[string][2]string{}
	for _, kind := range []string{"consumer", "share", "streams"} {
		for _, what := range []string{"session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms"} {
			limits[kind+"."+what] = [2]string{"group." + kind + ".min." + what, "group." + kind + ".max." + what}
		}
	}
	limits["share.record.lock.duration.ms"] = [2]string{"group.share.min.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"}
	limits["share.delivery.count.limit"] = [2]string{"group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit"}
	limits["share.partition.max.record.locks"] = [2]string{"group.share.min.partition.max.record.locks", "group.share.max.partition.max.record.locks"}
	limits["streams.num.standby.replicas"] = [2]string{"", "group.streams.max.standby.replicas"}
	return limits
}()

// checkGroup checks what is to be set on a group.
func (c *Controller) checkGroup(i *Image, config map[string]string) error {
	known := knownConfigs()
	if err := checkEach("group", known.group, config); err != nil {
		return err
	}
	value := func(key string) int64 {
		text, ok := config[key]
		if !ok {
			text = c.resourceValue(i, Resource{Type: ResourceGroup}, known.group[key])[0].Value
		}
		n, _ := strconv.ParseInt(text, 10, 64) // checked
		return n
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		limit := groupLimits[key]
		if _, ok := known.broker[limit[0]]; ok && value(key) < c.BrokerInt(i, limit[0]) {
			return refused(ErrInvalidConfig, "%s must be greater than or equal to %s", key, limit[0])
		}
		if _, ok := known.broker[limit[1]]; ok && value(key) > c.BrokerInt(i, limit[1]) {
			return refused(ErrInvalidConfig, "%s must be less than or equal to %s", key, limit[1])
		}
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		if value(kind+".session.timeout.ms") <= value(kind+".heartbeat.interval.ms") {
			return refused(ErrInvalidConfig, "%[1]s.session.timeout.ms must be greater than %[1]s.heartbeat.interval.ms", kind)
		}
	}
	return checkOffsetReset(config)
}

var isoDuration = regexp.MustCompile(`^by_duration:P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$`)

func checkOffsetReset(config map[string]string) error {
	const key = "share.auto.offset.reset"
	value, ok := config[key]
	if !ok || value == "earliest" || value == "latest" || isoDuration.MatchString(value) && value[len(value)-1] != 'P' && value[len(value)-1] != 'T' {
		return nil
	}
	return invalidValue(key, value, "The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.")
}

// Bounds of the interval at which clients push metrics.
const (
	minPushMs = 100
	maxPushMs = 3_600_000
)

// clientMatchers are what a subscription of client metrics can select clients by.
var clientMatchers = []string{"client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"}

// checkClientMetrics checks what is to be set on a subscription of client metrics.
func checkClientMetrics(config map[string]string) error {
	known := knownConfigs().metrics
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if _, ok := known[key]; !ok {
			return refused(ErrInvalidRequest, "Unknown client metrics configuration: %s", key)
		}
		if err := known[key].check(config[key]); err != nil {
			return err
		}
	}
	if text, ok := config["interval.ms"]; ok {
		if n, _ := strconv.ParseInt(text, 10, 64); n < minPushMs || n > maxPushMs {
			return refused(ErrInvalidRequest, "Invalid value %d for interval.ms, interval must be between %d and %d (1 hour)", n, minPushMs, maxPushMs)
		}
	}
	for _, rule := range words(config["match"]) {
		name, pattern, ok := strings.Cut(rule, "=")
		if _, err := regexp.Compile(pattern); !ok || err != nil || !slices.Contains(clientMatchers, strings.TrimSpace(name)) {
			return refused(ErrInvalidConfig, "Illegal client matching pattern: %s", rule)
		}
	}
	return nil
}

// threadKeys are sizes of pools. Kafka changes none by more than a factor of two at a time.
var threadKeys = []string{"background.threads", "log.cleaner.threads", "num.io.threads", "num.network.threads", "num.recovery.threads.per.data.dir", "num.replica.fetchers"}

// ofOneBroker tells keys that describe one machine, and cannot be set for all.
func ofOneBroker(key string) bool {
	return strings.HasPrefix(key, "ssl.") || strings.HasPrefix(key, "sasl.") || slices.Contains([]string{"listeners", "listener.security.protocol.map", "principal.builder.class", "cordoned.log.dirs"}, key)
}

// ofOneListener tells keys that can only be changed for a listener of a name, by its prefix.
func ofOneListener(key string) bool {
	return strings.HasPrefix(key, "ssl.keystore.") || strings.HasPrefix(key, "ssl.truststore.") || key == "ssl.key.password"
}

// checkBroker checks what ops set dynamically. Kafka answers each of these mistakes with INVALID_REQUEST.
func (c *Controller) checkBroker(i *Image, id int32, ops []ConfigOp, config map[string]string) error {
	known := knownConfigs().broker
	for _, op := range ops {
		def, ok := known[op.Key]
		switch {
		case !ok:
		case def.readOnly:
			return refused(ErrInvalidRequest, "Cannot update these configs dynamically: [%s]", op.Key)
		case ofOneListener(op.Key):
			return refused(ErrInvalidRequest, "These security configs can be dynamically updated only per-listener using the listener prefix: [%s]", op.Key)
		case id == AllBrokers && ofOneBroker(op.Key):
			return refused(ErrInvalidRequest, "Cannot update these configs at default cluster level, broker id must be specified: [%s]", op.Key)
		case op.Op != OpDelete:
			if err := def.check(config[op.Key]); err != nil {
				return refused(ErrInvalidRequest, "%s", err)
			}
			if err := c.checkBrokerValue(i, op.Key, config); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBrokerValue checks what the type of a key does not say.
func (c *Controller) checkBrokerValue(i *Image, key string, config map[string]string) error {
	switch {
	case slices.Contains(threadKeys, key):
		n, now := number(config[key], 0), float64(c.BrokerInt(i, key))
		if n < math.Floor(now/2) {
			return refused(ErrInvalidRequest, "Dynamic thread count update validation failed for %s=%v, value should be at least half the current value %v", key, n, now)
		}
		if n > 2*now {
			return refused(ErrInvalidRequest, "Dynamic thread count update validation failed for %s=%v, value should not be greater than double the current value %v", key, n, now)
		}
	case key == maxConnectionsPerIP && config[key] == "0" && config[connectionOverrides] == "" && c.BrokerValue(i, connectionOverrides) == "":
		return refused(ErrInvalidRequest, "%s can be set to zero only if %s property is set.", maxConnectionsPerIP, connectionOverrides)
	case key == "listeners" && config[key] != c.BrokerValue(i, key):
		return refused(ErrInvalidRequest, "listeners cannot be changed while the broker runs: set listeners.kafka in its configuration file")
	case key == connectionOverrides:
		if _, err := ConnectionOverrides(config[key]); err != nil {
			return refused(ErrInvalidRequest, "%s", err)
		}
	case key == "log.cleaner.min.compaction.lag.ms" || key == "log.cleaner.max.compaction.lag.ms":
		value := func(key string) float64 {
			if text, ok := config[key]; ok {
				return number(text, 0)
			}
			return float64(c.BrokerInt(i, key))
		}
		if value("log.cleaner.min.compaction.lag.ms") > value("log.cleaner.max.compaction.lag.ms") {
			return refused(ErrInvalidRequest, "log.cleaner.min.compaction.lag.ms is more than log.cleaner.max.compaction.lag.ms")
		}
	}
	return nil
}

const (
	maxConnectionsPerIP = "max.connections.per.ip"
	connectionOverrides = "max.connections.per.ip.overrides"
)

// ConnectionOverrides reads max.connections.per.ip.overrides: `address:connections` after `address:connections`.
func ConnectionOverrides(value string) (map[string]int, error) {
	limits := map[string]int{}
	for _, word := range words(value) {
		at := strings.LastIndexByte(word, ':')
		n, err := strconv.Atoi(strings.TrimSpace(word[at+1:]))
		if at <= 0 || err != nil || n < 0 {
			return nil, fmt.Errorf("%w: %q in %s, want address:connections", ErrInvalidConfig, word, connectionOverrides)
		}
		limits[strings.TrimSpace(word[:at])] = n
	}
	return limits, nil
}
