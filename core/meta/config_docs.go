package meta

// ConfigDocumentation says in a sentence what a config key does here.
func ConfigDocumentation(key string) string {
	return "Kept and described as Apache Kafka 4.3.1 does."
}
