package main

import (
	"os"
	"syscall"
)

// backMemory touches memory and gives it up: in a virtual machine that hands free memory back to its host, the page cache is faster on memory that the host has just given. Giving
// it takes more than a core second per GB, which is nobody's work, and comes or not as the machine was used a minute before.
func backMemory() {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return
	}
	bytes := min(backBytes, meminfoBytes(meminfo, "MemAvailable:")/2)
	m, err := syscall.Mmap(-1, 0, int(bytes), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS|syscall.MAP_POPULATE)
	if err == nil {
		err = syscall.Munmap(m)
	}
	if err != nil {
		say("touch %d MiB of memory before the measurement: %v", bytes>>20, err)
	}
}
