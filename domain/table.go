package domain

import "sync"

// table is a map that any number of readers use while one writer changes it.
// Readers take no lock: sync.Map is a concurrent hash trie.
type table[K comparable, V any] struct{ m sync.Map }

func (t *table[K, V]) get(k K) (v V, ok bool) {
	x, ok := t.m.Load(k)
	if !ok {
		return v, false
	}
	return x.(V), true
}

func (t *table[K, V]) put(k K, v V) { t.m.Store(k, v) }

func (t *table[K, V]) drop(k K) { t.m.Delete(k) }
