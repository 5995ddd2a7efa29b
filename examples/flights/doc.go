// Package flights is the demo: 20,000 real flights of early 2001, the airports of the United States, and the pipelines that make daily delays
// and a lake of Parquet objects of them. Data and YAML are embedded, so that the demo runs from any folder.
//
// The pipelines take from the environment where things are: FLIGHTS_DIR is the folder of the input, FLIGHTS_OUT the folder of the
// NDJSON file, S3_BUCKET, S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY the object store, ES_URL Elasticsearch.
//
// Up to delays-daily the pipelines are exactly once, for readers of committed records; files and objects are written at least once.
//
// Times are taken as UTC.
//
// Files: flights.go embeds; data/ the input; pipelines/ one file for each part of the demo.
package flights
