package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
)

// garbageRoom is how much garbage may gather in any case before it is collected. A
// collection looks at all that lives, so the default, which lets as much gather as lives,
// has a small domain under load collect many times a second. In a large one, more lives
// than this, and the default holds.
//
// A container with little memory (cgroups(7)) gets an eighth of that.
func garbageRoom(memoryMax []byte) uint64 {
	const usual = 256 << 20
	limit, err := strconv.ParseUint(string(bytes.TrimSpace(memoryMax)), 10, 64)
	if err != nil { // none, or "max"
		return usual
	}
	return min(usual, limit/8)
}

// spaceCollections sets the pace of the garbage collector anew after each collection,
// unless the environment sets it.
func spaceCollections() {
	if os.Getenv("GOGC") != "" {
		return
	}
	memoryMax, _ := os.ReadFile("/sys/fs/cgroup/memory.max")
	afterCollection(&collection{room: garbageRoom(memoryMax), live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}})
}

// collection is garbage as soon as it is made, so that the collector tells of its work.
type collection struct {
	room    uint64
	percent int
	live    []metrics.Sample
}

func afterCollection(c *collection) {
	metrics.Read(c.live)
	// Setting it stops everybody for a moment: not for a change of a few parts in a hundred.
	if percent := garbagePercent(c.room, c.live[0].Value.Uint64()); percent < c.percent*9/10 || percent > c.percent*11/10 {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
	runtime.SetFinalizer(c, afterCollection)
}

// garbagePercent is GOGC for a heap of which so many bytes live.
func garbagePercent(room, live uint64) int {
	const usual, most = 100, 10_000
	return int(min(max(usual, room*100/max(live, 1)), most))
}
