// Package record is Kafka's record batch, version 2: the unit that clients send, logs keep and consumers fetch.
//
// A Batch is the bytes of one batch, as on the wire and on disk. All integers are big endian; varints are zigzag.
//
//	 0  base offset           8   broker sets it
//	 8  length                4   of what follows, from byte 12 on
//	12  leader epoch          4   broker sets it
//	16  magic                 1   2
//	17  crc                   4   CRC-32C of everything from byte 21 on
//	21  attributes            2   0-2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//	23  last offset delta     4
//	27  base timestamp        8   ms; with bit 6 of the attributes the delete horizon
//	35  max timestamp         8   ms
//	43  producer id           8   -1 none
//	51  producer epoch        2
//	53  base sequence         4
//	57  record count          4
//	61  records, compressed together when a codec is set
//
//	record: length varint, attributes 1, timestamp delta varlong, offset delta varint, key, value (length varint, -1 is null),
//	        header count varint, headers (key, value likewise)
//
// The checksum does not cover the base offset and the leader epoch, so a broker sets both without touching the rest.
//
// Accessors need a Batch that Next or Verify accepted. Bytes from outside never cause a panic or an allocation larger than a given limit.
// Everything is safe for concurrent use, except a Builder.
//
// Files: ids.go the integers; batch.go the header, splitting and checks; records.go, summary.go iterating; codec.go, recompress.go compression; builder.go making
// batches; control.go transaction markers.
package record
