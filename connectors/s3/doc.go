// Package s3 is the sink that writes topics to S3 and to whatever speaks its protocol, as NDJSON or Parquet objects.
//
// An object holds records of one topic partition whose path is the same, in offset order, and is named after its first offset:
// PATH/TOPIC-PARTITION-FIRSTOFFSET.EXT. It is uploaded whole, when it is large, many or old enough, when memory is short, or when the
// task ends. The sink acknowledges a partition up to the first record of it that is not yet in an object.
//
// Delivery is at least once: after a crash everything behind the acknowledged offset is read and written again. An object that is
// written again under the same name holds at least the records that follow its first offset up to where it ends, and what the old one
// held beyond that comes in the next object, so replacing it loses nothing. A topic that is made anew under its old name starts at offset 0
// again, and its objects replace the old topic's where paths are the same: give it another path. Bad records (no JSON object for Parquet, no
// JSON for NDJSON, tombstones, paths that S3 does not take) hold up nothing, and are passed over only after the worker dealt with them.
//
// An open object holds columns (Parquet) or lines (NDJSON), no writer and no upload, so thousands of paths may be open at once; Buffered
// says how much they hold and Flush(FlushPressure) closes the largest.
//
// One goroutine, the worker's, calls everything; uploads run in up to `uploads` goroutines that end before the call that started them.
//
// Files: config.go the configuration; sink.go the sink; object.go an open object; upload.go requests and what their errors mean; usage.go what a bucket holds.
package s3
