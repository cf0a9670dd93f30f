package domain

import (
	"sync"
	"sync/atomic"
)

// madeUp is the state of decoys. Anybody can have as many as there are names, so
// that is bounded: when a generation is full, the one before it is forgotten. So a
// lock ends early for who sends guesses at a hundred thousand names in its time.
//
// A generation is a table as that of accounts is, and takes as long.
type madeUp struct {
	now, old atomic.Pointer[generation]
	making   sync.Mutex
}

type generation struct {
	table[ID, *guesses]
	n int
}

// maxMadeUp is how many decoys a generation has, at half a kB each.
const maxMadeUp = 1 << 16

func (m *madeUp) get(id ID) *guesses {
	for _, from := range [...]*atomic.Pointer[generation]{&m.now, &m.old} {
		if t := from.Load(); t != nil {
			if g, ok := t.get(id); ok {
				return g
			}
		}
	}
	return nil
}

func (m *madeUp) make(id ID) *guesses {
	if t := m.now.Load(); t != nil {
		if g, ok := t.get(id); ok {
			return g
		}
	}
	m.making.Lock()
	defer m.making.Unlock()
	g := m.get(id) // whoever made it meanwhile, and the old ones
	if g == nil {
		g = &guesses{made: true}
	}
	t := m.now.Load()
	if t == nil || t.n >= maxMadeUp {
		m.old.Store(t)
		t = new(generation)
		m.now.Store(t)
	}
	if _, was := t.m.Swap(id, g); !was {
		t.n++
	}
	return g
}
