package faults

import (
	"flag"
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"skyrealm/test/harness"
)

var seed = flag.Uint64("seed", 0, "seed of the moments at which things are killed; 0 draws one")

func TestMain(m *testing.M) { harness.Main(m) }

// random returns the test's generator and says how to have it again. The
// moments also hang on the machine, so a seed repeats a run only roughly.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = maphash.Bytes(maphash.MakeSeed(), nil)
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 1))
}

// fork makes a generator for a goroutine of its own.
func fork(r *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }
