//go:build unix && !race

package storage

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mapMemory returns n zero bytes that the collector does not know of.
func mapMemory(n int) ([]byte, error) {
	data, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("take %d bytes of memory: %w", n, err)
	}
	return data, nil
}

func unmapMemory(data []byte) {
	if err := unix.Munmap(data); err != nil {
		panic(err) // what mapMemory returned can be unmapped
	}
}
