// Package node starts and stops everything that one Milldam process runs, in order: the lock on the data folder, metadata, logs, groups, the broker on TCP and in memory,
// HTTP, pipelines. It stops them in the opposite order.
//
// A data folder holds:
//
//	lock            held while a process has the folder, with its process id
//	format          the version of the layout; a newer one than this binary knows is refused by name
//	instance-id     a random name that stays, so that embedded workers take their places in groups again after a restart
//	endpoints.json  the addresses of the running process, which the command line reads
//	meta/           the cluster's metadata
//	wal/ logs/ ...  the partition logs
//
// Without anything said a node listens on the loopback. Any other address needs Insecure, since there is no authentication yet.
//
// Files: options.go; node.go start, stop and the loop that maintains; folder.go the data folder; listen.go addresses; file.go the configuration file; guard.go the disk;
// descriptors.go open files; pipeline_metrics.go and
// storage_metrics.go how pipelines and logs fare, for Prometheus.
package node
