package meta

import (
	"fmt"
	"maps"
	"slices"

	"github.com/milldam/milldam/core/config"
)

// CheckStatic tells what is wrong with a broker key of a configuration file, or with its value. A name that Kafka does not know is wrong there: nobody would
// see that it does nothing.
func CheckStatic(key, value string) error {
	def, known := knownConfigs().broker[key]
	if !known {
		return fmt.Errorf("unknown broker config%s", suggestion(key, knownConfigs().broker))
	}
	return def.check(def.normal(value))
}

// TopicDefault checks a topic key that a configuration file gives a default for all topics, and returns the broker key that holds it.
func TopicDefault(key, value string) (broker string, err error) {
	def, known := knownConfigs().topic[key]
	switch {
	case !known:
		return "", fmt.Errorf("unknown topic config%s", suggestion(key, knownConfigs().topic))
	case def.broker == "":
		return "", fmt.Errorf("each topic has its own, there is no default for all")
	}
	return def.broker, def.check(def.normal(value))
}

func suggestion(key string, known map[string]definition) string {
	return config.DidYouMean(key, slices.Sorted(maps.Keys(known)))
}
