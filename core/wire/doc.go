// Package wire is the Kafka protocol as bytes: frames, headers, versions, and the answers that must not be copied.
//
// Requests are decoded by franz-go's kmsg, whose slices point into the frame and whose array lengths are bounded by the bytes there are. Responses are
// encoded by kmsg too, but for Fetch: its record batches go from memory or file to the connection without a stop in between.
//
// A frame's size is checked before anything is allocated for it. Bytes from outside never panic.
//
// MemoryListener is a net.Listener without a network, with buffered connections, by which the workers inside the binary reach the broker: the same code as
// TCP from the first byte of a frame on.
//
// Files: request.go frames and request headers; response.go response headers; versions.go the table of what is served; codes.go error codes;
// fetch.go the Fetch response; listener.go and pipe.go the in-memory listener.
package wire
