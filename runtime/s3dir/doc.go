// Package s3dir serves a folder as S3, for development and the demo.
//
// Objects are plain files at DIR/BUCKET/KEY, so that whatever reads files reads them. An object is there whole or not at all: it is
// written beside its place, synced, renamed and its folders synced before the request is answered. The protocol is gofakes3's;
// conditions on PUT hold, user metadata is not kept, signatures are not checked, so it listens on the loopback only.
//
// Two keys of which one is the folder of the other (`x` and `x/y`) cannot both be, as in every S3 server over a file system; the second is
// refused. So are keys that are no plain path (`../x`, `x//y`) and bucket names that S3 does not have.
//
// Goroutines: the HTTP server's, one for each connection. Lock order: change, mu.
//
// Files: server.go the HTTP server; backend.go buckets and what is in them; object.go reading, writing and removing objects.
package s3dir
