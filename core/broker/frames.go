package broker

import (
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Buffers for requests are used again, by size: to get and to clear new memory for each costs as much as to read the request. That is for the APIs with large or many
// requests, which keep nothing of a request: of Produce once its handler has returned, of Fetch once it is answered. Others may keep slices of theirs.
func recycled(key int16) bool { return key == int16(kmsg.Produce) || key == int16(kmsg.Fetch) }

// Buffers have room for a power of two and an eighth more, since record batches are made up to a power of two and something comes around them.
const (
	smallestFrame = 12 // power of two
	largestFrame  = 22
)

func frameRoom(class int) int { return 1<<class + 1<<(class-3) }

// frameClass is the smallest class with room for n bytes; above largestFrame there is none.
func frameClass(n int) int {
	class := max(bits.Len(uint(max(n, 1)-1)), smallestFrame)
	if class > smallestFrame && frameRoom(class-1) >= n {
		class--
	}
	return class
}

// frameBuffer is a buffer that goes back to its class.
type frameBuffer struct {
	bytes []byte // empty, with the class's room
	class int
}

// framePool holds the buffers that are not used.
type framePool [largestFrame + 1]sync.Pool

// get returns a buffer with room for n bytes; nil when no class has it.
func (p *framePool) get(n int) *frameBuffer {
	class := frameClass(n)
	if class > largestFrame {
		return nil
	}
	if b, ok := p[class].Get().(*frameBuffer); ok {
		return b
	}
	return &frameBuffer{bytes: make([]byte, 0, frameRoom(class)), class: class}
}

// put takes back a buffer that nobody looks at any more.
func (p *framePool) put(b *frameBuffer) {
	if b != nil {
		p[b.class].Put(b)
	}
}
