package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 10_000, garbageRoom / 4: 400, garbageRoom: 100, 8 << 30: 100} {
		if got := garbagePercent(live); got != want {
			t.Errorf("%d bytes live: %d%%, want %d%%", live, got, want)
		}
	}
}

// The collector has the room that it was promised, whatever lives.
func TestSpaceCollections(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	t.Setenv("GOGC", "")
	spaceCollections()
	var kept [][]byte
	for range 3 {
		kept = append(kept, make([]byte, 16<<20))
		deadline := time.Now().Add(10 * time.Second)
		for {
			runtime.GC()
			heap := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
			metrics.Read(heap)
			goal, live := heap[0].Value.Uint64(), heap[1].Value.Uint64()
			if goal > live+garbageRoom*8/10 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d MB live, to be collected at %d MB", live>>20, goal>>20)
			}
			time.Sleep(time.Millisecond) // the pace is set beside the collection's end
		}
	}
	runtime.KeepAlive(kept)
}
