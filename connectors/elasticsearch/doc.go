// Package elasticsearch is the sink that writes topics to Elasticsearch and OpenSearch.
//
// Each record becomes a document with an id and, with Elasticsearch's external versioning, a version, so that writing a record again,
// after a crash or a retry, changes nothing: the id is TOPIC-PARTITION-OFFSET, or an expression over the record and the version its
// offset. A record is acknowledged when the bulk request that held it was answered.
//
// An item refused with 409 holds an older version than what is stored. That is success if the stored document is of this very topic, and a
// record lost in silence if the topic was deleted and made anew, since its offsets started again; so each index keeps the ids of its
// topics in its mapping (mappings._meta.milldam.topics), and an index of an earlier topic blocks the sink with a word of what to do.
//
// One goroutine, the worker's, calls everything.
//
// Files: config.go the configuration; sink.go the sink; bulk.go bulk requests and what their answers mean; index.go the topics of an
// index, requests and their errors.
package elasticsearch
