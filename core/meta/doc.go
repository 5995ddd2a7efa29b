// Package meta is the cluster's metadata: topics, where their partitions live, configs, brokers, features, ACLs, credentials, quotas, producer ids.
//
// It is an immutable Image that only commands change, and every command goes through hashicorp/raft: it is decided on the current image (decide.go,
// pure), written to the raft log, and applied (Image.apply, the only code that changes the image, live and on replay). Offsets, transactions
// and producer state are not here: they are logs.
//
// Guarantees: a change that returned without error is durable; readers see images in order and need no lock; damage on disk is named and
// never repaired by forgetting (ErrDamaged): what was acknowledged is there, or nobody starts. With one voter the node leads a few tens of milliseconds
// after Open.
//
// Everything on disk goes through core/vfs, below Options.Dir: raft/ has raft-wal's segments and the files `end` (up to where they are durable) and `stable`
// (term, vote, list of segments), snapshots/ the images that took the place of older log entries. docs/formats/metadata.md draws them.
//
// Goroutines are raft's; Close ends them. Lock order: Controller.deciding, then watch. Subscribers are called from raft's goroutine with watch
// held.
//
// Files: image.go, commands.go (commands, apply, encoding), decide.go (checks and placement of topics), configs.go with configs.tsv (every config key),
// config_alter.go, config_checks.go, config_docs.go, static.go (keys of the configuration file), features.go, acls.go, scram.go, quotas.go, controller.go
// (raft and the public methods), raft_log.go, raft_recover.go (opening and mending the log), raft_segment.go, raft_end.go, checked_log.go, raft_store.go, snapshots.go (raft's
// storage), inspect.go, inspect_log.go (files in words), errors.go.
package meta
