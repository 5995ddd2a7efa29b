// Package state keeps the state of streams operators in memory, and knows what of it a changelog topic does not have yet.
//
// A store belongs to one task and is used by one goroutine; nothing here locks. Values are kept as Go values and encoded only when
// they are flushed: the map of changes is cache, de-duplication of the changelog and, later, the buffer of a transaction in one.
//
// What a task does with a store, in this order:
//
//	restore:  Restore for each record of the changelog from its start to its end
//	process:  Get, Insert, Set, Delete; of Windows also Close
//	commit:   Flush, wait until the changelog has it, commit the offsets, Committed
//
// A changelog is a compacted topic. The key of a Store's record is the encoded key; that of a Windows' record is the start of the
// window in milliseconds, eight bytes big endian, and then the encoded key. The value is the encoded value, the timestamp of the
// record the time of the value, and a null value means that the key is gone.
//
// Files: store.go (a value for each key), windows.go (a value for each key and window), changes.go (what is to be flushed).
package state
