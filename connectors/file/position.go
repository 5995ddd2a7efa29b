package file

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/milldam/milldam/connect"
)

// position is how far a file was read, as it is stored.
type position struct {
	Version     int    `json:"version"`
	Offset      int64  `json:"offset"`      // of the first byte not delivered
	Line        int64  `json:"line"`        // lines before it
	Fingerprint string `json:"fingerprint"` // of the bytes before it
}

// positionVersion is the version that is written.
const positionVersion = 1

func parsePositions(stored map[string][]byte) (map[string]position, error) {
	positions := make(map[string]position, len(stored))
	for path, raw := range stored {
		p, err := parsePosition(raw)
		if err != nil {
			return nil, connect.Permanent(fmt.Errorf("the stored position of %s cannot be read: %w; a newer version may have written it; a pipeline of another name begins anew", path, err))
		}
		positions[path] = p
	}
	return positions, nil
}

func parsePosition(raw []byte) (position, error) {
	var p position
	switch err := json.Unmarshal(raw, &p); {
	case err != nil:
		return p, err
	case p.Version != positionVersion:
		return p, fmt.Errorf("it has version %d, known is %d", p.Version, positionVersion)
	case p.Offset < 0 || p.Line < 0:
		return p, fmt.Errorf("it is offset %d, line %d", p.Offset, p.Line)
	}
	return p, nil
}

// fingerprintBytes is how much of the two ends of what was read goes into a fingerprint.
const fingerprintBytes = 1 << 10

// errShorter tells that a file is shorter than what was read of it.
var errShorter = errors.New("the file is shorter than what was read of it")

// fingerprint stands for the bytes of a file before offset: the first ones, which differ where a file was replaced, and the last ones, which
// differ where it was rewritten. The inode says neither: file systems give it to the next file.
func fingerprint(f io.ReaderAt, offset int64) (string, error) {
	head := min(offset, fingerprintBytes)
	buf := make([]byte, 2*head)
	for _, part := range []struct {
		into []byte
		at   int64
	}{{buf[:head], 0}, {buf[head:], offset - head}} {
		n, err := f.ReadAt(part.into, part.at)
		if n < len(part.into) {
			if errors.Is(err, io.EOF) {
				err = errShorter
			}
			return "", err
		}
	}
	sum := sha256.Sum256(buf)
	return hex.EncodeToString(sum[:16]), nil
}

// matches tells whether f is the file of which p was read.
func (p position) matches(f io.ReaderAt) (bool, error) {
	have, err := fingerprint(f, p.Offset)
	if errors.Is(err, errShorter) {
		return false, nil
	}
	return have == p.Fingerprint, err
}
