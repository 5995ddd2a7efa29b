package state

// Change is a record of a changelog. A nil Value means that the key is gone.
type Change struct {
	Key, Value []byte
	Time       int64
}

// changes is the list of entries that differ from the changelog.
type changes[V any] struct {
	entries []*Entry[V]
	scratch []byte
}

func (c *changes[V]) add(e *Entry[V]) {
	if !e.dirty {
		e.dirty = true
		c.entries = append(c.entries, e)
	}
}

// remove notes that e left its store. The changelog hears of it only if it had a value.
func (c *changes[V]) remove(e *Entry[V]) {
	e.gone = true
	c.add(e)
}

// flush encodes each change for write, whose value is valid until it returns.
func (c *changes[V]) flush(codec Codec[V], write func(e *Entry[V], value []byte) error) error {
	for i, e := range c.entries {
		var value []byte
		switch {
		case e.gone && !e.logged:
			e.dirty = false
			continue
		case !e.gone:
			var err error
			if c.scratch, err = codec.Append(c.scratch[:0], e.Value); err != nil {
				c.entries = c.entries[i:]
				return err
			}
			value = c.scratch
			if value == nil {
				value = []byte{}
			}
		}
		if err := write(e, value); err != nil {
			c.entries = c.entries[i:]
			return err
		}
		e.dirty, e.logged = false, !e.gone
	}
	c.discard()
	return nil
}

func (c *changes[V]) discard() {
	for _, e := range c.entries {
		e.dirty = false
	}
	clear(c.entries)
	c.entries = c.entries[:0]
}
