// Package vfstest has what tests of several packages do with the faults of vfs: one at every operation of a workload.
package vfstest
