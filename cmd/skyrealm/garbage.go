package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// garbageRoom is how much garbage may gather in any case before it is collected. A
// collection looks at all that lives, so the default, which lets as much gather as lives,
// has a small domain under load collect many times a second. In a large one, more lives
// than this, and the default holds.
const garbageRoom = 256 << 20

// spaceCollections sets the pace of the garbage collector anew after each collection,
// unless the environment sets it.
func spaceCollections() {
	if os.Getenv("GOGC") == "" {
		afterCollection(&collection{live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}})
	}
}

// collection is garbage as soon as it is made, so that the collector tells of its work.
type collection struct {
	percent int
	live    []metrics.Sample
}

func afterCollection(c *collection) {
	metrics.Read(c.live)
	// Setting it stops everybody for a moment: not for a change of a few parts in a hundred.
	if percent := garbagePercent(c.live[0].Value.Uint64()); percent < c.percent*9/10 || percent > c.percent*11/10 {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
	runtime.SetFinalizer(c, afterCollection)
}

// garbagePercent is GOGC for a heap of which so many bytes live.
func garbagePercent(live uint64) int {
	const usual, most = 100, 10_000
	return int(min(max(usual, garbageRoom*100/max(live, 1)), most))
}
