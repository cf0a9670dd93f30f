package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	const room = 256 << 20
	for live, want := range map[uint64]int{0: 10_000, room / 4: 400, room: 100, 8 << 30: 100} {
		if got := garbagePercent(room, live); got != want {
			t.Errorf("%d bytes live: %d%%, want %d%%", live, got, want)
		}
	}
	for limit, want := range map[string]uint64{"": room, "max\n": room, "536870912\n": 64 << 20, "9223372036854771712\n": room} {
		if got := garbageRoom([]byte(limit)); got != want {
			t.Errorf("of %q: %d bytes, want %d", limit, got, want)
		}
	}
}

// The collector has the room that it was promised, whatever lives.
func TestSpaceCollections(t *testing.T) {
	memoryMax, _ := os.ReadFile("/sys/fs/cgroup/memory.max")
	room := garbageRoom(memoryMax)
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
			if goal > live+room*8/10 {
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
